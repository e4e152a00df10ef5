"""Pairs of recorded frames, the later of which is a goal that was reached, and what was done from frames on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from torch import Tensor

from world_model.compact import CompactModel
from world_model.data.batches import RecordedWindows
from world_model.heads.ways import APART, UNRELATED

MEASURED = 20_000
"""Frames, or pairs of them, from which it is learnt how much frames change."""

SAME = 0.2
"""Squared difference of latents up to which a goal counts as reached: Fetch's block is 3 to 4 cm off."""

_DRAWN, _NEAREST = 64, 32  # frames that goals of other episodes are chosen among: any, and those of the nearest poses
_DONE_ALIKE = (32, 256, 1024)  # frames that one of a like pose is chosen among, whose actions are compared
_THERE = 16  # of one pair in so many the distance is asked from a frame to itself


class Pairs(NamedTuple):
    """Frames and goals that were reached from them; latents as they are, the rest normalised.

    Attributes:
        now: Latents of the frames.
        goals: Latents of the goals.
        poses: Of the frames and of the goals.
        actions: The first ones of each; beyond the goal they do not count.
        counts: Actions to each goal; 0 where it is the frame itself, `UNRELATED` where it is another episode's.
        episodes: Which episodes the frames are of.
        ways: Latents of the frames after 1 .. K actions, of the goal from there on.
    """

    now: Float[Tensor, "B Z"]
    goals: Float[Tensor, "B Z"]
    poses: Float[Tensor, "2 B P"]
    actions: Float[Tensor, "B H A"]
    counts: Int[Tensor, "B"]
    episodes: Int[Tensor, "B"]
    ways: Float[Tensor, "B K Z"]


class Rollouts(NamedTuple):
    """Actions that recordings took, and the frames that came of them; latents as they are, the rest physical.

    Attributes:
        frames: Places of the frames that they begin at.
        poses: Of these frames.
        actions: The recorded ones.
        latents: Of these frames, and of those that followed.
    """

    frames: Int[np.ndarray, "B"]
    poses: Float[Tensor, "B P"]
    actions: Float[Tensor, "B H A"]
    latents: Float[Tensor, "B H+1 Z"]


