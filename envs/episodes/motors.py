"""LeRobot's motors: what its calibration file says of them, and the angles that numbers normalised by it stand for.

LeRobot gives a joint's position either in degrees from the middle of its range or normalised to that range, -100..100.
With the range's ends a and b in encoder steps of a 4096th of a turn (lerobot/motors/motors_bus.py, `_normalize`)::

    degrees = (step - (a + b) / 2) 360 / 4095        normalised = 200 (step - a) / (b - a) - 100

so that degrees = normalised (b - a) / 200 * 360 / 4095: only the length of the range matters. A Feetech motor whose
drive_mode is 1 has its normalised numbers negated, but not its degrees; a Dynamixel motor turns round itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from envs.episodes.episode import DatasetError
from envs.episodes.files import read_once

LARGEST_STEP = 4095
"""Of the encoders; a step is 360 / 4095 degrees to LeRobot."""

FURTHEST = 100.0
"""The end of a normalised range; LeRobot clips to it."""

_TOLERANCE = 0.01  # of normalised numbers: float32 keeps 1e-5
_FIELDS = ("range_min", "range_max")
_WHERE = "~/.cache/huggingface/lerobot/calibration/robots/<robot type>/<id>.json"


@dataclass(frozen=True)
class MotorRange:
    """What a calibration file says of one motor.

    Attributes:
        low: Encoder step at one end of its range.
        high: At the other, larger.
        drive_mode: 1 for a motor that is mounted the other way round, else 0.
    """

    low: int
    high: int
    drive_mode: int = 0

    @property
    def span(self) -> int:
        """Encoder steps from end to end."""
        return self.high - self.low

    @property
    def radians(self) -> float:
        """What one normalised unit turns [rad]."""
        return float(self.span / (2 * FURTHEST) * 2 * np.pi / LARGEST_STEP)


@read_once(4)
def read_calibration(path: Path) -> dict[str, MotorRange]:
    """Returns the motors of a LeRobot calibration file by name.

    Raises:
        DatasetError: If there is no such file or it is none.
    """
    if not path.is_file():
        raise DatasetError(f"there is no calibration file {path}; LeRobot keeps them in {_WHERE}")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise DatasetError(f"{path} is no JSON, as LeRobot's calibration files are: {error}") from error
    if isinstance(content, dict) and "motor_names" in content:
        raise DatasetError(
            f"{path} is a calibration of LeRobot before June 2025, when joints were recorded in degrees: leave it out"
        )

    def is_motor(value: Any) -> bool:
        if not isinstance(value, dict) or not all(isinstance(value.get(field), int) for field in _FIELDS):
            return False
        return 0 <= value["range_min"] < value["range_max"] <= LARGEST_STEP

    if not isinstance(content, dict) or not content or not all(map(is_motor, content.values())):
        raise DatasetError(
            f"{path} is no calibration file of LeRobot's: it gives each motor by name, with range_min < range_max "
            f"in 0..{LARGEST_STEP}, as in {_WHERE}"
        )
    return {
        name: MotorRange(int(value["range_min"]), int(value["range_max"]), int(bool(value.get("drive_mode", 0))))
        for name, value in content.items()
    }


def from_normalised(
    values: Float[np.ndarray, "T joints"],
    motors: Sequence[str],
    calibration: Path,
    negated: bool = True,
    what: str = "joints",
) -> Float[np.ndarray, "T joints"]:
    """Returns the angles from the middle of the range [rad] that numbers in -100..100 stand for.

    Args:
        values: Normalised by LeRobot.
        motors: Names of the motors in the calibration file.
        calibration: The file.
        negated: Whether LeRobot negated the numbers of motors whose drive_mode is 1: of Feetech's, not of Dynamixel's.
        what: Whose numbers these are, for errors.

    Raises:
        DatasetError: If the file lacks a motor or a number is outside of -100..100.
    """
    ranges = find_motors(read_calibration(calibration), motors, calibration)
    bad = np.flatnonzero((np.abs(values) > FURTHEST + _TOLERANCE).any(axis=1))
    if len(bad):
        raise DatasetError(
            f"row {bad[0]} of {what} is {np.round(values[bad[0]], 3).tolist()}: normalised joints are within -100..100 "
            f"({len(bad)} such of {len(values)} rows); are these degrees?"
        )
    signs = [-1.0 if motor.drive_mode and negated else 1.0 for motor in ranges]
    return values * (np.array([motor.radians for motor in ranges]) * signs)


def find_motors(known: dict[str, MotorRange], motors: Sequence[str], path: Path) -> list[MotorRange]:
    """Returns the motors that are named.

    Raises:
        DatasetError: If one is missing.
    """
    missing = [name for name in motors if name not in known]
    if missing:
        raise DatasetError(f"{path} has no motor {missing[0]!r}; it has {', '.join(known)}. Name them with `motors`")
    return [known[name] for name in motors]
