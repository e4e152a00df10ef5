"""What recordings show of a thing without labels: where a gripper closes on it, holds it and lets go of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from world_model.data.gripper import CLOSED, OPEN, grip_began, grips

_TAKING = 0.03  # m

_CLOSED_PUSHES = (0.08, 0.05, 0.01)
"""A closed hand pushes nothing that its way does not come so near to, that lies so much lower than it, or if it moves
less [m]."""

_OPEN_PUSHES = (0.06, 0.02, 0.02)
"""The same of an open hand, which may be around a thing."""

_OPENS = 0.1  # of the gripper's way: fingers that open so far may push what is beside them

WIDE_OPEN, SHUT = 0.15, 0.9
"""Beyond these it holds nothing for sure."""


def taking_height(poses: Sequence[Float[np.ndarray, "T P"]], gripper: int) -> float:
    """Returns up to which height things are taken in some episodes [m]; infinity if none ever is.

    Half of all grips begin lower than 3 cm under it. Much higher ones are of an empty gripper that was told to stay
    half open, or of a thing that is let fall.
    """
    heights = [
        each[grip_began(each[:, gripper], first), 2]
        for each in poses
        for first, _ in grips(each[:, gripper])
        if first > 0
    ]
    return float(np.median(heights)) + _TAKING if heights else np.inf


def lying_places(
    poses: Float[np.ndarray, "T P"], gripper: int, highest: float = np.inf
) -> tuple[Float[np.ndarray, "T S"], Bool[np.ndarray, " T"]]:
    """Returns where something lies that the gripper takes next or has let go of, and in which frames that is known.

    It holds something where it is stopped for three frames at least. Before and after, the thing lies where the gripper
    began to close on it and where it was let go, until a hand moves so low and near that it may push it. Learning to
    see the place in an image is learning to see the thing, as in arXiv 2203.00352, where grippers that close in play
    label images. Frames in which it is held are left out: there the hand's place is the thing's, and what learns from
    them learns to see the hand.

    Args:
        poses: Of one episode, positions first [m].
        gripper: Which of the pose's numbers is the closedness.
        highest: Things are not taken or let go of higher, see `taking_height`.
    """
    closedness, frames = poses[:, gripper], len(poses)
    places, known = np.zeros_like(poses[:, :3], np.float32), np.zeros(frames, np.bool_)
    stops = grips(closedness)
    takes = [(grip_began(closedness, first), -1) for first, _ in stops if first > 0]
    for last, step in (*takes, *((last, 1) for _, last in stops)):
        place, before, frame = poses[last, :3], last, last if step < 0 else last + 1
        if place[2] > highest:
            continue
        while 0 <= frame < frames and not known[frame]:
            earlier, later = (frame, before) if step < 0 else (before, frame)
            if _may_push(poses[earlier], poses[later], place, gripper):
                break
            if not (OPEN <= closedness[frame] <= CLOSED):  # neither taking nor letting go
                places[frame], known[frame] = place, True
            before, frame = frame, frame + step
    return places, known


def _may_push(
    earlier: Float[np.ndarray, " P"], later: Float[np.ndarray, " P"], place: Float[np.ndarray, "3"], gripper: int
) -> bool:
    """Returns whether a hand that goes from one pose to another may push what lies at a place."""
    closed = max(earlier[gripper], later[gripper]) >= CLOSED
    near, low, still = _CLOSED_PUSHES if closed else _OPEN_PUSHES
    way, there = later[:2] - earlier[:2], place[:2] - earlier[:2]
    passed = min(1.0, max(0.0, float(way @ there) / max(float(way @ way), 1e-12)))  # of its way, where it is nearest
    if np.linalg.norm(there - passed * way) > near or min(earlier[2], later[2]) - place[2] > low:
        return False
    moves = bool(np.linalg.norm(way) > still)
    if not closed:
        return moves
    return (moves and float(way @ there) > 0) or abs(later[gripper] - earlier[gripper]) > _OPENS


def held_frames(
    poses: Float[np.ndarray, "T P"], gripper: int, highest: float = np.inf
) -> tuple[Bool[np.ndarray, " T"], Bool[np.ndarray, " T"]]:
    """Returns in which frames something is held, and in which of them that is known.

    Held where the gripper is stopped for three frames at least, from where things are taken or the episode's start on,
    see `lying_places`; not held where it is wide open or shut.
    """
    closedness = poses[:, gripper]
    held = np.zeros(len(poses), np.bool_)
    for first, last in grips(closedness):
        held[first : last + 1] = first == 0 or poses[grip_began(closedness, first), 2] <= highest
    return held, held | (closedness < WIDE_OPEN) | (closedness > SHUT)
