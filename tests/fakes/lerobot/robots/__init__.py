"""LeRobot's Robot and RobotConfig: a registry of types, joint positions in degrees, errors of a servo bus."""

import abc
from dataclasses import dataclass
from typing import ClassVar


class DeviceNotConnectedError(ConnectionError): ...


@dataclass(kw_only=True)
class RobotConfig:
    id: str | None = None
    calibration_dir: str | None = None
    _choices: ClassVar[dict[str, type]] = {}

    @classmethod
    def register_subclass(cls, name: str):
        return lambda choice: cls._choices.setdefault(name, choice)

    @classmethod
    def get_choice_class(cls, name: str) -> type:
        return cls._choices[name]


class Robot(abc.ABC):
    config_class: type

    def __init__(self, config: RobotConfig) -> None:
        self.id = config.id
