"""THE pose and delta convention: every room composes and differences poses here and nowhere else.

A pose is (..., 7): position [m], extrinsic-xyz Euler angles [rad], gripper closedness [0 open .. 1 closed], in the
arm's base frame. An action is the difference of two poses::

    position' = position + dp          R' = R(drot) R(rot)          gripper' = clip(gripper + dg, 0, 1)

Both functions take NumPy arrays or torch tensors and return the same kind; they broadcast over leading axes and, in
torch, are differentiable. Source: V-JEPA 2 (arXiv 2506.09985), section 3; SciPy's ``Rotation.from_euler("xyz")``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from envs.spec import POSE_NAMES, ActionSpec

Array = TypeVar("Array", np.ndarray, Any)

_GIMBAL_LOCK = 1.0 - 1e-12


def _library(array: Any) -> ModuleType:
    """Returns the array's own module, numpy or torch; torch is never imported for NumPy's sake."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(array, torch.Tensor) else np


def _stack(library: ModuleType, parts: list[Any]) -> Any:
    """Returns the parts side by side along a new last axis."""
    if library is not np:
        return library.stack(parts, dim=-1)
    if np.ndim(parts[0]) == 0:
        return np.array(parts)  # np.stack takes ten times as long for numbers
    return np.stack(parts, axis=-1)


def _concatenate(library: ModuleType, parts: list[Any]) -> Any:
    return np.concatenate(parts, axis=-1) if library is np else library.cat(parts, dim=-1)


def matrix_from_euler(euler: Array) -> Array:
    """Returns the rotation matrices (..., 3, 3) of extrinsic-xyz Euler angles (..., 3) [rad]: Rz Ry Rx."""
    xp = _library(euler)
    cosines, sines = xp.cos(euler), xp.sin(euler)
    cr, cp, cy = (cosines[..., i] for i in range(3))
    sr, sp, sy = (sines[..., i] for i in range(3))
    rows = [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr]
    rows += [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr]
    rows += [-sp, cp * sr, cp * cr]
    return _stack(xp, rows).reshape(*euler.shape[:-1], 3, 3)  # (..., 9) -> (..., 3, 3)


def euler_from_matrix(matrix: Array) -> Array:
    """Returns extrinsic-xyz Euler angles (..., 3) [rad] of rotation matrices (..., 3, 3).

    At gimbal lock (pitch = +-90 degrees) only roll -+ yaw is defined; yaw is then 0, as in SciPy.
    """
    xp = _library(matrix)
    arctan2 = np.arctan2 if xp is np else xp.atan2
    sine = -matrix[..., 2, 0]
    locked = abs(sine) >= _GIMBAL_LOCK
    cosine = (matrix[..., 0, 0] ** 2 + matrix[..., 1, 0] ** 2) ** 0.5
    pitch = arctan2(sine, cosine)
    roll = arctan2(matrix[..., 2, 1], matrix[..., 2, 2])
    yaw = arctan2(matrix[..., 1, 0], matrix[..., 0, 0])
    if xp is np and not np.any(locked):
        return _stack(xp, [roll, pitch, yaw])  # what follows, without computing what is not taken
    # where not locked, harmless arguments: arctan2(0, 0) would send NaN gradients through the branch not taken
    locked_roll = arctan2(
        xp.where(locked, -matrix[..., 1, 2], 0.0 * sine), xp.where(locked, matrix[..., 1, 1], 0.0 * sine + 1.0)
    )
    return _stack(xp, [xp.where(locked, locked_roll, roll), pitch, xp.where(locked, 0.0 * yaw, yaw)])


def compose(pose: Array, action: Array) -> Array:
    """Returns the pose (..., 7) that an action (..., 7) leads to from a pose (..., 7)."""
    xp = _library(pose)
    position = pose[..., :3] + action[..., :3]
    rotation = matrix_from_euler(action[..., 3:6]) @ matrix_from_euler(pose[..., 3:6])
    gripper = (pose[..., 6:7] + action[..., 6:7]).clip(0.0, 1.0)
    return _concatenate(xp, [position, euler_from_matrix(rotation), gripper])


def difference(start: Array, end: Array) -> Array:
    """Returns the action (..., 7) that leads from one measured pose (..., 7) to another."""
    xp = _library(start)
    rotation = matrix_from_euler(end[..., 3:6]) @ matrix_from_euler(start[..., 3:6]).swapaxes(-1, -2)
    parts = [end[..., :3] - start[..., :3], euler_from_matrix(rotation), end[..., 6:7] - start[..., 6:7]]
    return _concatenate(xp, parts)


@dataclass(frozen=True)
class Motion:
    """How poses and actions of one kind go together.

    Attributes:
        compose: The pose that an action leads to from a pose.
        difference: The action that leads from one measured pose to another.
        angles: Indices of the pose's numbers that come back to where they were after 2 pi.
    """

    compose: Callable[[Any, Any], Any]
    difference: Callable[[Any, Any], Any]
    angles: tuple[int, ...] = ()


END_EFFECTOR = Motion(compose, difference, (3, 4, 5))
SUM = Motion(lambda pose, action: pose + action, lambda start, end: end - start)


def motion_of(spec: ActionSpec) -> Motion:
    """Returns this module's convention for actions named as `POSE_NAMES`; any others, such as joints', add up."""
    return END_EFFECTOR if tuple(spec.names) == POSE_NAMES else SUM
