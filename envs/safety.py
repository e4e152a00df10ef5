"""The filter that every command to any arm passes. It does not replace the hardware emergency stop."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from envs.arm import Arm
from envs.pose import difference, matrix_from_euler
from envs.spec import Observation

logger = logging.getLogger(__name__)


class SafetyStop(ValueError):
    """A command was refused and the arm was told to hold where it is."""


@dataclass(frozen=True)
class SafetyLimits:
    """What a command may ask for.

    Attributes:
        workspace_low: Lowest position (x, y, z) of the end effector in the base frame [m].
        workspace_high: Highest position [m].
        max_step: Longest translation of one command [m].
        max_turn: Largest rotation angle of one command [rad].

    Raises:
        ValueError: If the workspace is empty or a limit is not positive.
    """

    workspace_low: tuple[float, float, float] = (0.28, -0.32, 0.015)
    workspace_high: tuple[float, float, float] = (0.74, 0.32, 0.48)
    max_step: float = 0.15
    max_turn: float = 0.30

    def __post_init__(self) -> None:
        if not all(low < high for low, high in zip(self.workspace_low, self.workspace_high, strict=True)):
            raise ValueError(f"the safe workspace is empty: {self.workspace_low} to {self.workspace_high} [m]")
        if min(self.max_step, self.max_turn) <= 0:
            raise ValueError(f"max_step and max_turn must be positive, got {self.max_step} m, {self.max_turn} rad")


class SafeArm:
    """An `envs.arm.Arm` around another that refuses, shortens or clips what is unsafe.

    Non-finite numbers and rotations over the limit are refused with `SafetyStop` after the arm was told to hold. Steps
    are measured from the last observed pose; translations are shortened to ``max_step`` and clipped to the workspace.
    What was sent is returned and, where it differs from what was commanded, logged.
    """

    def __init__(self, arm: Arm, limits: SafetyLimits | None = None) -> None:
        self.arm = arm
        self.limits = limits or SafetyLimits()
        self.action_spec = arm.action_spec
        self.image_shape = arm.image_shape
        self._measured: Float[np.ndarray, "7"] | None = None

    def connect(self) -> None:
        """See `Arm.connect`."""
        self.arm.connect()

    def observe(self) -> Observation:
        """See `Arm.observe`."""
        observation = self.arm.observe()
        self._measured = observation.pose
        return observation

    def command(self, target_pose: Float[np.ndarray, "6"], gripper: float, duration: float) -> Float[np.ndarray, "7"]:
        """See `Arm.command`.

        Raises:
            SafetyStop: If the command is not finite or turns too far; the arm holds.
        """
        target = np.append(np.asarray(target_pose, dtype=np.float64), gripper)
        if target.shape != (7,) or not np.all(np.isfinite(target)) or not (np.isfinite(duration) and duration > 0):
            self._refuse(f"a command is 6 finite numbers, a gripper and a duration, got {target} for {duration} s")
        measured = self.observe().pose if self._measured is None else self._measured
        safe = self._limit(measured, target)
        if not np.allclose(safe, target, atol=1e-9):
            logger.info("commanded %s, sent %s", np.round(target, 4), np.round(safe, 4))
        return self.arm.command(safe[:6], float(safe[6]), duration)

    def stop(self) -> None:
        """See `Arm.stop`."""
        self.arm.stop()

    def close(self) -> None:
        """See `Arm.close`."""
        self.arm.close()

    def _limit(self, measured: Float[np.ndarray, "7"], target: Float[np.ndarray, "7"]) -> Float[np.ndarray, "7"]:
        """Returns the nearest target that is allowed from the measured pose."""
        step = difference(measured, target)
        angle = _angle(step[3:6])
        if angle > self.limits.max_turn:
            self._refuse(f"a command turns by {angle:.3f} rad, the limit is {self.limits.max_turn} rad")
        length = float(np.linalg.norm(step[:3]))
        safe = target.copy()
        safe[:3] = measured[:3] + step[:3] * min(1.0, self.limits.max_step / max(length, 1e-12))
        safe[:3] = np.clip(safe[:3], self.limits.workspace_low, self.limits.workspace_high)
        safe[6] = np.clip(safe[6], 0.0, 1.0)
        return safe

    def _refuse(self, why: str) -> None:
        self.arm.stop()
        raise SafetyStop(f"{why}. The arm holds where it is")


def _angle(euler: Float[np.ndarray, "3"]) -> float:
    """Returns the geodesic angle of a rotation given as extrinsic-xyz Euler angles [rad]."""
    return float(np.arccos(np.clip((np.trace(matrix_from_euler(euler)) - 1.0) / 2.0, -1.0, 1.0)))
