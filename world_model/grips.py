"""Where a recording shows that the gripper held something: what there is to see of objects without labels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy.lib.stride_tricks import sliding_window_view

CLOSEDNESS = (0.2, 0.72)
"""A gripper that stays between these was stopped by something; 0 is open, 1 closed."""

STEADY = 0.03
"""It moves less than this from one frame to the next."""

AHEAD, BACK = 16, 8
"""So many frames before it is taken a thing is taken to lie there already, and so many after it was let go still."""


def held_places(
    poses: Float[np.ndarray, "T P"], gripper: int
) -> tuple[Float[np.ndarray, "T 3"], Bool[np.ndarray, " T"]]:
    """Returns where something that the gripper holds was, is or will be next, and for which frames that is known.

    While it is held it is where the hand is. Before, it is where the hand will next hold something; after, where it
    last did: wrong where it is pushed about in between, and for most frames right. Learning to see the place in an
    image is learning to see the thing, as in arXiv 2203.00352, where grippers that close in play label images.

    Args:
        poses: Of one episode, positions first [m].
        gripper: Which of the pose's numbers is the closedness.
    """
    closedness, frames = poses[:, gripper], len(poses)
    stopped = (closedness > CLOSEDNESS[0]) & (closedness < CLOSEDNESS[1])
    stopped[1:] &= np.abs(np.diff(closedness)) < STEADY
    held = stopped & np.append(stopped[1:], stopped[-1:])  # and still in the next frame
    order = np.arange(frames)
    following = np.where(held, order, frames + AHEAD + 1)
    coming = sliding_window_view(np.append(following, np.full(AHEAD, frames + AHEAD + 1)), AHEAD + 1).min(axis=1)
    past = np.where(held, order, -BACK - 2)
    gone = sliding_window_view(np.append(np.full(BACK, -BACK - 2), past), BACK + 1).max(axis=1)
    source = np.where(coming < frames, coming, gone)
    known = source >= 0
    return poses[np.where(known, source, 0), :3], known
