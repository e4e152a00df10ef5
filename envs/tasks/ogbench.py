"""OGBench's UR5e with cubes: `envs.arms.base.Arm` over its own environment and its own 5-D action (extra `benchmarks`).

OGBench (arXiv 2410.20092) takes an action of (x, y, z, yaw, gripper) 20 times a second, each a difference to what is
measured, at most 5 cm, 0.3 rad and the whole gripper. One command here lasts five of them, the peers' action block: at
each, twice what is missing to the target is asked for, within those limits, since the servos go less than half of it
(2 mm are missing at the end; 8 mm, were only what is missing asked for). Roll and pitch are OGBench's: straight down.
"""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
import numpy as np
from jaxtyping import Float

from envs.arms.limits import SafetyLimits
from envs.pose import difference, euler_from_matrix
from envs.spec import POSE_NAMES, POSE_UNITS, ActionSpec
from envs.tasks.benchmark import BenchmarkArm, needs_extra

Variant = Literal["single", "double"]

STEPS = 5
"""Control steps of OGBench (0.05 s each) in one action of ours: 4 Hz, as V-JEPA 2-AC."""

CAMERA = "front_pixels"
"""OGBench's camera of its pixel tasks."""

_GAINS = np.array([2.0] * 6 + [1.0])
_SQUEEZE = 0.1  # closedness ahead of the measured one: the gripper's full force
_RELEASE = 0.05  # an action that opens the gripper by more than this lets go


def cube_action_spec() -> ActionSpec:
    """Returns the arm's 7-D action, as fast as OGBench's own (0.11 m in a quarter second); roll and pitch are fixed."""
    high = (0.1, 0.1, 0.1, 0.0, 0.0, 0.45, 0.6)
    return ActionSpec(POSE_NAMES, POSE_UNITS, tuple(-bound for bound in high), high, "base", 20.0 / STEPS)


def cube_limits() -> SafetyLimits:
    """Returns what a command may ask for: OGBench's own workspace, and any yaw."""
    return SafetyLimits((0.25, -0.35, 0.02), (0.60, 0.35, 0.35), max_step=0.18, max_turn=0.6, max_tilt=np.pi)


class OgbenchArm(BenchmarkArm):
    """OGBench's arm. See `envs.arms.base.Arm`.

    A gripper that feels something between its pads goes on squeezing until an action opens it: measured differences
    are zero while a cube is held, and a gripper that only keeps its measured opening has no force and drops it.
    """

    def __init__(self, variant: Variant = "single", tasks: bool = False, image_size: int = 128) -> None:
        """Builds the simulation.

        Args:
            variant: How many cubes there are.
            tasks: Whether resets are to OGBench's numbered tasks; else to its random scenes for scripted play.
            image_size: Edge of the square observation image [pixels].

        Raises:
            BenchmarkError: If OGBench is not installed.
        """
        self.variant, self.tasks = variant, tasks
        env = _environment(variant, "task" if tasks else "data_collection")
        env.render = self.observe  # a task's goal, which OGBench would draw, is observed as everything else is
        env.reset(seed=0, options={"task_id": 1})
        super().__init__(env, cube_action_spec(), CAMERA, image_size)

    def pose(self) -> Float[np.ndarray, "7"]:
        """Returns the measured pose (7,) [m, rad, 1] of the point between the pads."""
        site = self.env.data.site("ur5e/robotiq/pinch")
        closedness = self.env.compute_ob_info()["proprio/gripper_opening"][0]  # 0 is open, whatever it is called
        return np.array([*site.xpos, *euler_from_matrix(site.xmat.reshape(3, 3)), closedness])

    def command(self, target_pose: Float[np.ndarray, "6"], gripper: float, duration: float) -> Float[np.ndarray, "7"]:
        """See `Arm.command`. OGBench keeps the target in its workspace."""
        target = np.append(target_pose, gripper)
        opens = gripper < self.pose()[6] - _RELEASE
        for _ in range(max(1, round(duration / self.env.control_timestep()))):
            way = difference(self.pose(), target) * _GAINS
            if not opens and self.env.compute_ob_info()["proprio/gripper_contact"][0] > 0:
                way[6] = max(way[6], _SQUEEZE)
            self.env.step(self.env.normalize_action(way[[0, 1, 2, 5, 6]]))
        return target

    def cubes(self) -> Float[np.ndarray, "cubes 3"]:
        """Returns the cubes' centres [m]: privileged, for tasks and scripted play."""
        info = self.env.compute_ob_info()
        count = sum(key.startswith("privileged/block_") and key.endswith("_pos") for key in info)
        return np.stack([info[f"privileged/block_{index}_pos"] for index in range(count)])

    def targets(self) -> Float[np.ndarray, "cubes 3"]:
        """Returns where the cubes shall go [m]: privileged."""
        return self.env.data.mocap_pos[self._target_ids()].copy()

    def cube_poses(self) -> Float[np.ndarray, "cubes 7"]:
        """Returns the cubes' centres [m] and quaternions (w, x, y, z): privileged, what `set_targets` takes."""
        joints = [self.env.data.joint(f"object_joint_{index}") for index in range(len(self.cubes()))]
        return np.stack([joint.qpos for joint in joints])

    def set_targets(self, poses: Float[np.ndarray, "cubes 7"]) -> None:
        """Says where the cubes shall go, see `cube_poses`; the targets are not seen."""
        ids = self._target_ids()
        self.env.data.mocap_pos[ids], self.env.data.mocap_quat[ids] = poses[:, :3], poses[:, 3:]

    def successes(self) -> list[bool]:
        """Returns which cubes are where they shall go, by OGBench's own rule: within 4 cm."""
        return [bool(success) for success in self.env._compute_successes()]

    def _target_ids(self) -> list[int]:
        return [int(self.env.model.body(f"object_target_{index}").mocapid[0]) for index in range(len(self.cubes()))]


def _environment(variant: Variant, mode: Literal["task", "data_collection"]) -> Any:
    """Returns OGBench's environment with nothing drawn into the picture that tells of a target or of success."""
    try:
        from ogbench.manipspace.envs.cube_env import CubeEnv  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise needs_extra("OGBench", error) from error

    actions = gymnasium.spaces.Box(-1.0, 1.0, (5,), np.float32)

    class SeededCubeEnv(CubeEnv):
        """OGBench's environment with one action space: its seed fixes the random actions that settle a goal."""

        @property
        def action_space(self) -> gymnasium.spaces.Box:
            return actions

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            if seed is not None:
                actions.seed(seed)
            return super().reset(options=options, seed=seed)

    return SeededCubeEnv(variant, ob_type="states", mode=mode, visualize_info=False, terminate_at_goal=False)
