"""What a command to an arm may ask for, and what became of one."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from envs.arms.base import ArmError
from envs.pose import difference, matrix_from_euler
from envs.spec import Observation

SLOWED = "slowed to "
"""How the reasons begin for which a set-point is not at once where it was commanded to be."""

_JUMP, _TURN = 0.05, 0.3  # m, rad: what two measured poses may differ by, beside what the limits on speed allow


@dataclass(frozen=True)
class SafetyLimits:
    """What a command or a set-point may ask for.

    Speeds, accelerations, the gripper's rate, ages and ``hold_limit`` concern streams of set-points; a blocking
    command is limited by ``max_step`` and ``max_turn`` in its own duration. The speeds are a Franka Panda's.

    Attributes:
        workspace_low: Lowest position (x, y, z) of the end effector in the base frame [m].
        workspace_high: Highest position [m].
        max_step: Longest translation of one command; a set-point further from the last one sent is refused [m].
        max_turn: Largest rotation angle of one command, and from the last set-point to the next [rad].
        max_tilt: Largest geodesic angle to the reference orientation [rad].
        reference_orientation: Extrinsic-xyz Euler angles that the tilt is measured from [rad]; None for the first
            orientation that is measured after connecting.
        max_speed: Of the end effector [m/s].
        max_acceleration: [m/s^2].
        max_turn_speed: [rad/s].
        max_turn_acceleration: [rad/s^2].
        max_gripper_rate: Change of closedness [1/s].
        observation_age: Set-points are refused when the newest image is older [s].
        hold_limit: So many set-points refused in a row stop the arm.

    Raises:
        ValueError: If the workspace is empty or a limit is not positive.
    """

    workspace_low: tuple[float, float, float] = (0.28, -0.32, 0.015)
    workspace_high: tuple[float, float, float] = (0.74, 0.32, 0.48)
    max_step: float = 0.15
    max_turn: float = 0.30
    max_tilt: float = 1.0
    reference_orientation: tuple[float, float, float] | None = None
    max_speed: float = 1.7
    max_acceleration: float = 13.0
    max_turn_speed: float = 2.5
    max_turn_acceleration: float = 25.0
    max_gripper_rate: float = 8.0
    observation_age: float = 0.5
    hold_limit: int = 50

    def __post_init__(self) -> None:
        if not all(low < high for low, high in zip(self.workspace_low, self.workspace_high, strict=True)):
            raise ValueError(f"the safe workspace is empty: {self.workspace_low} to {self.workspace_high} [m]")
        for field in fields(self)[2:]:
            limit = getattr(self, field.name)
            if isinstance(limit, int | float) and not (math.isfinite(limit) and limit > 0):
                raise ValueError(f"the safety limit {field.name} must be a positive number, got {limit}")


@dataclass(frozen=True)
class JointLimits:
    """How far an action of a checkpoint in joint space may take the joints, before it becomes a pose.

    Speed and acceleration are `SafetyLimits`' to hold, of the hand.

    Attributes:
        max_step: Of one joint in one action [rad].
        margin: Kept from either end of a joint's range [rad].

    Raises:
        ValueError: If the step is not positive or the margin negative.
    """

    max_step: float = 0.25
    margin: float = 0.05

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_step) and self.max_step > 0 and self.margin >= 0):
            raise ValueError(f"max_step must be positive and margin not negative [rad], got {self}")

    def held(
        self,
        start: Float[np.ndarray, "joints"],
        end: Float[np.ndarray, "joints"],
        ranges: Float[np.ndarray, "joints 2"],
    ) -> Float[np.ndarray, "joints"]:
        """Returns the joint angles next to `end` that an action from `start` may lead to [rad].

        A joint that is beyond its range is not made to jump back: it may stay where it is, or come back.
        """
        low = np.minimum(ranges[:, 0] + self.margin, start)
        high = np.maximum(ranges[:, 1] - self.margin, start)
        return np.clip(np.clip(end, start - self.max_step, start + self.max_step), low, high)


@dataclass(frozen=True)
class SafetyEvent:
    """What became of a set-point.

    Attributes:
        time: [monotonic s].
        commanded: What was asked for, (7,); None for a hold.
        sent: What the driver got, (7,); None if it got nothing.
        reasons: Why they differ; empty if they do not.
    """

    time: float
    commanded: Float[np.ndarray, "..."] | None
    sent: Float[np.ndarray, "7"] | None
    reasons: tuple[str, ...]


def check_continuity(before: Observation, now: Observation, limits: SafetyLimits) -> None:
    """Returns if an arm can have got from one measured pose to another.

    Raises:
        ArmError: If it can't.
    """
    elapsed, way = now.time - before.time, difference(before.pose, now.pose)
    distance, angle = float(np.linalg.norm(way[:3])), angle_of(way[3:6])
    if distance > limits.max_speed * elapsed + _JUMP or angle > limits.max_turn_speed * elapsed + _TURN:
        raise ArmError(
            f"the measured pose jumped by {distance:.3f} m and {angle:.2f} rad in {elapsed:.3f} s: check the driver's "
            "units and frame, and whether the arm was moved by something else"
        )


def angle_of(euler: Float[np.ndarray, "3"]) -> float:
    """Returns the geodesic angle of a rotation given as extrinsic-xyz Euler angles [rad]."""
    return float(np.arccos(np.clip((np.trace(matrix_from_euler(euler)) - 1.0) / 2.0, -1.0, 1.0)))
