"""How many actions a way to a goal is asked to have."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from planner.proposals.config import PaceConfig
from world_model.base import LatentState
from world_model.checkpoints.checkpoint import find_head
from world_model.compact import CompactModel
from world_model.heads.ways import TEMPORAL_DISTANCE, Judge, TemporalDistance, quick

_NEAR = 3  # actions: what is taken for nearer can be doubted
_THERE = 1.5  # actions that the distance expects, under which nothing is left to do
_ASTRAY = 0.2  # how likely an action leaves one more to be done than it should, and how likely one less


class Pace:
    """Asks for a quick way, for what is left of one, and for a slow one where a goal is taken for near and is not.

    Frames that look alike may be an action away from a goal, or at the beginning of a way around what is in between;
    judged by itself each makes the hand go to and fro. Of a way that was taken up one action less is left after each::

        b_t(n) ~ P(n | z_t, goal) ((1 - f) sum_m T(n | m) b_{t-1}(m) + f / (K + 1))      n > 0; f: `PaceConfig.forget`

    T goes from m to m - 1, in a fifth of the cases each to m and to m - 2. What does not come true is believed no
    longer. Whether the goal is reached the present frame alone says: nothing is there by reckoning. Frames are taken to
    be an action apart, those from before the goal was taken up too.

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
        self._config, self._model = config, model
        self._distance = None if config.doubt is None else find_head(model, TEMPORAL_DISTANCE, TemporalDistance)
        if config.doubt is not None and self._distance is None:
            raise ValueError(
                "it is doubted (doubt) that a goal is near where the temporal distance says otherwise, and this "
                "checkpoint has none: train one with scripts/train_heads.py, or set doubt to null"
            )

    @torch.no_grad()
    def seen(self, judge: Judge, state: LatentState, goal: Float[Tensor, "1 Z"]) -> Float[Tensor, "1 K+1"]:
        """Returns how likely each number of actions is after the frames of a state, as logits, see `over`."""
        frames = state.tokens[0].flatten(1).to(goal)
        return self.over(judge(frames, goal, self._model.normalise_poses(state.poses[0].to(frames))).logits)

    def over(self, logits: Float[Tensor, "T K+1"]) -> Float[Tensor, "1 K+1"]:
        """Returns how likely each number of actions is after frames an action apart, as logits."""
        believed = logits[:1]
        for each in logits[1:, None]:
            believed = self.after(believed, each)
        return believed

    def after(self, believed: Float[Tensor, "#B K+1"] | None, logits: Float[Tensor, "B K+1"]) -> Float[Tensor, "B K+1"]:
        """Returns how likely each number of actions is an action later, as logits.

        Args:
            believed: How likely they were before it; None if nothing was.
            logits: Of the frames after it, as a `Judge` has them.
        """
        if believed is None or self._config.forget == 1:
            return logits
        before = believed.softmax(-1)
        later = functional.pad(before, (0, 2), mode="replicate")  # the last is of so many and more: as many may be left
        left = _ASTRAY * before + (1 - 2 * _ASTRAY) * later[:, 1:-1] + _ASTRAY * later[:, 2:]
        expected = (1 - self._config.forget) * left + self._config.forget / left.shape[1]
        seen = logits.log_softmax(-1)
        here, under_way = seen[:, :1], seen[:, 1:] + expected[:, 1:].log()
        return torch.cat([here, under_way.log_softmax(-1) + (-here.exp()).log1p()], dim=-1)

    def __call__(
        self,
        logits: Float[Tensor, "B K+1"],
        latents: Float[Tensor, "B Z"],
        goals: Float[Tensor, "B Z"],
        poses: Float[Tensor, "B P"],
    ) -> Int[Tensor, "B"]:
        """Returns how many actions each way is to have, 0 where the goal is reached.

        Args:
            logits: Of the numbers of actions, see `after`.
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
