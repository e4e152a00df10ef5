"""Where a world model imagines objects and hand, drawn on what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from envs.simulation.scene_config import SceneConfig
from planner.reporting import figure

_OBJECT, _HAND = "magenta", "yellow"


@dataclass(frozen=True, eq=False)
class Stretch:
    """What happened over some actions, and what was imagined of it.

    Attributes:
        images: Camera images, of which the first is all that was seen.
        steps: Actions before each.
        places: Where objects and then the hand are read from imagined latents, x, y and z of each [m].
        errors: How far off the object is in the plane that is farthest off [m].
        scene: Where it happened.
    """

    images: Sequence[UInt8[np.ndarray, "s s 3"]]
    steps: Sequence[int]
    places: Float[np.ndarray, "T P"]
    errors: Float[np.ndarray, "T"]
    scene: SceneConfig


def draw_stretches(stretches: Sequence[Stretch], path: Path) -> None:
    """Writes what happened, marked with where objects (x) and hand (+) were imagined.

    Args:
        stretches: A row each.
        path: Where to.
    """
    rows, columns = len(stretches), len(stretches[0].steps)
    path.parent.mkdir(parents=True, exist_ok=True)
    with figure(path, rows, columns, (2.2 * columns, 2.5 * rows), legends=False) as (_, axes):
        for axis, (stretch, index) in zip(axes, ((each, k) for each in stretches for k in range(columns)), strict=True):
            image, step = stretch.images[index], stretch.steps[index]
            *things, hand = project(stretch.scene, stretch.places[index].reshape(-1, 3), len(image))
            axis.imshow(image)
            axis.plot(*np.array(things).T, "x", color=_OBJECT, markersize=9, markeredgewidth=2)
            axis.plot(*hand, "+", color=_HAND, markersize=9, markeredgewidth=2)
            when = f"imagined {step} ahead" if step else "seen"
            axis.set_title(f"{when}: {1e3 * stretch.errors[index]:.0f} mm off", fontsize=8)
            axis.set(xticks=[], yticks=[], xlim=(-0.5, len(image) - 0.5), ylim=(len(image) - 0.5, -0.5))


def project(scene: SceneConfig, points: Float[np.ndarray, "N 3"], size: int) -> Float[np.ndarray, "N 2"]:
    """Returns where points [m] are in a square image (column, row) [pixels], as the scene's camera sees them."""
    position, target = np.array(scene.camera_position), np.array(scene.camera_target)
    ahead = (target - position) / np.linalg.norm(target - position)
    right = np.cross(ahead, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    there = points - position
    sideways, upwards, depth = there @ right, there @ np.cross(right, ahead), there @ ahead
    focal = 0.5 * size / np.tan(0.5 * np.radians(scene.camera_fovy))
    return 0.5 * (size - 1) + focal * np.stack([sideways, -upwards], axis=1) / depth[:, None]
