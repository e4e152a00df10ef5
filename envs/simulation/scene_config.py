"""What a simulated scene looks like."""

from __future__ import annotations

from dataclasses import dataclass

MOST = 6
"""Objects that a scene has at most."""

BLOCK_COLOURS = (
    (0.85, 0.15, 0.12, 1),
    (0.12, 0.62, 0.22, 1),
    (0.95, 0.75, 0.10, 1),
    (0.55, 0.20, 0.65, 1),
    (0.95, 0.45, 0.10, 1),
)


@dataclass(frozen=True)
class SceneConfig:
    """What stands on the table and who looks at it.

    Attributes:
        blocks: Number of loose cubes.
        block_size: Edge of a cube [m].
        objects: Number of objects of `envs.simulation.objects`, to be pushed, grasped and placed.
        wall: Height of a wall across the middle of the table [m]; 0 for none.
        camera_position: Camera in the arm's base frame [m].
        camera_target: Point that the camera looks at [m].
        camera_fovy: Vertical field of view [degrees].
        light_direction: Where the light shines to, in the base frame.
        brightness: Of all light, as a share of the usual.
        table_colour: RGB, 0..1.
        meshes: Real looks by the extra ``meshes``, a download on first use and 10 to 20 times slower to draw. A model
            trained on the primitive shapes does not know them.
        shadows: Cast shadows. They cost most of a frame's time and tell a single camera how high things are.

    Raises:
        ValueError: If a number is out of its range.
    """

    blocks: int = 1
    block_size: float = 0.05
    objects: int = 0
    wall: float = 0.0
    camera_position: tuple[float, float, float] = (1.28, 0.55, 0.84)
    camera_target: tuple[float, float, float] = (0.50, -0.02, 0.18)
    camera_fovy: float = 42.0
    light_direction: tuple[float, float, float] = (0.0, 0.0, -1.0)
    brightness: float = 1.0
    table_colour: tuple[float, float, float] = (0.56, 0.50, 0.42)
    shadows: bool = True
    meshes: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.blocks <= len(BLOCK_COLOURS):
            raise ValueError(f"blocks must be 0..{len(BLOCK_COLOURS)}, got {self.blocks}")
        if not 0 <= self.objects <= MOST:
            raise ValueError(f"objects must be 0..{MOST}, got {self.objects}")
        if not 0.1 <= self.brightness <= 2.0:
            raise ValueError(f"brightness must be 0.1..2 of the usual, got {self.brightness}")
        if not 0.01 <= self.block_size <= 0.07:
            raise ValueError(f"block_size must be 0.01..0.07 m to fit the gripper, got {self.block_size}")
        if not 0.0 <= self.wall <= 0.3:
            raise ValueError(f"a wall is 0 (none) to 0.3 m high, got {self.wall}")


MANIPULATION_SCENE = SceneConfig(
    blocks=0, objects=1, camera_position=(1.35, 0.55, 0.85), camera_target=(0.60, 0.06, 0.24), camera_fovy=30.0,
    light_direction=(-0.25, -0.10, -1.0),
)  # fmt: skip
"""One object to push, grasp and place, seen from nearer, in light that reaches what is under the hand."""
