"""Training windows: latents, actions and poses of the same frames, and the statistics to normalise them with."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from envs.episodes import EpisodeSource
from envs.pose import motion_of
from envs.spec import ActionSpec
from world_model.data.clips import Windows
from world_model.data.gripper import told_actions
from world_model.data.latents import LatentCache
from world_model.statistics import SMALLEST_STD, Statistics


@dataclass(frozen=True)
class Batch:
    """Windows of T frames, physical units.

    Attributes:
        tokens: Latents; bfloat16 as cached.
        actions: Action t leads from frame t to frame t + 1.
        poses: Measured poses.
    """

    tokens: Float[Tensor, "B T N D"]
    actions: Float[Tensor, "B T-1 A"]
    poses: Float[Tensor, "B T P"]

    def to(self, device: torch.device) -> Batch:
        """Returns the batch on a device."""
        return Batch(self.tokens.to(device), self.actions.to(device), self.poses.to(device))


class RecordedWindows:
    """Gives poses and actions of numbered windows of a dataset.

    With a stride, an action is the difference of the measured poses of a window's consecutive frames, and
    `action_spec` is the recorded one at a `stride`-th of its rate, with bounds that wide.

    Where the bounds of an action's number are the same, it has their value: measured poses tremble there, which comes
    of the motion and tells a model what no plan can.

    Args:
        dataset: Gives poses and actions, all held in memory.
        stride: Distance of a window's frames.
        told: Whether a gripper's actions are to be what it was told and not how far it came, see `told_actions`.

    Raises:
        ValueError: If poses or actions are not finite numbers.
    """

    def __init__(self, dataset: EpisodeSource, stride: int = 1, told: bool = False) -> None:
        self.stride = stride
        self.lengths = tuple(dataset.lengths)
        self.action_spec = strided_spec(dataset.spec, stride)
        recorded = [dataset.poses_actions(episode) for episode in range(len(dataset))]
        self.poses = [poses for poses, _ in recorded]
        self.actions = [_strided_actions(dataset.spec, poses, actions, stride) for poses, actions in recorded]
        for episode, values in enumerate(zip(self.poses, self.actions, strict=True)):
            if not all(np.isfinite(each).all() for each in values):
                raise ValueError(f"episode {episode} has poses or actions that are not finite: it can't be learnt from")
        low, high = np.array(self.action_spec.low), np.array(self.action_spec.high)
        for actions in self.actions:
            actions[:, low == high] = low[low == high]
        gripper = self.action_spec.gripper
        if told and gripper is not None:
            most = self.action_spec.high[gripper]
            for poses, actions in zip(self.poses, self.actions, strict=True):
                for first in range(stride):
                    strided = poses[first::stride], actions[first::stride]
                    actions[first::stride] = told_actions(*strided, gripper, most)

    def windows(self, episodes: Sequence[int], frames: int) -> Windows:
        """Returns the windows of some episodes, to be numbered and located."""
        return Windows(self.lengths, episodes, frames, self.stride)

    def motion(
        self, windows: Windows, numbers: Int[np.ndarray, " B"]
    ) -> tuple[Float[Tensor, "B T P"], Float[Tensor, "B T-1 A"]]:
        """Returns the poses and the actions of the numbered windows."""
        places = list(zip(*windows.locate(numbers), strict=True))
        span, stride = windows.frames * self.stride, self.stride
        poses = [self.poses[episode][start : start + span : stride] for episode, start in places]
        actions = [self.actions[episode][start : start + span - stride : stride] for episode, start in places]
        return torch.from_numpy(np.stack(poses)), torch.from_numpy(np.stack(actions))

    def statistics(self, episodes: Sequence[int]) -> Statistics:
        """Returns mean and std of some episodes' actions and poses, circular for the poses' Euler angles."""
        actions = np.concatenate([self.actions[episode] for episode in episodes])
        poses = np.concatenate([self.poses[episode] for episode in episodes])
        mean, std = (np.array(values) for values in _mean_std(poses))
        turning = list(motion_of(self.action_spec).angles)
        if turning:
            angles = poses[:, turning].astype(np.float64)
            mean[turning] = np.arctan2(np.sin(angles).mean(0), np.cos(angles).mean(0))
            turns = np.remainder(angles - mean[turning] + np.pi, 2 * np.pi) - np.pi
            std[turning] = np.maximum(turns.std(0), SMALLEST_STD)
        return Statistics(*_mean_std(actions), tuple(mean.tolist()), tuple(std.tolist()))


R = TypeVar("R", bound=RecordedWindows)


class WindowBatches(RecordedWindows):
    """Gives batches of numbered windows of a dataset whose latents are cached.

    Args:
        dataset: See `RecordedWindows`.
        latents: Of the same dataset.
        stride: Distance of a window's frames.
    """

    def __init__(self, dataset: EpisodeSource, latents: LatentCache, stride: int = 1) -> None:
        super().__init__(dataset, stride)
        self.latents = latents

    def gather(self, windows: Windows, numbers: Int[np.ndarray, " B"]) -> Batch:
        """Returns the numbered windows."""
        poses, actions = self.motion(windows, numbers)
        tokens = self.latents.windows(*windows.locate(numbers), windows.frames, self.stride)
        return Batch(tokens, actions, poses)


def join_recorded(parts: Sequence[R]) -> R:
    """Returns poses and actions of several datasets as those of one, their episodes in a row.

    The bounds of its actions are the widest: what one dataset holds fixed may move in another.

    Raises:
        ValueError: If their actions do not mean the same.
    """
    first, joined = parts[0], copy.copy(parts[0])
    for other in parts[1:]:
        first.action_spec.check_same_meaning(other.action_spec)
    low = tuple(map(min, zip(*(part.action_spec.low for part in parts), strict=True)))
    high = tuple(map(max, zip(*(part.action_spec.high for part in parts), strict=True)))
    joined.action_spec = replace(first.action_spec, low=low, high=high)
    joined.lengths = tuple(length for part in parts for length in part.lengths)
    joined.poses = [poses for part in parts for poses in part.poses]
    joined.actions = [actions for part in parts for actions in part.actions]
    return joined


def strided_spec(spec: ActionSpec, stride: int) -> ActionSpec:
    """Returns the spec of actions that last `stride` recorded ones."""
    low, high = (tuple(stride * bound for bound in bounds) for bounds in (spec.low, spec.high))
    return replace(spec, low=low, high=high, rate=spec.rate / stride)


def _strided_actions(
    spec: ActionSpec, poses: Float32[np.ndarray, "T P"], actions: Float32[np.ndarray, "T-1 A"], stride: int
) -> Float32[np.ndarray, "U A"]:
    """Returns the action from each frame to the one `stride` later: U = T - stride, as recorded where stride is 1."""
    if stride == 1:
        return actions.copy()
    starts, ends = poses[:-stride].astype(np.float64), poses[stride:].astype(np.float64)
    return motion_of(spec).difference(starts, ends).astype(np.float32)


def _mean_std(values: Float32[np.ndarray, "F D"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and std of each column; a std has a floor, so that what is held fixed is not blown up."""
    wide = values.astype(np.float64)
    return tuple(wide.mean(0).tolist()), tuple(np.maximum(wide.std(0), SMALLEST_STD).tolist())
