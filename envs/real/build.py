"""From a configuration to the arm that it describes."""

from __future__ import annotations

from envs.real.arm import RealArm
from envs.real.franka import FrankaArm, FrankaConfig
from envs.real.lerobot import LeRobotArm, LeRobotConfig
from envs.real.ros2 import Ros2Arm, Ros2Config
from envs.real.ur import URArm, URConfig

RealArmConfig = FrankaConfig | URConfig | LeRobotConfig | Ros2Config


def build_arm(config: RealArmConfig) -> RealArm:
    """Returns the arm that a configuration is of; nothing is opened before its `connect`."""
    match config:
        case FrankaConfig():
            return FrankaArm(config)
        case URConfig():
            return URArm(config)
        case LeRobotConfig():
            return LeRobotArm(config)
        case Ros2Config():
            return Ros2Arm(config)
