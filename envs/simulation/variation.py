"""How scenes differ from one episode to the next: what a model must not depend on, and what it must tell apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from envs.simulation.scene import SceneConfig

_SCENE_STREAM = 1  # of a seed's randomness


@dataclass(frozen=True)
class Variation:
    """Ranges that each episode draws from, uniformly, around a scene's own values.

    Attributes:
        camera_turn: Largest turn of the camera around its target, in azimuth and in elevation [degrees].
        camera_distance: Largest change of its distance from the target, as a share.
        camera_target: Largest move of the target along each axis [m].
        light_turn: Largest turn of the light's direction about the two horizontal axes [degrees].
        brightness: Largest change of the light, as a share.
        table_colour: Largest change of each of the table's RGB.
        objects: Weights of scenes with 1, 2, 3... objects; empty: as many as the scene says.
        blocks: Weights of scenes with 0, 1, 2... loose cubes; empty: as many as the scene says.

    Raises:
        ValueError: If a range is negative or weights are not.
    """

    camera_turn: float = 0.0
    camera_distance: float = 0.0
    camera_target: float = 0.0
    light_turn: float = 0.0
    brightness: float = 0.0
    table_colour: float = 0.0
    objects: tuple[float, ...] = ()
    blocks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        ranges = (self.camera_turn, self.camera_distance, self.camera_target, self.light_turn, self.table_colour)
        if min(*ranges, self.brightness) < 0 or max(self.camera_distance, self.brightness) >= 0.9:
            raise ValueError(f"ranges of a variation are at least 0, shares below 0.9, got {self}")
        for weights in (self.objects, self.blocks):
            if weights and (min(weights) < 0 or not sum(weights)):
                raise ValueError(f"weights are at least 0 and not all 0, got {weights}")


def vary(scene: SceneConfig, variation: Variation, generator: np.random.Generator) -> SceneConfig:
    """Returns the scene of one episode."""
    return replace(
        scene,
        camera_position=_to_tuple(_move_camera(scene, variation, generator)),
        camera_target=_to_tuple(
            np.array(scene.camera_target) + generator.uniform(-1.0, 1.0, 3) * variation.camera_target
        ),
        light_direction=_to_tuple(_turn_light(scene, variation, generator)),
        brightness=scene.brightness * (1.0 + float(generator.uniform(-1.0, 1.0)) * variation.brightness),
        table_colour=_to_tuple(
            np.clip(np.array(scene.table_colour) + generator.uniform(-1.0, 1.0, 3) * variation.table_colour, 0.0, 1.0)
        ),
        objects=1 + _draw(variation.objects, scene.objects - 1, generator),
        blocks=_draw(variation.blocks, scene.blocks, generator),
    )


def turned_camera(scene: SceneConfig, azimuth: float, elevation: float, distance: float = 1.0) -> SceneConfig:
    """Returns a scene whose camera goes around its target.

    Args:
        scene: As it is.
        azimuth: About the vertical axis [degrees].
        elevation: Towards the zenith [degrees].
        distance: Of the camera from its target, as a share of what it is.
    """
    target = np.array(scene.camera_target)
    arm = np.array(scene.camera_position) - target
    radius = distance * np.linalg.norm(arm)
    around = np.arctan2(arm[1], arm[0]) + np.radians(azimuth)
    up = np.clip(np.arctan2(arm[2], np.hypot(arm[0], arm[1])) + np.radians(elevation), 0.0, np.radians(89.0))
    place = target + radius * np.array([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)])
    return replace(scene, camera_position=_to_tuple(place))


def _move_camera(scene: SceneConfig, variation: Variation, generator: np.random.Generator) -> Float[np.ndarray, "3"]:
    azimuth, elevation, distance = generator.uniform(-1.0, 1.0, 3).tolist()
    turn = variation.camera_turn
    moved = turned_camera(scene, turn * azimuth, turn * elevation, 1.0 + variation.camera_distance * distance)
    return np.array(moved.camera_position)


def _turn_light(scene: SceneConfig, variation: Variation, generator: np.random.Generator) -> Float[np.ndarray, "3"]:
    x, y = np.tan(np.radians(generator.uniform(-1.0, 1.0, 2) * variation.light_turn))
    return np.array(scene.light_direction) + np.array([x, y, 0.0])


def _draw(weights: tuple[float, ...], otherwise: int, generator: np.random.Generator) -> int:
    """Returns an index by its weight."""
    return int(generator.choice(len(weights), p=np.array(weights) / sum(weights))) if weights else otherwise


def _to_tuple(vector: Float[np.ndarray, "3"]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in vector)
    return x, y, z


def scene_of(seed: int, scene: SceneConfig, variation: Variation) -> SceneConfig:
    """Returns the scene that the episode of a seed is recorded in; its play is the same in any scene."""
    return vary(scene, variation, np.random.default_rng((seed, _SCENE_STREAM)))
