"""OGBench's UR5e: `envs.arms.base.Arm` over its own environments and its own 5-D action (extra `benchmarks`).

OGBench (arXiv 2410.20092) takes an action of (x, y, z, yaw, gripper) 20 times a second, each a difference to what is
measured, at most 5 cm, 0.3 rad and the whole gripper. One command here lasts five of them, the peers' action block: at
each, twice what is missing to the target is asked for, within those limits, since the servos go less than half of it
(2 mm are missing at the end; 8 mm, were only what is missing asked for). Roll and pitch are OGBench's: straight down.

Before the arm are one or two cubes, or OGBench's scene: a cube, a drawer, a window, and two buttons. Each press of a
button locks the drawer (the first button) or the window (the second), or lets it go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium
import mujoco
import numpy as np
from jaxtyping import Float, Int

from envs.arms.limits import SafetyLimits
from envs.pose import difference, euler_from_matrix
from envs.spec import POSE_NAMES, POSE_UNITS, ActionSpec
from envs.tasks.benchmark import BenchmarkArm, needs_extra

Variant = Literal["single", "double", "scene"]

STEPS = 5
"""Control steps of OGBench (0.05 s each) in one action of ours: 4 Hz, as V-JEPA 2-AC."""

CAMERA = "front_pixels"
"""OGBench's camera of its pixel tasks."""

SCENE_PARTS = ("cube", "drawer lock", "window lock", "drawer", "window")
"""What the scene's success is of, in OGBench's order."""

SLIDES = ("drawer", "window")
"""What the scene's buttons lock, in their order."""

_WRONG_STATE = 0.1  # m that a button in the wrong state counts as: more than OGBench's 4 cm
_OUT_OF_SIGHT = 0.29  # m to the side: OGBench's check of its scene's recordings, as are the next ones
_BY_THE_DRAWER, _IN_THE_DRAWER = -0.3, (0.06, 0.08)  # m to the other side, and heights of a cube that lies in it
_GAIN = 2.0  # of what is missing: a servo that is asked for all of it stops short, 8 % of a grip before it
_SQUEEZE = 0.1  # closedness ahead of the measured one: the gripper's full force
_RELEASE = 0.05  # an action that opens the gripper by more than this lets go


def ogbench_action_spec() -> ActionSpec:
    """Returns the arm's 7-D action, as fast as OGBench's own (0.11 m in a quarter second); roll and pitch are fixed."""
    high = (0.1, 0.1, 0.1, 0.0, 0.0, 0.45, 0.6)
    return ActionSpec(POSE_NAMES, POSE_UNITS, tuple(-bound for bound in high), high, "base", 20.0 / STEPS)


def ogbench_limits() -> SafetyLimits:
    """Returns what a command may ask for: OGBench's own workspace, and any yaw."""
    return SafetyLimits((0.25, -0.35, 0.02), (0.60, 0.35, 0.35), max_step=0.18, max_turn=0.6, max_tilt=np.pi)


@dataclass(frozen=True)
class Arrangement:
    """Where everything is that can be moved, or where it shall be: privileged, for tasks and scripted play.

    Attributes:
        cubes: Their centres [m] and quaternions (w, x, y, z).
        buttons: Of the scene, 0 where drawer or window is locked and 1 where it is not; none beside cubes alone.
        slides: Of the scene, of drawer (0 shut to -0.16 open) and window (0 to 0.2) [m]; none beside cubes alone.
    """

    cubes: Float[np.ndarray, "cubes 7"]
    buttons: Int[np.ndarray, "buttons"] = field(default_factory=lambda: np.zeros(0, int))
    slides: Float[np.ndarray, "slides"] = field(default_factory=lambda: np.zeros(0))

    def hides_a_cube(self) -> bool:
        """Returns whether no image can tell where a cube is: OGBench keeps no such recording of its scene."""
        if not len(self.slides):
            return False
        _, y, z = self.cubes[:, :3].T
        low, high = _IN_THE_DRAWER
        return bool(((y >= _OUT_OF_SIGHT) | ((y <= _BY_THE_DRAWER) & ((z < low) | (z > high)))).any())


