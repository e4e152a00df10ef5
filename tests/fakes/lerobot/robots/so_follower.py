"""An SO-101 whose motors follow their goals like servos."""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import DeviceNotConnectedError, Robot, RobotConfig

MOTORS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
START = (0.0, -20.0, 40.0, 60.0, 0.0, 100.0)


@RobotConfig.register_subclass("so101_follower")
@RobotConfig.register_subclass("so100_follower")
@dataclass(kw_only=True)
class SOFollowerRobotConfig(RobotConfig):
    port: str
    disable_torque_on_disconnect: bool = True
    max_relative_target: float | None = None
    cameras: dict = field(default_factory=dict)
    use_degrees: bool = True


class SOFollower(Robot):
    config_class = SOFollowerRobotConfig

    def __init__(self, config: SOFollowerRobotConfig) -> None:
        super().__init__(config)
        self.config = config
        self.is_connected = False
        self.positions: dict[str, float] = dict(zip(MOTORS, START, strict=True))
        self.goal = dict(self.positions)
        self.updated = time.monotonic()

    @property
    def action_features(self) -> dict[str, type]:
        return {f"{motor}.pos": float for motor in MOTORS}

    @property
    def is_calibrated(self) -> bool:
        return self.id != "uncalibrated"

    def connect(self, calibrate: bool = True) -> None:
        if calibrate and not self.is_calibrated:
            input("Move the arm to the middle of its range and press ENTER...")
        if self.config.port == "missing":
            raise ConnectionError("Could not connect on port 'missing'. Make sure you are using the correct port.")
        print("SO101 connected.")  # must not disturb the conversation
        self.is_connected = True

    def get_observation(self) -> dict[str, float]:
        if not self.is_connected:
            raise DeviceNotConnectedError("SOFollower is not connected. Run `.connect()` first.")
        faults = Path(self.config.port)
        if faults.exists() and (fault := faults.read_text()):
            if fault == "hang":
                time.sleep(60)
            if fault == "die":
                os._exit(3)
            raise ConnectionError("Failed to sync read 'Present_Position' on ids=[1, 2, 3, 4, 5, 6] after 1 tries.")
        now = time.monotonic()
        share = min(1.0, (now - self.updated) / 0.04)
        self.updated = now
        for motor, goal in self.goal.items():
            self.positions[motor] += share * (goal - self.positions[motor])
        return {f"{motor}.pos": position for motor, position in self.positions.items()}

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        goal = {key.removesuffix(".pos"): value for key, value in action.items() if key.endswith(".pos")}
        assert set(goal) == set(MOTORS)
        if self.config.max_relative_target is not None:
            cap = self.config.max_relative_target
            goal = {m: self.positions[m] + max(-cap, min(cap, g - self.positions[m])) for m, g in goal.items()}
        self.goal = goal
        with Path(f"{self.config.port}.goals").open("a") as log:
            log.write(json.dumps([time.monotonic(), goal]) + "\n")
        return {f"{motor}.pos": position for motor, position in goal.items()}

    def disconnect(self) -> None:
        log = Path(f"{self.config.port}.log")
        log.write_text(f"disconnected, torque off: {self.config.disable_torque_on_disconnect}")
        self.is_connected = False
