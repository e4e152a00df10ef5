"""What a gripper was told to do, which measured closedness does not say."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

OPEN, CLOSED = 0.2, 0.72
"""A gripper that stays between these closednesses was stopped by something; 0 is open, 1 closed."""

STEADY = 0.08
"""It holds something while it moves by less than this from one frame to the next; fingers give way by 0.06."""

_GIVES = 0.015  # so much less closed than it is in the middle of a grip it has not arrived yet
_MOVES = 0.03  # it is on its way while it moves by more than this from one frame to the next


def told_actions(
    poses: Float[np.ndarray, "T P"], actions: Float[np.ndarray, "U A"], gripper: int, most: float
) -> Float[np.ndarray, "U A"]:
    """Returns measured actions with what a gripper was told: to shut or open until that, or a thing, stops it.

    A policy that is taught how far the gripper came closes as far as the mean of all things is wide, and does not
    touch a narrower one. An arm that is told to shut stops at the thing all the same, and while it holds that, it is
    told nothing. So recordings have the actions that plans have, and what comes of them is left to be predicted.

    Args:
        poses: Of one episode.
        actions: Differences of consecutive poses, U at least T - 1.
        gripper: Which of the numbers of a pose, and of an action, is the closedness.
        most: What an action can close or open by, its bound.
    """
    told, closedness = actions.copy(), poses[:, gripper]
    shuts = [(stop, stop) for stop in _begin(closedness > CLOSED)]
    for first, last in grips(closedness):
        there = closedness[first : last + 1] > np.median(closedness[first : last + 1]) - _GIVES
        arrived = first + int(there.argmax())
        told[arrived:last, gripper] = 0.0
        shuts.append((first, arrived))
    for way, stops in ((1.0, shuts), (-1.0, [(stop, stop) for stop in _begin(closedness < OPEN)])):
        for first, stop in stops:
            began = _began(way * closedness, first)
            left = (way > 0) - closedness[began:stop]  # to its end
            told[began:stop, gripper] = np.clip(left, -most, most)
    return told


def _begin(states: Bool[np.ndarray, " T"]) -> list[int]:
    """Returns the frames from which on something is so that was not before."""
    return (np.flatnonzero(states[1:] & ~states[:-1]) + 1).tolist()


def _began(closedness: Float[np.ndarray, " T"], stop: int) -> int:
    """Returns the last frame before the gripper closes without a pause until a frame; the arm may move meanwhile."""
    while stop > 0 and closedness[stop] - closedness[stop - 1] > _MOVES:
        stop -= 1
    return stop


def grips(closedness: Float[np.ndarray, " T"]) -> list[tuple[int, int]]:
    """Returns first and last frames of where something stops the gripper and it holds that, three frames or longer."""
    stopped, runs, first = (closedness > OPEN) & (closedness < CLOSED), [], None
    for frame in range(len(stopped) + 1):
        goes_on = frame < len(stopped) and stopped[frame]
        if first is not None and not (goes_on and abs(closedness[frame] - closedness[frame - 1]) < STEADY):
            if frame - first >= 3:
                runs.append((first, frame - 1))
            first = None
        if first is None and goes_on:
            first = frame
    return runs
