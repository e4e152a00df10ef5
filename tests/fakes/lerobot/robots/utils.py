from . import Robot, RobotConfig
from .so_follower import SOFollower


def make_robot_from_config(config: RobotConfig) -> Robot:
    if not isinstance(config, SOFollower.config_class):
        raise ValueError(type(config))
    return SOFollower(config)
