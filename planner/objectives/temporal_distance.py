"""A learnt cost: how many actions recordings took from a predicted frame to one like the goal."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.objectives.objective_config import TemporalDistanceConfig
from world_model.base import LatentGoal, LatentState, WorldModel
from world_model.compact import compact_with
from world_model.heads.ways import TEMPORAL_DISTANCE, TemporalDistance


class TemporalDistanceCost:
    """The actions left to the goal, of the member of an ensemble that expects the most: an `Objective`.

    A search finds what one network takes for near and is not; it is near for all of them less often.

    Source: learnt temporal distances as the cost of model-predictive control (arXiv 1912.06088); the pessimistic
    ensemble of MRS.Q (arXiv 2601.21306).
    """

    def __init__(self, config: TemporalDistanceConfig, goal: LatentGoal, spec: ActionSpec, model: WorldModel) -> None:
        """Takes the settings, the latent goal and the model whose distance it is.

        Raises:
            ValueError: If the model has none.
        """
        lacking = (
            "this checkpoint has no temporal distance: train one with scripts/train_heads.py, or take an objective of "
            "another kind"
        )
        self._model, self._head = compact_with(model, TEMPORAL_DISTANCE, TemporalDistance, lacking)
        self.config = config
        self._goal = goal.tokens.flatten()[None]  # (1, Z)

    def __call__(self, predicted: LatentState, actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S"]:
        """Returns the cost of each of S rollouts; the actions do not matter here."""
        first = -1 if self.config.frames == "last" else 0
        frames, poses = predicted.tokens[:, first:].flatten(2), predicted.poses[:, first:]  # (S, H, Z), (S, H, P)
        shape, normalised = frames.shape[:2], self._model.normalise_poses(poses.flatten(0, 1))
        left = self._head.actions(frames.flatten(0, 1), self._goal, normalised, self.config.quickest_of)
        return left.unflatten(0, shape).mean(dim=1)