class OgbenchArm(BenchmarkArm):
    """OGBench's arm. See `envs.arms.base.Arm`.

    A gripper that feels something between its pads goes on squeezing until an action opens it: measured differences
    are zero while a cube is held, and a gripper that only keeps its measured opening has no force and drops it.
    """

    def __init__(self, variant: Variant = "single", tasks: bool = False, image_size: int = 128) -> None:
        """Builds the simulation.

        Args:
            variant: What is before the arm: so many cubes, or the scene.
            tasks: Whether resets are to OGBench's numbered tasks; else to its random scenes for scripted play.
            image_size: Edge of the square observation image [pixels].

        Raises:
            BenchmarkError: If OGBench is not installed.
        """
        self.variant, self.tasks = variant, tasks
        env = _environment(variant, "task" if tasks else "data_collection")
        env.render = self.observe  # a task's goal, which OGBench would draw, is observed as everything else is
        env.reset(seed=0, options={"task_id": 1})
        super().__init__(env, ogbench_action_spec(), CAMERA, image_size)

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
            way = difference(self.pose(), target) * _GAIN
            if not opens and self.env.compute_ob_info()["proprio/gripper_contact"][0] > 0:
                way[6] = max(way[6], _SQUEEZE)
            self.env.step(self.env.normalize_action(way[[0, 1, 2, 5, 6]]))
        return target

    def state(self) -> Float[np.ndarray, "D"]:
        """See `BenchmarkArm.state`. Last come the buttons' states, which OGBench keeps elsewhere."""
        return np.append(super().state(), self._buttons())

    def restore(self, state: Float[np.ndarray, "D"]) -> None:
        """See `BenchmarkArm.restore`."""
        simulated, buttons = np.split(state, [len(state) - len(self._buttons())])
        if len(buttons):
            self.env._cur_button_states = buttons.astype(int)
            self.env._apply_button_states()
        super().restore(simulated)
        mujoco.mj_rnePostConstraint(self.env.model, self.env.data)  # what the pads feel, which no forward pass tells

    def arrangement(self) -> Arrangement:
        """Returns where everything is: privileged."""
        cubes = [self.env.data.joint(f"object_joint_{cube}").qpos for cube in range(self.env._num_cubes)]
        if self.variant != "scene":
            return Arrangement(np.stack(cubes))
        slides = [self.env.data.joint(f"{slide}_slide").qpos[0] for slide in SLIDES]
        return Arrangement(np.stack(cubes), self._buttons().copy(), np.array(slides))

    def goal(self) -> Arrangement:
        """Returns where everything shall be: privileged."""
        env, ids = self.env, self.env._cube_target_mocap_ids
        cubes = np.hstack([env.data.mocap_pos[ids], env.data.mocap_quat[ids]])
        if self.variant != "scene":
            return Arrangement(cubes)
        slides = [getattr(env, f"_target_{slide}_pos") for slide in SLIDES]
        return Arrangement(cubes, env._target_button_states.copy(), np.array(slides))

    def set_goal(self, goal: Arrangement) -> None:
        """Says where everything shall be; nothing of it is seen."""
        env, ids = self.env, self.env._cube_target_mocap_ids
        env.data.mocap_pos[ids], env.data.mocap_quat[ids] = goal.cubes[:, :3], goal.cubes[:, 3:]
        if self.variant == "scene":
            env._target_button_states = goal.buttons.copy()
            env._target_drawer_pos, env._target_window_pos = goal.slides

    def errors(self) -> Float[np.ndarray, "parts"]:
        """Returns how far each thing is from where it shall be [m]; a button in the wrong state counts as 10 cm."""
        now, goal = self.arrangement(), self.goal()
        cubes = np.linalg.norm(now.cubes[:, :3] - goal.cubes[:, :3], axis=1)
        return np.hstack([cubes, _WRONG_STATE * (now.buttons != goal.buttons), np.abs(now.slides - goal.slides)])

    def successes(self) -> list[bool]:
        """Returns which things are where they shall be, by OGBench's own rule: within 4 cm, buttons in their state."""
        return [bool(success) for success in np.hstack(self.env._compute_successes())]

    def _buttons(self) -> Int[np.ndarray, "buttons"]:
        return getattr(self.env, "_cur_button_states", np.zeros(0, int))


def _environment(variant: Variant, mode: Literal["task", "data_collection"]) -> Any:
    """Returns OGBench's environment with nothing drawn into the picture that tells of a target or of success."""
    try:
        from ogbench.manipspace.envs.cube_env import CubeEnv  # pyright: ignore[reportMissingImports]
        from ogbench.manipspace.envs.scene_env import SceneEnv  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise needs_extra("OGBench", error) from error

    base: Any = SceneEnv if variant == "scene" else CubeEnv
    actions = gymnasium.spaces.Box(-1.0, 1.0, (5,), np.float32)

    class SeededEnv(base):
        """OGBench's environment with one action space: its seed fixes the random actions that settle a goal."""

        @property
        def action_space(self) -> gymnasium.spaces.Box:
            return actions

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            if seed is not None:
                actions.seed(seed)
            return super().reset(options=options, seed=seed)

    return SeededEnv(variant, ob_type="states", mode=mode, visualize_info=False, terminate_at_goal=False)
