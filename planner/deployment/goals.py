"""Goals of deploy.py: photographs, from files or taken with the arm's own camera."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from envs.arms.base import StreamingArm
from envs.arms.safety import SafeArm
from envs.keys import ask
from envs.pictures import read_picture
from envs.spec import Goal

CAMERA = "camera"
"""The name of a goal that is taken with the arm's own camera."""

_POSE = "pose"  # name of a PNG's text that holds the pose
_LEAST = 32  # pixels: a goal with a shorter side shows nothing, unless the camera's images are as small
_ASPECT = 0.02  # share by which a goal's aspect ratio may differ from the camera's


@dataclass(frozen=True)
class Photograph:
    """A goal in a picture file.

    Attributes:
        path: The file.
        goal: What it shows; its pose is that of the arm (7,) where the file tells, and open of a bare photograph.
    """

    path: Path
    goal: Goal


def read_goal(path: Path | str) -> Photograph:
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
    return Photograph(path, Goal(image, pose))


def keep_goal(goal: Goal, path: Path) -> Photograph:
    """Writes a goal as a PNG with its pose, where it has one, noted in it, and returns what the file holds."""
    notes = PngImagePlugin.PngInfo()
    if goal.pose is not None:
        notes.add_text(_POSE, json.dumps(goal.pose.tolist()))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(goal.image).save(path, "PNG", pnginfo=notes)
    return read_goal(path)


def check_aspect(photograph: Photograph, image_shape: tuple[int, int, int]) -> None:
    """Returns if a goal may have been taken by the arm's camera.

    Raises:
        ValueError: If its shape is another, so that the model would compare different views, or it is tiny.
    """
    height, width = photograph.goal.image.shape[:2]
    if min(height, width) < min(_LEAST, *image_shape[:2]):
        raise ValueError(
            f"the goal {photograph.path} is {width} x {height} pixels, too small to show a goal: the arm's camera has "
            f"{image_shape[1]} x {image_shape[0]}"
        )
    if abs(width * image_shape[0] / (height * image_shape[1]) - 1.0) > _ASPECT:
        raise ValueError(
            f"the goal {photograph.path} is {width} x {height} pixels, the arm's camera {image_shape[1]} x "
            f"{image_shape[0]}: take it with the arm's camera from where it stands (--goal camera), or crop it to the "
            "same shape"
        )


def scaled(photograph: Photograph, image_shape: tuple[int, int, int]) -> Photograph:
    """Returns a goal with no more pixels than the arm's camera has, each the mean of those that it was."""
    height, width = image_shape[:2]
    goal = photograph.goal
    if goal.image.shape[0] <= height or goal.image.shape[1] <= width:
        return photograph
    smaller = Image.fromarray(goal.image).resize((width, height), Image.Resampling.BOX)
    return replace(photograph, goal=replace(goal, image=np.asarray(smaller)))


def for_planner(photographs: Sequence[Photograph], pose_needed: bool) -> list[Goal]:
    """Returns the goals as a plan server takes them.

    Args:
        photographs: In the order in which they are pursued.
        pose_needed: Whether plans depend on a goal's pose. If not, the planner is not told it.

    Raises:
        ValueError: If a pose is needed and not known.
    """
    if not pose_needed:
        return [replace(photograph.goal, pose=None) for photograph in photographs]
    for photograph in photographs:
        if photograph.goal.pose is None:
            raise ValueError(
                f"the plan server weighs the goal's pose, which {photograph.path} does not tell: take the goal with "
                "--goal camera, or plan with objective.pose_weight: 0"
            )
    return [photograph.goal for photograph in photographs]


def take_goals(names: Sequence[str], output: Path, driver: StreamingArm) -> Iterator[Photograph]:
    """Yields the goals that --goal names, taking those of the camera."""
    for index, name in enumerate(names):
        photograph = _take_goal(driver, output / f"goal-{index}.png") if name == CAMERA else read_goal(name)
        check_aspect(photograph, driver.image_shape)
        yield scaled(photograph, driver.image_shape)


def _take_goal(driver: StreamingArm, path: Path) -> Photograph:
    """Returns a goal taken with the arm's camera, which a person has put to the goal."""
    arm = SafeArm(driver)
    if ask("put the arm to the goal, end guiding it by hand and press Enter: ") is None:
        raise ValueError("nobody pressed Enter: no goal was taken")
    try:
        arm.connect()  # not before: an arm that is guided is not ready, and one that is ready is not to be guided
        if ask("step out of the picture and press Enter: ") is None:
            raise ValueError("nobody pressed Enter: no goal was taken")
        seen = arm.observe()
        photograph = keep_goal(Goal(seen.image, seen.pose), path)
    finally:
        arm.close()
    if ask(f"kept {path}. Put the arm to its start and press Enter: ") is None:
        raise ValueError("nobody pressed Enter: nothing was done")
    return photograph
