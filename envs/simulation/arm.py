"""The simulated arm: `envs.arms.base.Arm` over a MuJoCo scene, inverse kinematics by mink, joint position servos."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import mink
import mujoco
import numpy as np
from jaxtyping import Float, UInt8

from envs.arms.base import RELEASE
from envs.pose import euler_from_matrix, matrix_from_euler
from envs.simulation.objects import SceneObject, touched_by
from envs.simulation.scene import CAMERA, FINGER_TRAVEL, HOME, TCP_SITE, SceneConfig, build_scene
from envs.simulation.state import put_state, take_state
from envs.spec import POSE_NAMES, POSE_UNITS, ActionSpec, Observation

logger = logging.getLogger(__name__)

RATE = 4.0
"""Control rate of V-JEPA 2-AC [Hz]."""

DOWN = (np.pi, 0.0, 0.0)
"""Orientation of a gripper that points down, extrinsic-xyz Euler angles [rad]."""

_START = np.array([0.5, 0.0, 0.25, *DOWN, 0.0])
_RAMP_FRACTION = 0.5
_MAX_JOINT_STEP = 1.0  # rad in one command; further is another branch of the inverse kinematics
_POSITION_TOLERANCE, _ANGLE_TOLERANCE = 2e-3, 2e-2
_SQUEEZE = 0.15  # closedness: how much tighter a grip is held


def arm_action_spec(
    max_translation: float = 0.075, max_rotation: float = 0.15, max_gripper: float = 1.0, rate: float = RATE
) -> ActionSpec:
    """Returns the 7-D action of V-JEPA 2-AC with symmetric bounds [m, rad, 1] a control period."""
    high = (max_translation,) * 3 + (max_rotation,) * 3 + (max_gripper,)
    return ActionSpec(POSE_NAMES, POSE_UNITS, tuple(-bound for bound in high), high, "base", rate)


@dataclass(frozen=True)
class MujocoArmConfig:
    """How the simulated arm looks and is driven.

    Attributes:
        scene: What stands on the table and who looks at it.
        image_size: Edge of the square observation image [pixels].

    Raises:
        ValueError: If the image size is out of range.
    """

    scene: SceneConfig = field(default_factory=SceneConfig)
    image_size: int = 128

    def __post_init__(self) -> None:
        if not 16 <= self.image_size <= 1280:
            raise ValueError(f"image_size must be 16..1280 pixels, got {self.image_size}")


class MujocoArm:
    """A simulated arm. See `envs.arms.base.Arm`; time is simulated and moves only during `command`.

    A command's target is solved for joint angles by inverse kinematics from the home configuration, so that a pose
    always has the same arm configuration. The servos' set-points ramp linearly over half of the control period.

    Fingers that both touch an object hold on to it, as a force-controlled gripper does: they squeeze (0.15 of their
    travel tighter than where they are) until a command opens them by more than `RELEASE`. So an action, a difference of
    measured poses, of 0 means the same in the hand as anywhere else: nothing changes.

    Attributes:
        objects: The scene's objects, by their numbers (simulation only).
    """

    def __init__(self, config: MujocoArmConfig | None = None) -> None:
        self.config = config or MujocoArmConfig()
        self.action_spec = arm_action_spec()
        self.image_shape = (self.config.image_size, self.config.image_size, 3)
        self.model = build_scene(self.config.scene)
        self.data = mujoco.MjData(self.model)
        self._fingers = [self.model.body(name).id for name in ("finger_left", "finger_right")]
        self._kinematics = _InverseKinematics(self.model)
        self.objects: tuple[SceneObject, ...] = tuple(
            SceneObject(self.model, self.data, id) for id in range(self.config.scene.objects)
        )
        self._renderers: dict[int, mujoco.Renderer] = {}
        self.reset()

    def connect(self) -> None:
        """See `Arm.connect`. The simulation is always there."""

    def observe(self) -> Observation:
        """See `Arm.observe`."""
        return Observation(self.render(self.config.image_size), self.pose(), float(self.data.time))

    def pose(self) -> Float[np.ndarray, "7"]:
        """Returns the measured pose (7,) [m, rad, 1]."""
        site = self.data.site(TCP_SITE)
        return np.array([*site.xpos, *euler_from_matrix(site.xmat.reshape(3, 3)), self._closedness()])

    def command(self, target_pose: Float[np.ndarray, "6"], gripper: float, duration: float) -> Float[np.ndarray, "7"]:
        """See `Arm.command`. A target out of reach is not sent: the arm holds its last set-point."""
        joints = self._kinematics.solve(target_pose)
        start = self.data.ctrl[:7].copy()
        if joints is None or np.abs(joints - start).max() > _MAX_JOINT_STEP:
            logger.warning("no joint angles near the present ones reach %s: holding", np.round(target_pose, 3))
            joints = start
        gripper = float(np.clip(gripper, 0.0, 1.0))
        letting_go = gripper < self._closedness() - RELEASE
        self.data.ctrl[7:9] = FINGER_TRAVEL * (1.0 - gripper)
        steps = max(1, round(duration / self.model.opt.timestep))
        ramp = max(1, round(_RAMP_FRACTION * steps))
        for step in range(1, steps + 1):
            if step <= ramp:
                self.data.ctrl[:7] = start + (joints - start) * (step / ramp)
            if not letting_go and self.gripping():
                self._squeeze(gripper)
            mujoco.mj_step(self.model, self.data)
        mujoco.mj_forward(self.model, self.data)
        return np.append(self._kinematics.forward(joints), gripper)

    def set_fingers(self, gripper: float) -> None:
        """Makes a closedness the fingers' set-point, or holds on to what they hold, see above (simulation only)."""
        self.data.ctrl[7:9] = FINGER_TRAVEL * (1.0 - gripper)
        if gripper >= self._closedness() - RELEASE and self.gripping():
            self._squeeze(gripper)

    def stop(self) -> None:
        """See `Arm.stop`. Set-points become the measured joint angles."""
        self.data.ctrl[:7] = self.data.qpos[:7]

    def close(self) -> None:
        """See `Arm.close`."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def render(self, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """Returns the exterior camera's image at any size, with the same settings for goals and observations."""
        if size not in self._renderers:
            self._renderers[size] = mujoco.Renderer(self.model, size, size)
        renderer = self._renderers[size]
        renderer.update_scene(self.data, camera=CAMERA)
        self._draw_over(renderer.scene)
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = int(self.config.scene.shadows)
        return renderer.render()

    def _draw_over(self, scene: mujoco.MjvScene) -> None:
        """Adds what is drawn and not there; of an arm as it is, nothing."""

    def reset(self) -> None:
        """Puts the simulation back to its start: the clock at zero, everything at rest (simulation only)."""
        mujoco.mj_resetData(self.model, self.data)
        self.set_pose(_START)

    def set_pose(self, pose: Float[np.ndarray, "7"]) -> None:
        """Places the arm at rest at a pose (simulation only).

        Raises:
            ValueError: If no joint angles reach the pose.
        """
        joints = self._kinematics.solve(pose[:6])
        if joints is None:
            raise ValueError(f"no joint angles reach the pose {np.round(pose, 3)}: move it into the workspace")
        self.data.qpos[:7] = self.data.ctrl[:7] = joints
        self.data.qpos[7:9] = self.data.ctrl[7:9] = FINGER_TRAVEL * (1.0 - pose[6])
        self.data.qvel[:] = 0
        mujoco.mj_forward(self.model, self.data)

    def set_block(self, index: int, position: Float[np.ndarray, "2"], yaw: float = 0.0) -> None:
        """Places a block at rest on the table at (x, y) [m], turned by yaw [rad] (simulation only)."""
        joint = self.data.joint(f"block{index}")
        height = self.config.scene.block_size / 2
        joint.qpos[:] = (*position, height, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))
        joint.qvel[:] = 0
        mujoco.mj_forward(self.model, self.data)

    def block_position(self, index: int) -> Float[np.ndarray, "3"]:
        """Returns a block's centre [m]: privileged, for tasks and scripted play."""
        return self.data.body(f"block{index}").xpos.copy()

    def held(self) -> SceneObject | None:
        """Returns the object that both fingers touch and that touches nothing that stands, if any: privileged."""
        gripped = self._gripped()
        return next((one for one in self.objects if one.body in gripped and not one.on_something), None)

    def gripping(self) -> bool:
        """Returns whether both fingers touch one and the same loose thing: privileged."""
        return bool(self._gripped())

    def touching(self, thing: SceneObject) -> bool:
        """Returns whether hand or fingers touch an object: privileged."""
        hand = (*self._fingers, self.model.body("hand").id)
        return any(part in touched_by(self.model, self.data, thing.body) for part in hand)

    def snapshot(self) -> Float[np.ndarray, "n"]:
        """Returns the whole state of the simulation, for `restore` (simulation only)."""
        return take_state(self.model, self.data)

    def restore(self, state: Float[np.ndarray, "n"]) -> None:
        """Puts the simulation back to a `snapshot` (simulation only)."""
        put_state(self.model, self.data, state)

    def _squeeze(self, gripper: float) -> None:
        """Lets the fingers press on what is between them, or close as far as is asked if that is further."""
        self.data.ctrl[7:9] = FINGER_TRAVEL * (1.0 - min(1.0, max(gripper, self._closedness() + _SQUEEZE)))

    def _closedness(self) -> float:
        opening = (self.data.joint("finger_left").qpos[0] + self.data.joint("finger_right").qpos[0]) / 2
        return float(np.clip(1.0 - opening / FINGER_TRAVEL, 0.0, 1.0))

    def _gripped(self) -> set[int]:
        """Returns the bodies that both fingers touch, less what stands."""
        left, right = (touched_by(self.model, self.data, finger) for finger in self._fingers)
        return (left & right) - {0}


