"""How many actions a way to a goal is asked to have."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from planner.proposals.config import PaceConfig
from world_model.checkpoints.checkpoint import find_head
from world_model.compact import CompactModel
from world_model.heads.ways import TEMPORAL_DISTANCE, TemporalDistance, quick

_NEAR = 3  # actions: what is taken for nearer can be doubted
_THERE = 1.5  # actions that the distance expects, under which nothing is left to do


class Pace:
    """Asks for a quick way, and for a slow one where a goal is taken for near and is not.

    Judges of ways that learnt from frames and goals of one episode alone (`HeadsConfig.unrelated` of 0), where the hand
    is seldom back at its goal unless the object is, take a goal for near when the hand is there and the object is not.
    A temporal distance that has also learnt from goals of other episodes knows better; with `PaceConfig.doubt` its
    numbers of actions count there, and a slower way leads around the object again.
    """

    def __init__(self, config: PaceConfig, model: CompactModel) -> None:
        """Takes the settings and the model whose temporal distance may doubt.

        Raises:
            ValueError: If it has none, and is to doubt.
        """
        self._config = config
        self._distance = None if config.doubt is None else find_head(model, TEMPORAL_DISTANCE, TemporalDistance)
        if config.doubt is not None and self._distance is None:
            raise ValueError(
                "it is doubted (doubt) that a goal is near where the temporal distance says otherwise, and this "
                "checkpoint has none: train one with scripts/train_heads.py, or set doubt to null"
            )

    def __call__(
        self,
        logits: Float[Tensor, "B K+1"],
        latents: Float[Tensor, "B Z"],
        goals: Float[Tensor, "B Z"],
        poses: Float[Tensor, "B P"],
    ) -> Int[Tensor, "B"]:
        """Returns how many actions each way is to have, 0 where the goal is reached.

        Args:
            logits: Of the numbers of actions, as a `Judge` has them.
            latents: Of the frames.
            goals: Of the goals.
            poses: Of the frames, normalised.
        """
        config, counts = self._config, self.quick(logits)
        if self._distance is None or config.doubt is None:
            return counts
        expects, expected = self._distance.longest(latents, goals, poses)
        doubted = (counts <= _NEAR) & (expected > config.doubt)
        counts = torch.where(doubted, torch.maximum(counts, quick(expects, config.detour)), counts)
        return torch.where(expected < _THERE, 0, counts)

    def quick(self, logits: Float[Tensor, "B K+1"]) -> Int[Tensor, "B"]:
        """Returns how many actions a quick way has where nothing is doubted."""
        return quick(logits, self._config.pace)