class HindsightPairs:
    """Draws pairs of frames, the later of which is a goal that was reached, and what was done from frames on.

    Args:
        model: Whose latents and statistics they are.
        latents: Of every episode's frames.
        recorded: Poses and actions of the episodes.
        episodes: To draw from.
        furthest: Actions to a goal at most.
        ahead: Frames of the way to a goal that are drawn with it, K.
        first: Actions of the way that are drawn with it, H.

    Raises:
        ValueError: If no episode has an action.
    """

    def __init__(
        self,
        model: CompactModel,
        latents: Sequence[Float[Tensor, "T Z"]],
        recorded: RecordedWindows,
        episodes: Sequence[int],
        furthest: int,
        ahead: int = 0,
        first: int = 1,
    ) -> None:
        chosen = [episode for episode in episodes if len(latents[episode]) > 1]
        if not chosen:
            raise ValueError("no episode has two frames: there is no way to learn from")
        self.model, self.furthest, self.ahead, self.first = model, furthest, ahead, first
        self.latents = torch.cat([latents[episode] for episode in chosen])
        self.poses = torch.from_numpy(np.concatenate([recorded.poses[episode] for episode in chosen]))
        actions = [torch.from_numpy(recorded.actions[episode]) for episode in chosen]
        self.actions = torch.cat([torch.cat([each, torch.zeros_like(each[:1])]) for each in actions])
        self.left = np.concatenate([np.arange(len(latents[episode]) - 1, -1, -1) for episode in chosen])
        self.episodes = torch.from_numpy(np.repeat(chosen, [len(latents[episode]) for episode in chosen]))
        self.several = len(chosen) > 1
        self._used = model.free(self.normalised_actions)[1]  # the rest of a pose trembles
        self._tree = KDTree((self.normalised_poses(np.arange(len(self.latents))) * self._used).cpu().numpy())
        self._starts = cache(lambda actions: np.flatnonzero(self.left >= actions))  # frames that so many follow on
        frames = self._starts(1)[:: -(-len(self._starts(1)) // MEASURED)]
        there = self.normalised_poses(frames)
        wrong = self._differing(self.latents[frames], there, frames[:, None] + 1)
        self._same = max(SAME, wrong.quantile(0.9).item())  # what predictions are wrong by is no difference

    @property
    def normalised_actions(self) -> Float[Tensor, "F A"]:
        """All actions, one after another; of an episode's last frame zero."""
        return self.model.normalise_actions(self.actions.to(self.model.action_mean))

    def draw(self, count: int, generator: np.random.Generator) -> Pairs:
        """Returns so many pairs: any frame that is not its episode's last, any goal after it; one in 16 is there."""
        frames = generator.choice(self._starts(1), count)
        counts = generator.integers(1, np.minimum(self.furthest, self.left[frames]) + 1)
        counts[: count // _THERE] = 0
        return self.pairs(frames, counts)

    def pairs(self, frames: Int[np.ndarray, "B"], counts: Int[np.ndarray, "B"]) -> Pairs:
        """Returns pairs of frames at some places and those so many actions after."""
        ends, model = frames + counts, self.model
        each, going = frames[:, None], counts[:, None]
        device = model.action_mean.device
        return Pairs(
            self.latents[frames],
            self.latents[ends],
            model.normalise_poses(self.poses[np.stack([frames, ends])].to(device)),
            model.normalise_actions(self.actions[each + np.minimum(going, np.arange(self.first))].to(device)),
            torch.from_numpy(counts).to(device),
            self.episodes[frames].to(device),
            self.latents[each + np.minimum(going, np.arange(1, self.ahead + 1))],
        )

    def unrelated(self, pairs: Pairs, count: int, generator: np.random.Generator) -> Pairs:
        """Returns the frames of so many of the pairs with goals of other episodes, which are not near.

        A third of them is any, and a third has the pose that is nearest to the frame's of some that are drawn. A third
        is beside a goal that is near: of the frames of the nearest poses of all, that which differs from it most nearly
        as much as is drawn, from hardly to much. The hand is there, to a few millimetres, and something else is not.
        A goal where nothing else differs, see `_differing`, is left out, and another pair is there twice: held by the
        same hand, things of two episodes are an action apart. Of one episode there are none.
        """
        count = count if self.several else 0
        rows, near = generator.choice(len(pairs.now), count, replace=False), np.flatnonzero(pairs.counts.cpu() < APART)
        beside = slice(2, None, 3)
        if len(near):
            rows[beside] = generator.choice(near, len(rows[beside]))
        like, poses, episodes = pairs.now[rows], pairs.poses[0, rows], pairs.episodes[rows]
        like[beside], poses[beside] = pairs.goals[rows[beside]], pairs.poses[1, rows[beside]]
        drawn = generator.integers(len(self.latents), size=(count, _DRAWN))
        apart = self._apart(drawn, poses, episodes)
        goals = _chosen(drawn, apart.isinf().float())
        goals[1::3] = _chosen(drawn[1::3], apart[1::3])
        drawn = self._nearest(poses[beside])
        differs = self._differing(like[beside], poses[beside], drawn)
        asked = self._same ** torch.from_numpy(generator.random((len(drawn), 1))).to(differs)
        unlike = (differs / asked).log().abs()  # evenly from as good as the same to far
        unlike[(differs < self._same) | self._apart(drawn, poses[beside], episodes[beside]).isinf()] = torch.inf
        goals[beside] = _chosen(drawn, unlike)
        other = self.episodes[goals].to(episodes) != episodes
        differs = self._differing(like, poses, goals[:, None])[:, 0] >= self._same
        kept = np.flatnonzero((other & differs).cpu().numpy())
        kept = np.resize(kept, count if len(kept) else 0)  # layers are compiled anew for each number of rows (oneDNN)
        rows, goals = rows[kept], goals[kept]
        return pairs._replace(
            now=pairs.now[rows],
            goals=self.latents[goals],
            poses=torch.stack([pairs.poses[0, rows], self.normalised_poses(goals)]),
            actions=pairs.actions[rows],
            counts=torch.full_like(pairs.counts[rows], UNRELATED),
            episodes=pairs.episodes[rows],
            ways=pairs.ways[rows],
        )

    def _nearest(self, poses: Float[Tensor, "B P"]) -> Int[np.ndarray, "B N"]:
        """Returns the frames of the nearest poses."""
        among = min(_NEAREST, len(self.latents))
        return np.reshape(self._tree.query((poses * self._used).cpu().numpy(), among)[1], (len(poses), among))

    @torch.no_grad()
    def _differing(
        self, latents: Float[Tensor, "B Z"], poses: Float[Tensor, "B P"], frames: Int[np.ndarray, "B N"]
    ) -> Float[Tensor, "B N"]:
        """Returns how much frames look otherwise than what the action to their poses is predicted to lead to.

        So it is what else than the hand, and what it holds, has another place.

        Args:
            latents: To go from.
            poses: There, normalised.
            frames: N for each.
        """
        model, (count, among) = self.model, frames.shape
        start = model.poses_at(poses).repeat_interleave(among, 0)
        low, high = (start.new_tensor(bound) for bound in (model.action_spec.low, model.action_spec.high))
        way = model.motion.difference(start, self.poses[frames.ravel()].to(start)).clamp(low, high)
        led = model.predict(latents.repeat_interleave(among, 0), start, way).float()
        return (led - self.latents[frames.ravel()]).square().mean(dim=1).unflatten(0, (count, among))

    def normalised_poses(self, frames: Int[np.ndarray, "*B"]) -> Float[Tensor, "*B P"]:
        """Returns the poses at some places."""
        return self.model.normalise_poses(self.poses[frames].to(self.model.action_mean.device))

    def _apart(
        self, frames: Int[np.ndarray, "B N"], poses: Float[Tensor, "B P"], episodes: Int[Tensor, "B"]
    ) -> Float[Tensor, "B N"]:
        """Returns squared distances of N frames' poses from each, in what moves; endless for frames of its episode."""
        apart = ((self.normalised_poses(frames) - poses[:, None]) * self._used).square().sum(-1)
        return apart.masked_fill(self.episodes[frames].to(poses.device) == episodes[:, None], torch.inf)

    def alike(
        self, poses: Float[Tensor, "B P"], episodes: Int[Tensor, "B"], generator: np.random.Generator
    ) -> Float[Tensor, "B S H A"]:
        """Returns what was done from frames of like poses, of other episodes: each the nearest of some that are drawn.

        Args:
            poses: Normalised.
            episodes: Which they are of.
            generator: Draws frames.
        """
        drawn = generator.choice(self._starts(1), (len(poses), max(_DONE_ALIKE)))
        apart = self._apart(drawn, poses, episodes)
        nearest = torch.stack([apart[:, :among].argmin(dim=1) for among in _DONE_ALIKE], dim=1).cpu().numpy()
        frames = drawn[np.arange(len(drawn))[:, None], nearest]  # (B, S)
        ahead = np.minimum(np.arange(self.first), self.left[frames][:, :, None] - 1)  # a last action is done again
        return self.actions[frames[:, :, None] + ahead].to(poses)

    def rollouts(self, count: int, steps: int, generator: np.random.Generator) -> Rollouts:
        """Returns so many recorded rollouts.

        Raises:
            ValueError: If no episode is as long.
        """
        starts = self._starts(steps)
        if not len(starts):
            raise ValueError(
                f"no episode has {steps} actions, as many as are learnt from at once: record longer ones, or lower "
                "rollout_steps (or of macros, actions)"
            )
        frames = generator.choice(starts, count)
        ahead, device = frames[:, None] + np.arange(steps + 1), self.model.action_mean.device
        poses, actions = self.poses[frames].to(device), self.actions[ahead[:, :-1]].to(device)
        return Rollouts(frames, poses, actions, self.latents[ahead])


def _chosen(frames: Int[np.ndarray, "B N"], unlike: Float[Tensor, "B N"]) -> Int[np.ndarray, "B"]:
    """Returns of each row's frames the least unlike, the first of several."""
    return np.take_along_axis(frames, unlike.cpu().numpy().argmin(axis=1)[:, None], axis=1)[:, 0]