class _InverseKinematics:
    """Joint angles of a gripper pose: mink's differential IK iterated from the home configuration."""

    def __init__(self, model: mujoco.MjModel, iterations: int = 30) -> None:
        self._configuration = mink.Configuration(model)
        self._home = self._configuration.q.copy()
        self._home[:7] = HOME
        self._iterations = iterations
        self._frame = mink.FrameTask(TCP_SITE, "site", position_cost=1.0, orientation_cost=0.5, lm_damping=1e-4)
        posture_cost = np.zeros(model.nv)
        posture_cost[:7] = 1e-3
        self._posture = mink.PostureTask(model, cost=posture_cost)
        self._posture.set_target(self._home)
        self._limits = [mink.ConfigurationLimit(model)]

    def solve(self, pose: Float[np.ndarray, "6"]) -> Float[np.ndarray, "7"] | None:
        """Returns the joint angles (7,) [rad] for a pose (6,), or None if none within the joint limits reach it."""
        target = mink.SE3.from_rotation_and_translation(
            mink.SO3.from_matrix(matrix_from_euler(np.asarray(pose[3:6], dtype=np.float64))), np.asarray(pose[:3])
        )
        self._frame.set_target(target)
        self._configuration.update(self._home)
        for _ in range(self._iterations):
            velocity = mink.solve_ik(
                self._configuration, [self._frame, self._posture], 1.0, "daqp", damping=1e-6, limits=self._limits
            )
            self._configuration.integrate_inplace(velocity, 1.0)
            if self._reached(tolerance=1e-2):
                break
        return self._configuration.q[:7].copy() if self._reached(tolerance=1.0) else None

    def forward(self, joints: Float[np.ndarray, "7"]) -> Float[np.ndarray, "6"]:
        """Returns the pose (6,) [m, rad] of joint angles (7,) [rad]."""
        angles = self._home.copy()
        angles[:7] = joints
        self._configuration.update(angles)
        transform = self._configuration.get_transform_frame_to_world(TCP_SITE, "site")
        return np.concatenate([transform.translation(), euler_from_matrix(transform.rotation().as_matrix())])

    def _reached(self, tolerance: float) -> bool:
        error = self._frame.compute_error(self._configuration)
        position, angle = np.linalg.norm(error[:3]), np.linalg.norm(error[3:])
        return bool(position < _POSITION_TOLERANCE * tolerance and angle < _ANGLE_TOLERANCE * tolerance)
