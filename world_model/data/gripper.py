"""What a gripper was told to do, which measured closedness does not say where something stopped it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

OPEN, CLOSED = 0.2, 0.72
"""A gripper that stays between these closednesses was stopped by something; 0 is open, 1 closed."""

STEADY = 0.03
"""It moves less than this from one frame to the next."""


def told_actions(
    poses: Float[np.ndarray, "T P"], actions: Float[np.ndarray, "U A"], gripper: int
) -> Float[np.ndarray, "U A"]:
    """Returns measured actions with what a gripper was told where something stopped it: to shut.

    A policy that is taught how far the gripper came closes as far as the mean of all things is wide, and does not
    touch a narrower one. An arm that is told to shut stops at the thing all the same.

    Args:
        poses: Of one episode.
        actions: Differences of consecutive poses, U at least T - 1.
        gripper: Which of the numbers of a pose, and of an action, is the closedness.
    """
    told, closedness = actions.copy(), poses[:, gripper]
    for first, _ in grips(closedness):
        for frame in range(grip_began(closedness, first), first):
            told[frame, gripper] = 1.0 - closedness[frame]
    return told


def grip_began(closedness: Float[np.ndarray, " T"], first: int) -> int:
    """Returns the last frame before the gripper closes on what stops it from `first` on; the arm may move meanwhile."""
    while first > 0 and closedness[first] - closedness[first - 1] > STEADY:
        first -= 1
    return first


def grips(closedness: Float[np.ndarray, " T"]) -> list[tuple[int, int]]:
    """Returns first and last frames of where the gripper is stopped and does not move, three frames or longer."""
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
