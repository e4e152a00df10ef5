"""Frames and goals of the same episodes, drawn for the training of a critic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from world_model.batches import WindowBatches
from world_model.grips import lying_places
from world_model.vjepa2_ac import VJEPA2AC

WAYPOINTS = (2, 4, 8, 16)
"""Actions after which `Frames.ways` tells where the arm is."""


@dataclass(frozen=True)
class Frames:
    """Some frames of each of E episodes, in the order of time, and pairs of them: a frame and a goal.

    Attributes:
        tokens: Of the frames.
        poses: Of the frames, normalised.
        actions: From each frame on, normalised; of no meaning at an episode's end.
        imagined: What the world model imagines one frame of an episode to be, from some actions before.
        replaced: Which of the frames these are.
        places: Where the frames are in their episode.
        pairs: Columns of frames and of their goals, which are never earlier.
        ways: By how much the pose changes from a pair's frame on within 2, 4, 8, 16 actions, or until the goal if that
            is sooner, normalised.
    """

    tokens: Float[Tensor, "E F N D"]
    poses: Float[Tensor, "E F P"]
    actions: Float[Tensor, "E F A"]
    imagined: Float[Tensor, "E N D"]
    replaced: Int[Tensor, "E"]
    places: Int[Tensor, "E F"]
    pairs: Int[Tensor, "2 K"]
    ways: Float[Tensor, "E K J P"]


class GoalPairs:
    """Draws frames of episodes and pairs of them. What is random comes from the seed that is given.

    Args:
        model: Imagines, and normalises poses and actions.
        batches: Gives frames, actions and poses.
        frames: Frames of each episode, F.
        pairs: Pairs of them, K.
        imagined: The most frames in a row that are imagined.
        most_actions: Frames of an episode are at most so far apart.
    """

    def __init__(
        self, model: VJEPA2AC, batches: WindowBatches, *, frames: int, pairs: int, imagined: int, most_actions: int
    ) -> None:
        self.model, self.batches = model, batches
        self.frames, self.pairs, self.imagined, self.most_actions = frames, pairs, imagined, most_actions
        self.spans = np.array([(length - 1) // batches.stride + 1 for length in batches.lengths])
        names = model.action_spec.names
        gripper = names.index("gripper") if "gripper" in names else None
        things = [] if gripper is None else [lying_places(poses, gripper) for poses in batches.poses]
        size = min(3, len(model.pose_mean))
        rows = [(episode, np.flatnonzero(known)) for episode, (_, known) in enumerate(things)]
        self._thing_episodes = np.concatenate([np.zeros(0, np.int64), *(np.full(len(at), e) for e, at in rows)])
        self._thing_frames = np.concatenate([np.zeros(0, np.int64), *(at for _, at in rows)])
        self._thing_places = np.concatenate([np.zeros((0, size), np.float32), *(at[known] for at, known in things)])

    def long_enough(self, episodes: Sequence[int]) -> Int[np.ndarray, " E"]:
        """Returns the episodes that have as many frames as are drawn from each.

        Raises:
            ValueError: If none has.
        """
        long = np.array([episode for episode in episodes if self.spans[episode] >= self.frames], dtype=np.int64)
        if len(long) == 0:
            longest = max((int(self.spans[episode]) for episode in episodes), default=0)
            raise ValueError(
                f"none of {len(episodes)} episodes has {self.frames} frames, the longest has {longest}: set "
                "frames lower"
            )
        return long

    def draw(self, episodes: Int[np.ndarray, " E"], seed: tuple[int, ...]) -> Frames:
        """Returns frames and pairs of some episodes; what is random comes from the seed."""
        generator, rows = np.random.default_rng(seed), len(episodes)
        spans = np.minimum(self.spans[episodes], self.most_actions + 1)
        first = (generator.random(rows) * (self.spans[episodes] - spans + 1)).astype(np.int64)
        order = np.where(np.arange(spans.max()) < spans[:, None], generator.random((rows, spans.max())), 2.0)
        places = first[:, None] + np.sort(order.argsort(axis=1)[:, : self.frames], axis=1)
        column = generator.integers(self.frames, size=rows)
        before = 1 + int(generator.integers(self.imagined))
        pairs = np.stack(np.triu_indices(self.frames))
        pairs = pairs[:, generator.permutation(pairs.shape[1])[: self.pairs]]
        poses, actions = self._motions(episodes, places)
        return Frames(
            self._tokens(episodes, places),
            self.model.normalise_poses(poses),
            self.model.normalise_actions(actions),
            *self._imagine(episodes, places[np.arange(rows), column], column, before),
            torch.from_numpy(places),
            torch.from_numpy(pairs),
            self._ways(episodes, places, pairs),
        )

    def things(self, episodes: Sequence[int]) -> Int[np.ndarray, " M"]:
        """Returns the frames of some episodes in which it is known where something lies, for `draw_things`."""
        return np.flatnonzero(np.isin(self._thing_episodes, list(episodes)))

    def draw_things(
        self, things: Int[np.ndarray, " M"], count: int, seed: tuple[int, ...]
    ) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B S"]]:
        """Returns frames, drawn from those that `things` gave, and where something lies in them, normalised."""
        chosen = np.random.default_rng(seed).choice(things, count)
        tokens = self.batches.latents.windows(self._thing_episodes[chosen], self._thing_frames[chosen], 1)[:, 0]
        places = torch.from_numpy(self._thing_places[chosen])
        mean, std = (each[: places.shape[1]] for each in (self.model.pose_mean, self.model.pose_std))
        return tokens.float(), (places - mean) / std

    def _tokens(self, episodes: Int[np.ndarray, " E"], places: Int[np.ndarray, "E F"]) -> Float[Tensor, "E F N D"]:
        """Returns the cached tokens of frames."""
        starts = places.flatten() * self.batches.stride
        tokens = self.batches.latents.windows(np.repeat(episodes, places.shape[1]), starts, 1)
        return tokens[:, 0].unflatten(0, places.shape).float()

    def _motions(
        self, episodes: Int[np.ndarray, " E"], places: Int[np.ndarray, "E F"]
    ) -> tuple[Float[Tensor, "E F P"], Float[Tensor, "E F A"]]:
        """Returns the poses of frames and the actions from them on; an episode's last frame has its last action."""
        rows, stride = list(zip(episodes, places * self.batches.stride, strict=True)), self.batches.stride
        poses = [self.batches.poses[episode][frames] for episode, frames in rows]
        lasts = [self.batches.lengths[episode] - 1 - stride for episode, _ in rows]
        actions = [
            self.batches.actions[episode][np.minimum(frames, last)]
            for (episode, frames), last in zip(rows, lasts, strict=True)
        ]
        return torch.from_numpy(np.stack(poses)), torch.from_numpy(np.stack(actions))

    def _ways(
        self, episodes: Int[np.ndarray, " E"], places: Int[np.ndarray, "E F"], pairs: Int[np.ndarray, "2 K"]
    ) -> Float[Tensor, "E K J P"]:
        """Returns `Frames.ways`."""
        now, then = places[:, pairs[0]], places[:, pairs[1]]
        steps = np.minimum(np.array(WAYPOINTS), (then - now)[..., None])  # (E, K, J)
        frames = np.concatenate([now[..., None], now[..., None] + steps], axis=-1)  # (E, K, 1 + J)
        poses = self._motions(episodes, frames.reshape(len(places), -1))[0]
        poses = self.model.normalise_poses(poses).unflatten(1, frames.shape[1:])
        return poses[:, :, 1:] - poses[:, :, :1]

    @torch.no_grad()
    def _imagine(
        self,
        episodes: Int[np.ndarray, " E"],
        places: Int[np.ndarray, " E"],
        columns: Int[np.ndarray, " E"],
        before: int,
    ) -> tuple[Float[Tensor, "E N D"], Int[Tensor, " E"]]:
        """Returns what is imagined at places from `before` frames earlier, and their columns; -1 where nothing is.

        In every other episode: imagining takes as long as learning from twice as many recorded frames.
        """
        starts, every_other = np.maximum(places - before, 0), np.arange(0, len(episodes), 2)
        tokens = self._tokens(episodes, starts[:, None])
        poses, actions = self._motions(episodes[every_other], starts[every_other, None] + np.arange(before))
        tokens[every_other] = self.model.follow(tokens[every_other], actions, poses)[:, -1:]
        done = (places >= before) & (np.arange(len(episodes)) % 2 == 0)
        return tokens[:, 0], torch.from_numpy(np.where(done, columns, -1))
