"""What a Reading makes of recordings: ranges of poses and actions, and what is implausible about an episode."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float, UInt8

from envs.episodes import Episode, EpisodeSource
from envs.pose import END_EFFECTOR, matrix_from_euler, motion_of

JUMP = 0.5  # m a step: no arm that is recorded several times a second moves so fast
TURN = 1.5  # rad a step
JOINT_TURN = 2.0  # rad a step
MOVED = 0.01  # m or rad a step, that a camera should show
STILL = 12  # grey levels: what compression does to a pixel of a picture that does not change
DARK = 8.0  # grey levels
FEW = 0.05  # share of the frames that is worth a word


def ranges(source: EpisodeSource, episodes: list[int]) -> list[str]:
    """Returns a line for each number of a pose and of an action: from where to where it goes.

    Raises:
        DatasetError: If an episode's numbers can't be read.
    """
    recorded = [source.poses_actions(episode) for episode in episodes]
    poses, actions = (np.concatenate(parts) for parts in zip(*recorded, strict=True))
    spec = source.spec
    return [
        f"  {name:12s} pose {pose.min():+9.4f} .. {pose.max():+9.4f}   action {action.min():+8.4f} .. "
        f"{action.max():+8.4f}, std {action.std():.4f} {unit}"
        for name, unit, pose, action in zip(spec.names, spec.units, poses.T, actions.T, strict=True)
    ]


def implausible(episode: Episode) -> list[str]:
    """Returns what no real arm and camera would have recorded, in words."""
    end_effector = motion_of(episode.spec) is END_EFFECTOR
    poses = episode.poses.astype(np.float64)
    return [
        *_gripper(poses, episode.spec.names),
        *(_pose_steps(poses) if end_effector else _joint_steps(poses, episode.spec.units)),
        *_pictures(episode.images, poses),
    ]


def _gripper(poses: Float[np.ndarray, "T P"], names: tuple[str, ...]) -> list[str]:
    for column, name in enumerate(names):
        low, high = poses[:, column].min(), poses[:, column].max()
        if name.startswith("gripper") and (low < -1e-3 or high > 1 + 1e-3):
            return [f"{name} is {low:.3g} .. {high:.3g}, closedness is 0 .. 1: give its open and closed values"]
    return []


def _pose_steps(poses: Float[np.ndarray, "T 7"]) -> list[str]:
    """Returns where an end effector jumps or turns too fast."""
    found = []
    jumps = np.linalg.norm(np.diff(poses[:, :3], axis=0), axis=1)
    if jumps.max() > JUMP:
        found.append(f"the position jumps {jumps.max():.2f} m at frame {jumps.argmax()}: a wrong unit, or a cut?")
    matrices = matrix_from_euler(poses[:, 3:6])
    traces = np.einsum("tij,tij->t", matrices[1:], matrices[:-1])
    turns = np.arccos(np.clip((traces - 1) / 2, -1, 1))
    if turns.max() > TURN:
        count = int((turns > TURN).sum())
        found.append(
            f"the rotation jumps {turns.max():.2f} rad at frame {turns.argmax()} ({count} such steps): degrees for "
            "radians, other axes, or quaternions in another order?"
        )
    return found


def _joint_steps(poses: Float[np.ndarray, "T P"], units: tuple[str, ...]) -> list[str]:
    """Returns where joints turn too fast or too far."""
    joints = poses[:, [unit == "rad" for unit in units]]
    if not joints.size:
        return []
    found, steps = [], np.abs(np.diff(joints, axis=0)).max(axis=1)
    if steps.max() > JOINT_TURN:
        found.append(f"a joint jumps {steps.max():.2f} rad at frame {steps.argmax()}: degrees for radians, or a cut?")
    if np.abs(joints).max() > 4 * np.pi:
        found.append(f"joints reach {np.abs(joints).max():.3g} rad: degrees for radians?")
    return found


def _pictures(images: UInt8[np.ndarray, "T h w 3"], poses: Float[np.ndarray, "T P"]) -> list[str]:
    """Returns whether pictures are dark, or stand still while the arm moves."""
    found = []
    dark = np.array([image.mean() < DARK for image in images])
    if dark.mean() > FEW:
        found.append(f"{dark.sum()} of {len(dark)} images are black")
    changes = np.array([_largest_change(*pair) for pair in itertools.pairwise(images)])
    moves = np.abs(np.diff(poses, axis=0)).max(axis=1) > MOVED
    frozen = moves & (changes <= STILL) & ~dark[1:]
    if frozen.sum() > max(1, FEW * moves.sum()):
        found.append(
            f"{frozen.sum()} of {moves.sum()} steps move the arm but not the image: a wrong time base, or a camera "
            "that hung"
        )
    if not moves.any() and (changes > STILL).mean() > 0.5:
        found.append("the images change while the pose never does: is it the pose of this arm?")
    return found


def _largest_change(before: UInt8[np.ndarray, "h w 3"], after: UInt8[np.ndarray, "h w 3"]) -> int:
    """Returns by how many grey levels the pixel that changes most does."""
    return int(np.abs(after.astype(np.int16) - before).max())
