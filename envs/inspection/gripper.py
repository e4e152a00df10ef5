"""Which end of a gripper's numbers is open: by what happens when it holds something, else by the kind of arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_STILL = 0.01  # share of the range that fingers move within _SPAN frames while they stand still
_SPAN = 4
_BLOCKED = 0.1  # share of the range that the command is away from fingers that are blocked
_ENDS = 0.05  # share of the range at either end, where the gripper's own stops block it
_FEWEST = 5  # frames
_AGREEING = 0.9  # of them


@dataclass(frozen=True)
class Direction:
    """Which of a gripper's two ends is open.

    Attributes:
        open: The number.
        closed: The other end's.
        why: By what that was told.
        certain: Whether it was told.
        remark: What should be known beside; empty if nothing.
    """

    open: float
    closed: float
    why: str
    certain: bool
    remark: str = ""


def find_direction(
    low: float,
    high: float,
    family: tuple[str, tuple[float, float]] | None,
    fingers: Sequence[Float[np.ndarray, "T"]],
    commands: Sequence[Float[np.ndarray, "T"]],
) -> Direction:
    """Returns which end of a gripper is open.

    Fingers that stand still between the ends while the command goes on hold something: that way is closing. It is
    physical, so it wins over what is usual for the kind of arm; without either the lower end is guessed to be open.

    Args:
        low: Lower end.
        high: Upper end.
        family: Title of the kind of arm and its usual numbers for open and closed, if known.
        fingers: Where the fingers were, one array a recording.
        commands: Where they were sent, likewise; none if that was not recorded.
    """
    upwards, downwards = count_blocked(low, high, fingers, commands)
    frames, most = upwards + downwards, max(upwards, downwards)
    closing = 0 if frames < _FEWEST or most < _AGREEING * frames else (1 if upwards > downwards else -1)
    usual = None if family is None else (min, max)[family[1][0] > family[1][1]](low, high)
    if closing:
        opened, closed = (low, high) if closing > 0 else (high, low)
        why = (
            f"in {most} frames the fingers stood still while the command went on towards {closed:g}: something was held"
        )
        odd = family is not None and usual != opened
        return Direction(
            opened, closed, why, True, f"usual for {family[0]} is open at {usual:g}" if odd and family else ""
        )
    if usual is not None and family is not None:
        closed = low if usual == high else high
        return Direction(usual, closed, f"as is usual for {family[0]}; nothing that was held tells", True)
    why = "or the other way round: neither the arm's kind nor anything held tells which end is open"
    return Direction(low, high, why, False)


def count_blocked(
    low: float, high: float, fingers: Sequence[Float[np.ndarray, "T"]], commands: Sequence[Float[np.ndarray, "T"]]
) -> tuple[int, int]:
    """Returns in how many frames fingers stood still between the ends while the command was well above, and below."""
    upwards, downwards, size, half = 0, 0, high - low, _SPAN // 2
    for positions, wanted in zip(fingers, commands, strict=False):  # none if commands were not recorded
        if len(positions) <= _SPAN:
            continue
        here, gap = positions[half:-half], (wanted - positions)[half:-half]
        still = np.abs(positions[_SPAN:] - positions[:-_SPAN]) < _STILL * size
        between = (here > low + _ENDS * size) & (here < high - _ENDS * size)
        upwards += int((still & between & (gap > _BLOCKED * size)).sum())
        downwards += int((still & between & (gap < -_BLOCKED * size)).sum())
    return upwards, downwards
