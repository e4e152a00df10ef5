"""Angles as recorders write them, beyond a turn or back at its other end, made what they are here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from envs.episodes.episode import DatasetError
from envs.pose import SUM, euler_from_matrix, matrix_from_euler, motion_of
from envs.spec import ActionSpec

_LARGEST: dict[str, tuple[float, str]] = {
    "joint": (
        4.0,
        "degrees (unit: deg), encoder steps or LeRobot's -100..100 (unit: normalised, with the calibration)",
    ),
    "rotation": (2.0, "degrees (unit: deg), or other numbers than the rotation's (indices)"),
}  # turns, and what larger numbers may be; UR's joints go one turn either way
_TURN = 2 * np.pi
_CERTAIN = 0.25  # turns: what is left of a jump, once whole turns are taken off it, that is taken for motion
_ROUNDING = 1e-6  # rad: what float32 makes of pi
_HALF = np.pi + 1e-4  # rad: as far as an action may turn; differences of float32 poses keep 1e-6


def check_turns(angles: Float[np.ndarray, "T n"], kind: Literal["joint", "rotation"], what: str, unit: str) -> None:
    """Returns if numbers can be angles; those that are not finite are passed over.

    Args:
        angles: [rad].
        kind: Whose angles: joints go 4 turns at most, Euler angles and rotation vectors 2.
        what: Their column, for the error.
        unit: That they were recorded in, for the error.

    Raises:
        DatasetError: Naming the first row with a larger angle.
    """
    most, instead = _LARGEST[kind]
    bad = np.argwhere(np.abs(angles) > most * _TURN)
    if len(bad):
        row, number = bad[0]
        raise DatasetError(
            f"row {row} of {what} has an angle of {angles[row, number] / _TURN:.1f} turns in the unit {unit}, at most "
            f"{most:g} are possible ({len(set(bad[:, 0]))} such of {len(angles)} rows): they may be {instead}. Correct "
            "the Reading"
        )


def to_convention(euler: Float[np.ndarray, "T 3"]) -> Float[np.ndarray, "T 3"]:
    """Returns the same rotations as extrinsic-xyz Euler angles in -pi..pi, pitch in its half; others are untouched."""
    beyond = np.abs(euler) > np.pi + _ROUNDING
    euler = np.where(beyond, np.pi - np.mod(np.pi - euler, _TURN), euler)  # (-pi, pi]
    outside = np.abs(euler[:, 1:2]) > np.pi / 2 + _ROUNDING
    if not np.any(outside):
        return euler
    return np.where(outside, euler_from_matrix(matrix_from_euler(euler)), euler)


def count_turns(
    angles: Float[np.ndarray, "T joints"], names: Sequence[str], what: str
) -> tuple[Float[np.ndarray, "T joints"], str]:
    """Returns how many turns to take off joint angles that come back at the other end of one, and where they first do.

    A jump of more than half a turn from a row to the next is such a wrap if a quarter of a turn or less is left of it
    without its whole turns. Rows that are not finite are passed over. Where there are no wraps the words are "".

    Args:
        angles: Of consecutive rows, at the full rate that was recorded [rad].
        names: Of the joints.
        what: Their column, for errors.

    Raises:
        DatasetError: Naming joint and rows, if a jump is neither motion nor a wrap.
    """
    rows = np.flatnonzero(np.isfinite(angles).all(axis=1))
    steps = np.diff(angles[rows], axis=0)
    turns = np.where(np.abs(steps) > _TURN / 2, np.round(steps / _TURN), 0.0)
    unclear = (np.abs(steps) > _TURN / 2) & (np.abs(steps - turns * _TURN) > _CERTAIN * _TURN)

    def first(places: np.ndarray) -> str:
        step, joint = np.argwhere(places)[0]
        before, after = rows[step : step + 2]
        return (
            f"joint {names[joint]!r} of {what} goes from {angles[before, joint]:.3f} to {angles[after, joint]:.3f} rad "
            f"between the rows {before} and {after}"
        )

    if unclear.any():
        raise DatasetError(
            f"{first(unclear)}, {np.abs(steps[unclear][0]):.3f} rad: too much for motion, and not the turn that coming "
            f"back at the other end makes ({unclear.sum()} such). Check unit and indices in the Reading, or leave the "
            "episode out"
        )
    ahead = np.zeros(angles.shape)
    ahead[rows[1:]] = np.cumsum(turns, axis=0)
    return ahead, first(turns != 0) if turns.any() else ""


def check_half_turns(actions: Float[np.ndarray, "T A"], spec: ActionSpec) -> None:
    """Returns if no angle that adds up goes more than half a turn in a period: which way it turned is not known.

    Rotations of an end effector never do.

    Raises:
        DatasetError: Naming dimension and frame.
    """
    if motion_of(spec) is not SUM:
        return
    turns = np.argwhere((np.abs(actions) > _HALF) & (np.array(spec.units) == "rad"))
    if len(turns):
        frame, dimension = turns[0]
        raise DatasetError(
            f"{spec.names[dimension]!r} goes {actions[frame, dimension]:+.4g} rad from frame {frame} to the next, "
            f"{1 / spec.rate:g} s later: more than half a turn is not learnt as motion. Give a higher rate, or leave "
            "the episode out"
        )
