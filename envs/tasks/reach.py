"""Reaching where a goal image shows the end effector, and what the arm's tasks share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from envs.arms.base import ArmEnv
from envs.arms.safety import SafeArm
from envs.simulation.arm import DOWN, MujocoArm, MujocoArmConfig, arm_action_spec
from envs.simulation.objects import HELD_OUT_OBJECTS, sample_object
from envs.simulation.scene import SceneConfig
from envs.spec import ActionSpec, Goal, Observation

WORKSPACE_LOW = np.array([0.34, -0.22, 0.08])
WORKSPACE_HIGH = np.array([0.68, 0.22, 0.36])
"""Corners of the box that starts and goals are drawn from, 0.34 x 0.44 x 0.28 m."""

BLOCK_LOW, BLOCK_HIGH = np.array([0.38, -0.22]), np.array([0.66, 0.22])
"""Corners of the table area that blocks are placed in [m]."""

MIN_DISTANCE = 0.08
"""A start is at least this far from its goal [m]."""

SUCCESS_DISTANCE = 0.04
"""A reach has succeeded when the end effector is within this of the goal [m] (V-JEPA 2 paper, section 4)."""


def reach_action_spec() -> ActionSpec:
    """Returns the arm's 7-D action with rotation and gripper fixed: a reach translates."""
    spec = arm_action_spec()
    fixed = (0.0,) * 4
    return replace(spec, low=spec.low[:3] + fixed, high=spec.high[:3] + fixed)


class TaskEnv(ArmEnv):
    """A task of the simulated arm. ``render`` shows the camera's view at ``render_size``."""

    robot_type = "panda-mujoco"
    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012 (gymnasium's own convention)

    def __init__(
        self, action_spec: ActionSpec, scene: SceneConfig, image_size: int, render_mode: str | None, render_size: int
    ) -> None:
        self.render_mode, self.render_size = render_mode, render_size
        self.mujoco_arm = MujocoArm(MujocoArmConfig(scene, image_size))
        super().__init__(SafeArm(self.mujoco_arm), action_spec)

    def look_back(self, seen: Observation, state: Float[np.ndarray, "n"]) -> dict[str, Any]:
        """Returns what is told of a moment that has been, as ``info`` would have: privileged; the arm is left there.

        Args:
            seen: What was seen.
            state: How everything stood, as `MujocoArm.snapshot` has it.
        """
        self.mujoco_arm.restore(state)
        return self._report(seen)

    def render(self) -> UInt8[np.ndarray, "size size 3"] | None:
        """Returns the exterior camera's image at ``render_size``, or None without a render mode."""
        return self.mujoco_arm.render(self.render_size) if self.render_mode == "rgb_array" else None


class FrankaReachEnv(TaskEnv):
    """Move the end effector to where a goal image shows it, blocks or an object in view.

    ``reset`` gives ``info["goals"]``, a list of one `Goal`. ``info["success"]`` and ``info["distance"]`` [m] are
    privileged. Starts and goals are uniform over the workspace, at least 8 cm apart.
    """

    def __init__(
        self,
        image_size: int = 128,
        render_mode: str | None = None,
        render_size: int = 480,
        scene: SceneConfig | None = None,
    ) -> None:
        self._goal_position = np.zeros(3)
        super().__init__(reach_action_spec(), scene or SceneConfig(), image_size, render_mode, render_size)

    def _reset_task(self, options: dict[str, Any]) -> dict[str, Any]:
        arm = self.mujoco_arm
        arm.reset()
        start, goal = sample_start_and_goal(self.np_random)
        for index in range(arm.config.scene.blocks):
            arm.set_block(index, *sample_block(self.np_random))
        for thing in arm.objects:
            instance = sample_object(HELD_OUT_OBJECTS, self.np_random)
            position, yaw = sample_block(self.np_random)
            thing.place(instance, np.array([*position, instance.height / 2]), yaw)
        arm.set_pose(np.array([*goal, *DOWN, 0.0]))
        seen = arm.observe()
        self._goal_position = seen.pose[:3].copy()
        arm.set_pose(np.array([*start, *DOWN, 0.0]))
        return {"goals": [Goal(seen.image, seen.pose)]}

    def _report(self, observation: Observation) -> dict[str, Any]:
        distance = float(np.linalg.norm(observation.pose[:3] - self._goal_position))
        return {"distance": distance, "success": distance < SUCCESS_DISTANCE}


def sample_start_and_goal(
    generator: np.random.Generator,
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Returns two positions (3,) [m], uniform over the workspace, at least `MIN_DISTANCE` apart."""
    while True:
        start, goal = generator.uniform(WORKSPACE_LOW, WORKSPACE_HIGH, (2, 3))
        if np.linalg.norm(goal - start) >= MIN_DISTANCE:
            return start, goal


def sample_block(generator: np.random.Generator) -> tuple[Float[np.ndarray, "2"], float]:
    """Returns a block's place on the table (x, y) [m] and its yaw [rad]."""
    return generator.uniform(BLOCK_LOW, BLOCK_HIGH), float(generator.uniform(-np.pi, np.pi))
