"""From a configuration to the arm that it describes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from envs.arms.base import StreamingArm
from envs.config import Choice, KindSettings
from envs.registry import Registry
from envs.simulation.scene_config import SceneConfig

ARMS: Registry[type] = Registry(
    "arm",
    {
        "twin": "envs.arm_choice:TwinArmConfig",
        "remote": "envs.arm_choice:RemoteArmConfig",
        "franka": "envs.arms.drivers.franka:FrankaConfig",
        "ur": "envs.arms.drivers.ur:URConfig",
        "lerobot": "envs.arms.drivers.lerobot:LeRobotConfig",
        "ros2": "envs.arms.drivers.ros2:Ros2Config",
    },
)
"""Every arm by its kind."""

CHOICE = Choice("kind", ARMS, functions=True)
"""Marks a setting that holds an arm's settings."""

_STREAMING = ("action_spec", "image_shape", "connect", "observe", "send", "stop", "close")


def build_arm(settings: KindSettings) -> StreamingArm:
    """Returns the arm that settings describe; nothing is opened before its `connect`.

    Raises:
        ValueError: If what is made of them is no `StreamingArm`.
    """
    arm = CHOICE.make(settings)
    missing = [name for name in _STREAMING if not hasattr(arm, name)]
    if missing:
        raise ValueError(
            f"{settings.kind} must give an envs.arms.base.StreamingArm; a {type(arm).__name__} lacks "
            f"{', '.join(missing)}"
        )
    return arm


@dataclass(frozen=True)
class TwinArmConfig:
    """The simulated arm in real time, with the starts and goals of a task.

    Attributes:
        kind: Names this arm in a file.
        task: A task of ours, such as FrankaPickPlace-v0.
        goals: "all" that the task gives, pursued in turn, or its "last" alone.
        image_size: Edge of the square camera image [pixels]; None for the task's.
        camera_rate: Images a second [Hz].
        scene: Camera, table, blocks and objects; None for the task's.
    """

    kind: Literal["twin"] = "twin"
    task: str = "FrankaReach-v0"
    goals: Literal["all", "last"] = "all"
    image_size: int | None = None
    camera_rate: float = 15.0
    scene: SceneConfig | None = None


@dataclass(frozen=True)
class RemoteArmConfig:
    """An arm that `envs.arms.remote.arm.serve_arm` serves.

    Attributes:
        url: Such as ws://192.168.1.5:8001.
        kind: Names this arm in a file.
    """

    url: str
    kind: Literal["remote"] = "remote"


@dataclass(frozen=True)
class BuiltArm:
    """An arm of somebody's own, which was made to ask it for its limits.

    Attributes:
        kind: Names what made it.
        driver: The arm.
    """

    kind: str
    driver: StreamingArm
