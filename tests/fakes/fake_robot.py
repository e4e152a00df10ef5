"""The one robot that all fake vendor modules speak to: it follows its target like a servo, and fails when told to."""

import threading
import time
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

TIME_CONSTANT = 0.02  # s
DOWN = Rotation.from_euler("xyz", [np.pi, 0.0, 0.0])


class FakeRobot:
    """Position, rotation and gripper with first-order dynamics in wall-clock time."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.position = self.target_position = np.array([0.45, 0.05, 0.25])
        self.rotation = self.target_rotation = DOWN
        self.closedness = self.target_closedness = 0.0
        self.thing = 1.0  # closedness at which the fingers meet something
        self.updated = time.monotonic()
        self.faults: dict[str, Exception] = {}  # name of a call -> what it raises
        self.blocked: dict[str, threading.Event] = {}  # name of a call -> it returns when this is set
        self.calls: list[tuple] = []  # what moved or held the robot, in order
        self.state: dict[str, Any] = {}  # modes of the vendor's, set by tests

    def enter(self, call: str, *details: object) -> None:
        """Every fake call begins here."""
        if call in self.blocked:
            self.blocked[call].wait(10.0)
        if call in self.faults:
            raise self.faults[call]
        if details:
            self.calls.append((call, *details))

    def advance(self) -> None:
        with self.lock:
            now = time.monotonic()
            share = 1.0 - np.exp(-(now - self.updated) / TIME_CONSTANT)
            self.updated = now
            self.position = self.position + share * (self.target_position - self.position)
            self.rotation = between(self.rotation, self.target_rotation, share)
            self.closedness = min(self.thing, self.closedness + share * (self.target_closedness - self.closedness))

    def aim(self, position, rotation: Rotation) -> None:
        with self.lock:
            self.advance()
            self.target_position, self.target_rotation = np.array(position, dtype=float), rotation

    def freeze(self) -> None:
        with self.lock:
            self.advance()
            self.target_position, self.target_rotation = self.position, self.rotation

    def aim_gripper(self, closedness: float) -> None:
        with self.lock:
            self.advance()
            self.target_closedness = float(np.clip(closedness, 0.0, 1.0))

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]


def between(start: Rotation, end: Rotation, share: float) -> Rotation:
    """A rotation on the way; simpler than SciPy's Slerp, which took most of the time of thousands of runs."""
    if start is end:
        return end
    first, last = start.as_quat(), end.as_quat()
    last = last if first @ last >= 0 else -last
    return end if np.abs(last - first).max() < 1e-12 else Rotation.from_quat(first + share * (last - first))


ROBOT = FakeRobot()
