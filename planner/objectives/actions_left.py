"""A learnt cost: how many actions are left to a goal."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.objectives.objective_config import ActionsLeftConfig
from world_model.base import LatentGoal, LatentState, WorldModel
from world_model.heads.goal_policy.goal_policy import GoalPolicy


class ActionsLeft:
    """How many actions are left to the goal as a goal policy sees it, an `Objective`: the mean over predicted frames.

    Source: a learnt temporal distance as the cost of model-predictive control, as in arXiv 1912.06088 and 2206.15378.
    """

    def __init__(self, config: ActionsLeftConfig, goal: LatentGoal, spec: ActionSpec, model: WorldModel) -> None:
        """Takes the settings, the goal, whose pose does not matter, and the model whose policy judges.

        Raises:
            ValueError: If the model has none, or the goal has a mask.
        """
        if goal.mask is not None:
            raise ValueError(
                "a goal policy looks at the whole goal image: leave the goal's mask out, or minimise a goal_distance"
            )
        self.config, self.goal, self._policy = config, goal, GoalPolicy(model)

    def __call__(self, predicted: LatentState, actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S"]:
        """Returns the number of each of S rollouts; the actions do not matter here."""
        if self.config.frames == "last":
            predicted = predicted.last()
        return self._policy.count_actions(predicted, self.goal, self.config.share).mean(dim=1)
