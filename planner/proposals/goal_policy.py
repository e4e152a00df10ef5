"""Actions to begin a search with, from what has been learnt."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.proposals.config import GoalPolicyConfig
from world_model.base import LatentGoal, LatentState, WorldModel
from world_model.heads.goal_policy.goal_policy import GoalPolicy


class GoalPolicyProposer:
    """What a checkpoint's goal-conditioned policy would do, a `Proposer`: one way, whatever the count.

    Source: "Mode 1" of LeCun, A Path Towards Autonomous Machine Intelligence (2022), section 3.1.
    """

    def __init__(self, config: GoalPolicyConfig, model: WorldModel, spec: ActionSpec) -> None:
        """Takes the settings and the model whose policy it is.

        Raises:
            ValueError: If the model has none or it can't do what the settings ask for.
        """
        self.config, self._policy = config, GoalPolicy(model, config.pose)

    def propose(
        self, state: LatentState, goal: LatentGoal, horizon: int, count: int, generator: torch.Generator
    ) -> Float[Tensor, "1 H A"]:
        """See `Proposer.propose`."""
        config = self.config
        return self._policy.propose(state, goal, horizon, config.pace, config.pose, config.thing)
