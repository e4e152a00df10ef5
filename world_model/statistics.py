"""What a world model's numbers are normalised with: physical units outside, normalised ones inside."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from envs.pose import Motion, motion_of
from envs.spec import ActionSpec

SMALLEST_STD = 0.01
"""1 cm, 0.6 degrees, 1 % of the gripper's way: what varies less in recordings is noise or held fixed."""

_WHOLE_TURNS = 1.0
"""From which deviation on [rad] an angle is taken to go all the way round: evenly drawn, it has 1.8."""


@dataclass(frozen=True)
class Statistics:
    """What the predictor's inputs are normalised with, (x - mean) / std, in physical units.

    Attributes:
        action_mean: (A,) of the training actions.
        action_std: (A,), positive.
        pose_mean: (P,) of the training poses; circular for angles.
        pose_std: (P,), positive.

    Raises:
        ValueError: If a number is not finite, a std is not positive or mean and std differ in length.
    """

    action_mean: tuple[float, ...]
    action_std: tuple[float, ...]
    pose_mean: tuple[float, ...]
    pose_std: tuple[float, ...]

    def __post_init__(self) -> None:
        for field in fields(self):
            values = tuple(float(value) for value in getattr(self, field.name))
            object.__setattr__(self, field.name, values)
            if not np.all(np.isfinite(values)) or (field.name.endswith("std") and not np.all(np.array(values) > 0)):
                raise ValueError(f"{field.name} must be finite numbers, a std positive, got {values}")
        if len(self.action_mean) != len(self.action_std) or len(self.pose_mean) != len(self.pose_std):
            raise ValueError(f"mean and std must be equally long, got {self}")

    def whole_turns(self, motion: Motion) -> tuple[int, ...]:
        """Returns which numbers of a pose are angles that training poses had all the way round.

        Their mean and deviation mean nothing, and at one place among them two numbers are the same angle.
        """
        return tuple(i for i in motion.angles if i < len(self.pose_std) and self.pose_std[i] > _WHOLE_TURNS)

    @classmethod
    def identity(cls, action_size: int = 7, pose_size: int = 7) -> Self:
        """Returns statistics that change nothing, as the official weights expect."""
        return cls((0.0,) * action_size, (1.0,) * action_size, (0.0,) * pose_size, (1.0,) * pose_size)


class NormalisedModel(nn.Module):
    """Actions and poses as a world model's networks take them, and back.

    Attributes:
        action_spec: What the actions mean.
        motion: How poses and actions go together.
        statistics: What they are normalised with.
    """

    action_mean: Tensor
    action_std: Tensor
    pose_mean: Tensor
    pose_std: Tensor

    def __init__(self, action_spec: ActionSpec, statistics: Statistics) -> None:
        super().__init__()
        self.action_spec = action_spec
        self.motion: Motion = motion_of(action_spec)
        self.statistics = statistics
        for field in fields(statistics):
            value = torch.tensor(getattr(statistics, field.name), dtype=torch.float32)
            self.register_buffer(field.name, value, persistent=False)

    @property
    def pose_numbers(self) -> int:
        """How many numbers the networks take a pose as."""
        return len(self.statistics.pose_mean)

    def normalise_actions(self, actions: Float[Tensor, "*B A"]) -> Float[Tensor, "*B A"]:
        """Returns actions as the networks take them."""
        return (actions - self.action_mean) / self.action_std

    def normalise_poses(self, poses: Float[Tensor, "*B P"]) -> Float[Tensor, "*B P"]:
        """Returns poses as the networks take them."""
        return self._from_mean(poses) / self.pose_std

    def actions_of(self, normalised: Float[Tensor, "*B A"]) -> Float[Tensor, "*B A"]:
        """Returns the actions, in physical units, that networks take so."""
        return self.action_mean + self.action_std * normalised

    def poses_at(self, normalised: Float[Tensor, "*B P"]) -> Float[Tensor, "*B P"]:
        """Returns the poses, in physical units, that networks take so; angles may be whole turns off."""
        return self.pose_mean + self.pose_std * normalised

    def _from_mean(self, poses: Float[Tensor, "*B P"]) -> Float[Tensor, "*B P"]:
        """Returns poses minus their mean, angles on the short way round.

        A gripper that points down has a roll of +pi or -pi, as rounding has it; from a mean of pi both are near 0.
        Zero means, as the official weights have, leave the angles as they are.
        """
        offset, angles = poses - self.pose_mean, list(self.motion.angles)
        if not any(self.statistics.pose_mean[i] for i in angles if i < len(self.statistics.pose_mean)):
            return offset
        turns = torch.remainder(offset[..., angles] + torch.pi, 2 * torch.pi) - torch.pi
        return torch.cat([offset[..., : angles[0]], turns, offset[..., angles[-1] + 1 :]], dim=-1)
