"""Numbers of a recording into SI units: where a position, a rotation, a gripper or joint angles lie and what they mean.

Each class is filled from YAML and reads from columns, a mapping of keys to (T, D) arrays as they were recorded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial import transform

from envs.episodes.angles import check_turns, count_turns, to_convention
from envs.episodes.episode import DatasetError
from envs.episodes.motors import from_normalised
from envs.pose import euler_from_matrix

Columns = Mapping[str, Float[np.ndarray, "T D"]]

_METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
_RADIANS = {"rad": 1.0, "deg": np.pi / 180}
_TURNS = {"rad": 2 * np.pi, "deg": 360.0}
_SIZES = {"euler": 3, "rotation_vector": 3, "quaternion_xyzw": 4, "quaternion_wxyz": 4, "matrix": 9}
_UNIT_TOLERANCE = 0.01  # of a quaternion's length and a matrix's columns: float32 keeps 1e-7, other numbers do not
_GRIPPER_TOLERANCE = 0.1  # of its range: what a calibration misses


@dataclass(frozen=True)
class Position:
    """Where an end effector's position is.

    Attributes:
        key: Column.
        indices: Of x, y and z in it; None if it has nothing else.
        unit: Of its numbers.
    """

    key: str
    indices: tuple[int, int, int] | None = None
    unit: Literal["m", "cm", "mm"] = "m"

    def read(self, columns: Columns) -> Float[np.ndarray, "T 3"]:
        """Returns positions [m]; raises DatasetError naming the column."""
        return pick(columns, self.key, self.indices, 3) * _METRES[self.unit]


@dataclass(frozen=True)
class Rotation:
    """Where an end effector's orientation is.

    Attributes:
        key: Column.
        kind: What its numbers are; a matrix is nine, row by row.
        indices: Of the numbers in it; None if it has nothing else.
        axes: Of Euler angles, in order, as SciPy has them: small letters turn about fixed axes, capitals about the
            moving ones.
        unit: Of Euler angles and rotation vectors.

    Raises:
        ValueError: If the axes or the number of indices are none.
    """

    key: str
    kind: Literal["euler", "rotation_vector", "quaternion_xyzw", "quaternion_wxyz", "matrix"]
    indices: tuple[int, ...] | None = None
    axes: str = "xyz"
    unit: Literal["rad", "deg"] = "rad"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(?!.?(.)\1)([xyz]{3}|[XYZ]{3})", self.axes):  # no axis twice in a row
            raise ValueError(f"axes are three of xyz (fixed) or of XYZ (moving), such as 'xyz', got {self.axes!r}")
        if self.indices is not None and len(self.indices) != _SIZES[self.kind]:
            raise ValueError(f"a rotation of kind {self.kind} has {_SIZES[self.kind]} indices, got {self.indices}")

    def euler(self, columns: Columns) -> Float[np.ndarray, "T 3"]:
        """Returns extrinsic-xyz Euler angles [rad], untouched where they are recorded as such in their ranges.

        Raises:
            DatasetError: See `matrices`.
        """
        if (self.kind, self.axes) == ("euler", "xyz"):
            return to_convention(self._angles(columns))
        return euler_from_matrix(self.matrices(columns))

    def matrices(self, columns: Columns) -> Float[np.ndarray, "T 3 3"]:
        """Returns rotation matrices.

        Raises:
            DatasetError: Naming the column and row that is no rotation, or has angles of more than two turns.
        """
        if self.kind == "euler":
            return transform.Rotation.from_euler(self.axes, self._angles(columns)).as_matrix()
        if self.kind == "rotation_vector":
            return transform.Rotation.from_rotvec(self._angles(columns)).as_matrix()
        values = self._numbers(columns)
        if self.kind == "matrix":
            matrices = values.reshape(-1, 3, 3)
            self._check(np.abs(matrices.swapaxes(1, 2) @ matrices - np.eye(3)).max(axis=(1, 2)), values)
            self._check(np.abs(np.linalg.det(matrices) - 1.0), values)
            return matrices
        self._check(np.abs(np.linalg.norm(values, axis=1) - 1.0), values)
        return transform.Rotation.from_quat(values, scalar_first=self.kind == "quaternion_wxyz").as_matrix()

    def _angles(self, columns: Columns) -> Float[np.ndarray, "T 3"]:
        """Returns Euler angles or rotation vectors [rad] as they were recorded."""
        angles = self._numbers(columns) * _RADIANS[self.unit]
        check_turns(angles, "rotation", repr(self.key), self.unit)
        return angles

    def _numbers(self, columns: Columns) -> Float[np.ndarray, "T n"]:
        return pick(columns, self.key, self.indices, _SIZES[self.kind])

    def _check(self, errors: Float[np.ndarray, "T"], values: Float[np.ndarray, "T n"]) -> None:
        """Returns if every row is a rotation, within what rounding and calibration do to one."""
        bad = np.flatnonzero(errors > _UNIT_TOLERANCE)
        if len(bad):
            raise DatasetError(
                f"row {bad[0]} of {self.key!r} is no {self.kind.replace('_', ' ')}: {values[bad[0]].tolist()} "
                f"({len(bad)} such of {len(values)}); check its indices and kind"
            )


@dataclass(frozen=True)
class Gripper:
    """Where a gripper's opening is.

    Attributes:
        key: Column.
        open: The number that means open.
        closed: The number that means closed.
        indices: Of the numbers, one a gripper; None if the column has nothing else.

    Raises:
        ValueError: If open and closed are the same.
    """

    key: str
    open: float
    closed: float
    indices: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.open == self.closed:
            raise ValueError(f"a gripper's open and closed must differ, got {self.open} for both")

    def read(self, columns: Columns) -> Float[np.ndarray, "T grippers"]:
        """Returns closedness, 0 open .. 1 closed; what a calibration misses by up to a tenth of the range is clipped.

        Raises:
            DatasetError: Naming the column, if a number is further off: the range is another one.
        """
        values = pick(columns, self.key, self.indices, None if self.indices is None else len(self.indices))
        closedness = (values - self.open) / (self.closed - self.open)
        bad = np.flatnonzero((np.abs(closedness - 0.5) > 0.5 + _GRIPPER_TOLERANCE).any(axis=1))
        if len(bad):
            raise DatasetError(
                f"row {bad[0]} of {self.key!r} is {values[bad[0]].tolist()}, but a gripper open at {self.open:g} and "
                f"closed at {self.closed:g} was expected ({values.min():g} to {values.max():g} were seen); correct it"
            )
        return np.clip(closedness, 0.0, 1.0)


@dataclass(frozen=True)
class JointAngles:
    """Where the positions of an arm's joints are: angle = sign * number * unit + offset.

    Attributes:
        key: Column.
        names: Of the joints, in the order of the numbers.
        indices: Of the numbers; None if the column has nothing else.
        unit: Of the numbers; normalised is LeRobot's -100..100, which only its calibration file makes angles.
        signs: 1 or -1 a joint, -1 where its motor turns against the model; None for 1.
        offsets: Angles of the joints where the numbers are zero [rad]; None for 0.
        calibration: LeRobot's calibration file of the arm, for normalised numbers.
        motors: Names of the joints' motors in it; None if they are called as the joints.
        make: Of the motors: LeRobot negates the normalised numbers of Feetech's whose drive_mode is 1, not Dynamixel's.

    Raises:
        ValueError: If what is given a joint is not as much as there are names, or unit and calibration do not go
            together.
    """

    key: str
    names: tuple[str, ...]
    indices: tuple[int, ...] | None = None
    unit: Literal["rad", "deg", "normalised"] = "rad"
    signs: tuple[float, ...] | None = None
    offsets: tuple[float, ...] | None = None
    calibration: Path | None = None
    motors: tuple[str, ...] | None = None
    make: Literal["feetech", "dynamixel"] = "feetech"

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"joints need a name each, all different, got {self.names}")
        for field in ("indices", "signs", "offsets", "motors"):
            given = getattr(self, field)
            if given is not None and len(given) != len(self.names):
                raise ValueError(f"{len(self.names)} joints have {len(self.names)} {field}, got {given}")
        if self.signs is not None and not set(self.signs) <= {1.0, -1.0}:
            raise ValueError(f"signs of joints are 1 or -1, got {self.signs}")
        if (self.unit == "normalised") != (self.calibration is not None):
            raise ValueError(
                "joints normalised to -100..100 are angles only by the arm's calibration file: unit: normalised and "
                f"calibration: FILE.json go together, got unit {self.unit} and calibration {self.calibration}"
            )

    def continuous(self, columns: Columns) -> tuple[Columns, str]:
        """Returns columns without jumps of joints that come back at the other end of a turn, and the first in words.

        Numbers normalised to a range do not come back.

        Args:
            columns: All rows of an episode, before any are chosen.

        Raises:
            DatasetError: Naming column, joint and rows, if numbers are no angles or a jump may be either.
        """
        if self.unit == "normalised":
            return columns, ""
        values = _take(columns, self.key, self.indices, len(self.names))
        angles, what = values * _RADIANS[self.unit], repr(self.key)
        check_turns(angles, "joint", what, self.unit)
        turns, where = count_turns(angles, self.names, what)
        if not where:
            return columns, ""
        followed = np.array(columns[self.key], np.float64)
        followed[:, list(self.indices or range(len(self.names)))] = values - turns * _TURNS[self.unit]
        return {**columns, self.key: followed}, where

    def read(self, columns: Columns) -> Float[np.ndarray, "T joints"]:
        """Returns joint angles [rad]; raises DatasetError naming the column."""
        values = pick(columns, self.key, self.indices, len(self.names))
        if self.calibration is None:
            values = values * _RADIANS[self.unit]
        else:
            motors, negated = self.motors or self.names, self.make == "feetech"
            values = from_normalised(values, motors, self.calibration, negated, repr(self.key))
        signs = 1.0 if self.signs is None else np.array(self.signs)
        offsets = 0.0 if self.offsets is None else np.array(self.offsets)
        return values * signs + offsets


@dataclass(frozen=True)
class Frame:
    """Where the frame that a recording's poses are in stands in the robot's base frame.

    Attributes:
        translation: Of its origin [m].
        rotation: Extrinsic-xyz Euler angles [rad].
    """

    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)


def pick(
    columns: Columns, key: str, indices: tuple[int, ...] | None, size: int | None = None
) -> Float[np.ndarray, "T n"]:
    """Returns the numbers of a column at some indices, in float64.

    Args:
        columns: As they were recorded.
        key: Of the column.
        indices: Of the numbers; None takes all.
        size: How many there must be.

    Raises:
        DatasetError: If there are not as many numbers or one is not finite, naming column and row.
    """
    values = _take(columns, key, indices, size)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise DatasetError(f"row {bad[0]} of {key!r} is not finite: {values[bad[0]].tolist()} ({len(bad)} such rows)")
    return values


def _take(
    columns: Columns, key: str, indices: tuple[int, ...] | None, size: int | None = None
) -> Float[np.ndarray, "T n"]:
    """Returns the numbers of a column at some indices, finite or not; see `pick`."""
    values = np.asarray(columns[key], np.float64)
    width = values.shape[1]
    if indices is not None and not all(0 <= index < width for index in indices):
        raise DatasetError(f"{key!r} has {width} numbers a frame, indices 0 to {width - 1}; asked for {indices}")
    values = values if indices is None else values[:, list(indices)]
    if size is not None and values.shape[1] != size:
        raise DatasetError(f"{key!r} has {width} numbers a frame where {size} are needed; give their indices")
    return values
