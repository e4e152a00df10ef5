"""Goals of deploy.py: photographs, from files or taken with the arm's own camera."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, PngImagePlugin

from envs.arms.base import StreamingArm
from envs.arms.safety import SafeArm
from envs.keys import ask
from envs.pictures import read_picture
from envs.spec import Observation

CAMERA = "camera"
"""The name of a goal that is taken with the arm's own camera."""

_POSE = "pose"  # name of a PNG's text that holds the pose
_LEAST = 32  # pixels: a goal with a shorter side shows nothing, unless the camera's images are as small
_ASPECT = 0.02  # share by which a goal's aspect ratio may differ from the camera's


@dataclass(frozen=True)
class Goal:
    """A goal photograph.

    Attributes:
        path: Its file.
        image: (h, w, 3) uint8 RGB.
        pose: Of the arm at the goal (7,), where the file tells; None for a bare photograph.
    """

    path: Path
    image: UInt8[np.ndarray, "h w 3"]
    pose: Float[np.ndarray, "7"] | None


def read_goal(path: Path | str) -> Goal:
    """Returns the goal in a PNG or JPEG file, turned upright as its camera noted.

    Raises:
        ValueError: If there is no such file or it is no picture, see `read_picture`, or its pose is none.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no goal photograph {path}; name a PNG or JPEG file, or `camera`")
    image, info = read_picture(path)
    told = info.get(_POSE)
    try:
        pose = None if told is None else np.array(json.loads(told), dtype=np.float64)
    except (ValueError, TypeError):
        pose = np.zeros(0)
    if pose is not None and (pose.shape != (7,) or not np.all(np.isfinite(pose))):
        raise ValueError(f"the pose noted in {path} is not 7 finite numbers, got {told}; take the goal again")
    return Goal(path, image, pose)


def keep_goal(seen: Observation, path: Path) -> Goal:
    """Writes what is seen as a goal, a PNG with the pose noted in it, and returns the goal that the file holds."""
    notes = PngImagePlugin.PngInfo()
    notes.add_text(_POSE, json.dumps(seen.pose.tolist()))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(seen.image).save(path, "PNG", pnginfo=notes)
    return read_goal(path)


def check_aspect(goal: Goal, image_shape: tuple[int, int, int]) -> None:
    """Returns if a goal may have been taken by the arm's camera.

    Raises:
        ValueError: If its shape is another, so that the model would compare different views, or it is tiny.
    """
    height, width = goal.image.shape[:2]
    if min(height, width) < min(_LEAST, *image_shape[:2]):
        raise ValueError(
            f"the goal {goal.path} is {width} x {height} pixels, too small to show a goal: the arm's camera has "
            f"{image_shape[1]} x {image_shape[0]}"
        )
    if abs(width * image_shape[0] / (height * image_shape[1]) - 1.0) > _ASPECT:
        raise ValueError(
            f"the goal {goal.path} is {width} x {height} pixels, the arm's camera {image_shape[1]} x {image_shape[0]}: "
            "take it with the arm's camera from where it stands (--goal camera), or crop it to the same shape"
        )


def scaled(goal: Goal, image_shape: tuple[int, int, int]) -> Goal:
    """Returns a goal with no more pixels than the arm's camera has, each the mean of those that it was."""
    height, width = image_shape[:2]
    if goal.image.shape[0] <= height or goal.image.shape[1] <= width:
        return goal
    smaller = Image.fromarray(goal.image).resize((width, height), Image.Resampling.BOX)
    return replace(goal, image=np.asarray(smaller))


def for_planner(goals: Sequence[Goal], pose_needed: bool) -> list[Observation]:
    """Returns the goals as a plan server takes them.

    Args:
        goals: In the order in which they are pursued.
        pose_needed: Whether costs depend on a goal's pose. If not, the planner gets none: zeros, which are never read.

    Raises:
        ValueError: If a pose is needed and not known.
    """
    told = []
    for goal in goals:
        if pose_needed and goal.pose is None:
            raise ValueError(
                f"the plan server weighs the goal's pose, which {goal.path} does not tell: take the goal with --goal "
                "camera, or plan with objective.pose_weight: 0"
            )
        pose = goal.pose if pose_needed and goal.pose is not None else np.zeros(7)
        told.append(Observation(goal.image, pose, 0.0))
    return told


def take_goals(names: Sequence[str], output: Path, driver: StreamingArm) -> Iterator[Goal]:
    """Yields the goals that --goal names, taking those of the camera."""
    for index, name in enumerate(names):
        goal = _take_goal(driver, output / f"goal-{index}.png") if name == CAMERA else read_goal(name)
        check_aspect(goal, driver.image_shape)
        yield scaled(goal, driver.image_shape)


def _take_goal(driver: StreamingArm, path: Path) -> Goal:
    """Returns a goal taken with the arm's camera, which a person has put to the goal."""
    arm = SafeArm(driver)
    try:
        arm.connect()
        if ask("put the arm to the goal, step out of the picture and press Enter: ") is None:
            raise ValueError("nobody pressed Enter: no goal was taken")
        goal = keep_goal(arm.observe(), path)
    finally:
        arm.close()
    if ask(f"kept {path}. Put the arm to its start and press Enter: ") is None:
        raise ValueError("nobody pressed Enter: nothing was done")
    return goal
