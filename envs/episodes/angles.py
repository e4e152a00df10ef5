"""Angles as recorders write them, beyond a turn or back at its other end, made what they are here."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from envs.episodes.episode import DatasetError
from envs.episodes.remarks import Remarks
from envs.pose import euler_from_matrix, matrix_from_euler

_TURN = 2 * np.pi
_TURNS = 4.0  # no arm's angles go further: degrees taken for radians do, and encoder steps
_CERTAIN = 0.25  # turns: what is left of a jump, once a turn is taken off it, that is taken for motion
_ROUNDING = 1e-6  # rad: what float32 makes of pi

_remarks = Remarks()


def check_turns(angles: Float[np.ndarray, "T n"], what: str, unit: str) -> None:
    """Returns if numbers can be angles.

    Args:
        angles: [rad].
        what: Their column, for the error.
        unit: That they were recorded in, for the error.

    Raises:
        DatasetError: Naming the first row with an angle of more than four turns.
    """
    bad = np.flatnonzero((np.abs(angles) > _TURNS * _TURN).any(axis=1))
    if len(bad):
        turns = np.abs(angles[bad[0]]).max() / _TURN
        raise DatasetError(
            f"row {bad[0]} of {what} has an angle of {turns:.1f} turns in the unit {unit} ({len(bad)} such of "
            f"{len(angles)}); they may be degrees or encoder steps: correct the unit, or turn steps into angles first"
        )


def to_convention(euler: Float[np.ndarray, "T 3"]) -> Float[np.ndarray, "T 3"]:
    """Returns the same rotations as extrinsic-xyz Euler angles in -pi..pi, pitch in its half; others are untouched."""
    outside = (np.abs(euler) > np.array([np.pi, np.pi / 2, np.pi]) + _ROUNDING).any(axis=1)
    if not outside.any():
        return euler
    return np.where(outside[:, None], euler_from_matrix(matrix_from_euler(euler)), euler)


def unwrap_joints(
    angles: Float[np.ndarray, "T joints"], names: tuple[str, ...], what: str
) -> Float[np.ndarray, "T joints"]:
    """Returns joint angles [rad] that go on where they were recorded as coming back at the other end of a turn.

    Args:
        angles: Of consecutive frames [rad].
        names: Of the joints.
        what: Their column, for errors.

    Raises:
        DatasetError: Naming joint and row, if a joint jumps by over half a turn and not by about a whole one.
    """
    steps = np.diff(angles, axis=0)
    turns = np.where(np.abs(steps) > np.pi, np.round(steps / _TURN), 0.0)
    unclear = np.argwhere((np.abs(steps) > np.pi) & (np.abs(steps - turns * _TURN) > _CERTAIN * _TURN))
    if len(unclear):
        row, joint = unclear[0]
        raise DatasetError(
            f"joint {names[joint]!r} of {what} goes from {angles[row, joint]:.3f} to {angles[row + 1, joint]:.3f} rad "
            f"between the rows {row} and {row + 1} that are read, over half a turn: too much for motion, and not the "
            "turn that coming back at the other end makes. Check its unit, read at a higher rate, or leave the episode "
            "out"
        )
    for joint in np.flatnonzero(turns.any(axis=0)):
        _remarks.add(what, f"joint {names[joint]!r} comes back at the other end of a turn; its angle is made to go on")
    return angles - np.concatenate([np.zeros((1, len(names))), np.cumsum(turns, axis=0)]) * _TURN
