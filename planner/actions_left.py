"""A learnt cost: how many actions are left to a goal."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from world_model.base import GoalCritic, LatentState


class ActionsLeft:
    """How many actions are left to the goal as a critic sees it, an `Objective`: the mean over the predicted frames.

    Source: a learnt temporal distance as the cost of model-predictive control, as in arXiv 1912.06088 and 2206.15378.
    """

    def __init__(self, goal: LatentState, model: GoalCritic, share: float = 1.0, last: bool = False) -> None:
        """Takes the goal and the model whose critic judges.

        Args:
            goal: Latent of one frame.
            model: With a critic.
            share: Of the critic's distribution, see `Critic.mean_count`.
            last: Whether the last predicted frame counts alone.

        Raises:
            ValueError: If the model has no critic.
        """
        model.require_critic()
        self.goal, self.model, self.share, self.last = goal, model, share, last

    def __call__(self, predicted: LatentState, actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S"]:
        """Returns the number of each of S rollouts; the actions do not matter here."""
        if self.last:
            predicted = LatentState(predicted.tokens[:, -1:], predicted.poses[:, -1:])
        return self.model.count_actions(predicted, self.goal, self.share).mean(dim=1)
