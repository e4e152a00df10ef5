"""A reach task without a simulator: an arm that is at once where it is told to be, over the real `ArmEnv`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from envs.arms.base import ArmEnv
from envs.spec import ActionSpec, Goal, Observation
from world_model.toy import TOY_ACTION_SPEC

LOW = np.array([0.35, -0.2, 0.15])
HIGH = np.array([0.65, 0.2, 0.4])


class ToyArm:
    """Goes exactly where it is told. Its picture is a dot, seen from above, brighter the higher it is."""

    def __init__(self, action_spec: ActionSpec = TOY_ACTION_SPEC) -> None:
        self.action_spec = action_spec
        self.image_shape: tuple[int, int, int] = (32, 32, 3)
        self.pose = np.array([0.5, 0.0, 0.3, np.pi, 0.0, 0.0, 0.0])
        self.time = 0.0

    def connect(self) -> None:
        pass

    def observe(self) -> Observation:
        image = np.full(self.image_shape, 40, np.uint8)
        row, column, level = (self.pose[:3] - LOW) / (HIGH - LOW)
        row, column = (int(np.clip(3 + 25 * share, 1, 30)) for share in (row, column))
        image[row - 1 : row + 2, column - 1 : column + 2] = int(np.clip(100 + 155 * level, 60, 255))
        return Observation(image, self.pose.copy(), self.time)

    def command(self, target_pose: np.ndarray, gripper: float, duration: float) -> np.ndarray:
        self.pose = np.append(target_pose, np.clip(gripper, 0, 1))
        self.time += duration
        return self.pose.copy()

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


class ToyReach(ArmEnv):
    """Starts and goals uniform over a box, at least 8 cm apart; a success within 4 cm."""

    def __init__(self) -> None:
        self.toy = ToyArm()
        super().__init__(self.toy)
        self.goal = np.zeros(3)

    def _reset_task(self, options: dict[str, Any]) -> dict[str, Any]:
        start = goal = self.np_random.uniform(LOW, HIGH)
        while np.linalg.norm(goal - start) < 0.08:
            goal = self.np_random.uniform(LOW, HIGH)
        self.toy.pose = np.array([*goal, np.pi, 0.0, 0.0, 0.0])
        seen = self.arm.observe()
        self.toy.pose[:3] = start
        self.goal = goal
        return {"goals": [Goal(seen.image, seen.pose)]}

    def _report(self, observation: Observation) -> dict[str, Any]:
        distance = float(np.linalg.norm(observation.pose[:3] - self.goal))
        return {"distance": distance, "success": distance < 0.04}


if "envs/ToyReach-v0" not in gymnasium.registry:
    gymnasium.register("envs/ToyReach-v0", entry_point="toy_reach:ToyReach")
