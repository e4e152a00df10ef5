"""A simulated arm of which every picture shows another scene: what a model must see through."""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float

from envs.simulation.arm import MujocoArm, MujocoArmConfig
from envs.simulation.scene import TABLE_HIGH, TABLE_LOW, look_like
from envs.simulation.scene_config import BLOCK_COLOURS
from envs.simulation.variation import Variation, vary
from envs.spec import Observation

_STREAM = 2  # of a seed's randomness
_CLEAR = 0.09  # m between a drawn cube's centre and an object's, or the hand's where it is low
_LOW_HAND = 0.13  # m
_TRIES = 20
_INSIDE = 0.05  # m from the sides of what objects can reach


class DrawnCube(NamedTuple):
    """A cube that is in a picture alone.

    Attributes:
        position: Of its centre [m].
        yaw: [rad].
        colour: Its index in `BLOCK_COLOURS`.
    """

    position: Float[np.ndarray, "3"]
    yaw: float
    colour: int


class VaryingArm(MujocoArm):
    """A `MujocoArm` that draws a scene of its own for each `observe`: camera, light, table and loose cubes.

    Cubes are drawn where nothing is and touch nothing, so that the same actions lead to the same as in any other scene.

    Attributes:
        cubes: Those that the last picture shows.

    Args:
        config: As of any arm; its scene is what others are varied from.
        variation: Ranges of the pictures; `objects` must be empty.
        seed: Of the episode; what it draws at random is apart from what happens in it.

    Raises:
        ValueError: If the number of objects should vary, or the scene has cubes that are there.
    """

    def __init__(self, config: MujocoArmConfig, variation: Variation, seed: int) -> None:
        if variation.objects or config.scene.blocks:
            raise ValueError(
                "from picture to picture nothing can vary that is moved: leave variation.objects empty and set "
                "scene.blocks to 0 (variation.blocks are cubes that are drawn only)"
            )
        self._variation = variation
        self._generator = np.random.default_rng((seed, _STREAM))
        self.cubes: tuple[DrawnCube, ...] = ()
        super().__init__(config)

    def observe(self) -> Observation:
        """See `Arm.observe`. The picture is of a scene that is drawn anew."""
        scene = vary(self.config.scene, self._variation, self._generator)
        look_like(self.model, self.data, scene)
        self.cubes = self._place_cubes(scene.blocks)
        return super().observe()

    def _place_cubes(self, number: int) -> tuple[DrawnCube, ...]:
        """Returns cubes somewhere on the table where nothing is, less those for which no such place was found."""
        half, hand, cubes = self.config.scene.block_size / 2, self.pose()[:3], []
        taken = [thing.position[:2] for thing in self.objects]
        if hand[2] < _LOW_HAND:
            taken.append(hand[:2])
        for colour in range(number):
            for _ in range(_TRIES):
                place = self._generator.uniform(np.add(TABLE_LOW, _INSIDE), np.subtract(TABLE_HIGH, _INSIDE))
                if all(np.linalg.norm(place - other) > _CLEAR for other in taken):
                    yaw = float(self._generator.uniform(-np.pi, np.pi))
                    cubes.append(DrawnCube(np.array([*place, half]), yaw, colour))
                    taken.append(place)
                    break
        return tuple(cubes)

    def _draw_over(self, scene: mujoco.MjvScene) -> None:
        half = np.full(3, self.config.scene.block_size / 2)
        for cube in self.cubes:
            cosine, sine = np.cos(cube.yaw), np.sin(cube.yaw)
            turned = np.array([cosine, -sine, 0.0, sine, cosine, 0.0, 0.0, 0.0, 1.0])
            geom, scene.ngeom = scene.geoms[scene.ngeom], scene.ngeom + 1
            colour = np.array(BLOCK_COLOURS[cube.colour], dtype=np.float32)
            mujoco.mjv_initGeom(geom, mujoco.mjtGeom.mjGEOM_BOX, half, cube.position, turned, colour)
