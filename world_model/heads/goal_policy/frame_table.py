"""All recorded frames in one table, with what recordings say about them, for the training of a critic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from world_model.data.batches import WindowBatches
from world_model.data.gripper import told_actions
from world_model.heads.action_modes import STILL
from world_model.heads.goal_policy.grips import held_frames, lying_places, taking_height
from world_model.vjepa2_ac import VJEPA2AC


@dataclass(frozen=True)
class Label:
    """What recordings say about frames.

    Attributes:
        values: For each frame.
        known: Where they are known.
    """

    values: Float[Tensor, "F *V"]
    known: Bool[np.ndarray, " F"]


class FrameTable:
    """Every `stride`-th frame of every episode, F of them in a row; an episode's last has an action of no meaning.

    Attributes:
        gripper: Which of a pose's numbers, and of an action's, is the gripper's closedness; None if none is.
        episodes: Of the frames.
        left: Actions that lie between a frame and its episode's end.
        poses: Normalised.
        actions: From each frame on, normalised, the gripper's as told and not as measured, see `told_actions`.
        moves: Where an action moves anything.
        labels: What an image shows, by the names of what `sight.Sight` reads: the place where a thing lies, normalised;
            whether one is held, 0 or 1; the pose.

    Args:
        model: The world model, frozen.
        batches: Gives frames, actions and poses.
    """

    def __init__(self, model: VJEPA2AC, batches: WindowBatches) -> None:
        self._model, self._batches, stride = model, batches, batches.stride
        gripper = self.gripper = model.action_spec.gripper
        poses = [poses[::stride] for poses in batches.poses]
        lengths = np.array([len(each) for each in poses])
        self.episodes = np.repeat(np.arange(len(lengths)), lengths)
        firsts = np.cumsum(lengths) - lengths
        self._steps = np.arange(len(self.episodes)) - np.repeat(firsts, lengths)  # of a frame in its episode
        self.left = np.repeat(lengths, lengths) - 1 - self._steps
        actions = [_padded(each[::stride], length) for each, length in zip(batches.actions, lengths, strict=True)]
        self._physical = torch.from_numpy(np.concatenate(poses)), torch.from_numpy(np.concatenate(actions))
        self.poses = model.normalise_poses(self._physical[0])
        still = ((self._physical[1] / model.action_std).abs() < STILL).all(dim=1)
        self.moves = ~still.numpy() & (self.left > 0)
        mean, std = model.pose_mean[:3], model.pose_std[:3]
        places = np.zeros((len(self.episodes), len(mean)), np.float32)
        lies, held, held_known = (np.zeros(len(self.episodes), np.bool_) for _ in range(3))
        told = self._physical[1].numpy().copy()
        if gripper is not None:
            highest = taking_height(poses, gripper)
            for first, each in zip(firsts, poses, strict=True):
                rows = slice(first, first + len(each))
                told[rows] = told_actions(each, told[rows], gripper)
                places[rows], lies[rows] = lying_places(each, gripper, highest)
                held[rows], held_known[rows] = held_frames(each, gripper, highest)
        self.actions = model.normalise_actions(torch.from_numpy(told))
        self.labels = {
            "place": Label((torch.from_numpy(places) - mean) / std, lies),
            "held": Label(torch.from_numpy(held).float(), held_known),
            "pose": Label(self.poses, np.ones_like(lies)),
        }

    def __len__(self) -> int:
        """F."""
        return len(self.episodes)

    def of(self, episodes: Sequence[int]) -> Bool[np.ndarray, " F"]:
        """Returns which frames are of some episodes."""
        return np.isin(self.episodes, list(episodes))

    def tokens(self, rows: Int[np.ndarray, " B"]) -> Float[Tensor, "B N D"]:
        """Returns the cached tokens of frames."""
        starts = self._steps[rows] * self._batches.stride
        return self._batches.latents.windows(self.episodes[rows], starts, 1)[:, 0].float()

    @torch.no_grad()
    def imagined(self, rows: Int[np.ndarray, " B"], before: int) -> Float[Tensor, "B N D"]:
        """Returns what the world model imagines frames to be from those `before` actions earlier.

        Frames that are so close to their episode's start that there is none are as they were recorded.
        """
        early = self._steps[rows] < before
        starts = np.where(early, rows, rows - before)
        poses, actions = (each[starts[:, None] + np.arange(before)] for each in self._physical)
        recorded = self.tokens(starts)
        predicted = self._model.follow(recorded[:, None], actions, poses)[:, -1]
        return torch.where(torch.from_numpy(early)[:, None, None], recorded, predicted)

    @torch.no_grad()
    def read(self, look: Callable[[Tensor], Tensor], before: int = 0) -> Float[Tensor, "F V"]:
        """Returns what is seen in all frames, or in what is imagined from `before` actions earlier.

        Args:
            look: Returns what is seen in (B, N, D) tokens, as (B, V).
            before: 0 for the recorded frames.
        """
        parts = np.array_split(np.arange(len(self)), max(1, len(self) // 512))
        return torch.cat([look(self.imagined(rows, before) if before else self.tokens(rows)) for rows in parts])


def _padded(actions: Float[np.ndarray, "U A"], length: int) -> Float[np.ndarray, "T A"]:
    """Returns one action a frame, the last of them repeated or dropped."""
    return actions[np.minimum(np.arange(length), len(actions) - 1)]
