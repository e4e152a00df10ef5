"""The simulated arm in real time: what a real arm and its camera are to the programs that drive them."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import mink
import mujoco
import numpy as np
from jaxtyping import Float

from envs.arms.base import ArmError, OutOfReach
from envs.clock import Clock
from envs.pose import matrix_from_euler
from envs.simulation.arm import MujocoArm
from envs.simulation.scene import HOME, TCP_SITE
from envs.spec import Observation

_TICK = 0.004  # s between two rounds of physics
_MOST_BEHIND = 0.1  # s of simulation that are made up for; what is more is lost, time goes slower then
_PATIENCE = 30.0  # s for the first image
_ROUNDS = 3  # of inverse kinematics a set-point
_POSITION_TOLERANCE, _ANGLE_TOLERANCE = 5e-3, 5e-2  # m, rad
_MOST_MOMENTS = 10_000  # that are remembered


@dataclass(frozen=True)
class TwinConfig:
    """How real the twin is.

    Attributes:
        camera_rate: Images a second [Hz]; between two of them `observe` returns the last one.

    Raises:
        ValueError: If the rate is not 1 to 100 Hz.
    """

    camera_rate: float = 15.0

    def __post_init__(self) -> None:
        if not 1.0 <= self.camera_rate <= 100.0:
            raise ValueError(f"the twin's camera_rate must be 1 to 100 Hz, got {self.camera_rate}")


class Moment(NamedTuple):
    """How everything stood when an image was drawn: privileged, for judging a run when it is over.

    Attributes:
        time: Of the image [s].
        state: What `MujocoArm.restore` takes.
    """

    time: float
    state: Float[np.ndarray, "n"]


class MujocoTwin:
    """A `MujocoArm` in wall-clock time. See `envs.arms.base.StreamingArm`.

    One thread steps the physics up to the present and draws images; `send` solves the newest set-point for joint
    angles near the last ones. While connected, the `MujocoArm` belongs to that thread; before and after, the caller
    may place arm and blocks and draw goals with it.
    """

    def __init__(self, arm: MujocoArm, config: TwinConfig | None = None, clock: Clock = time) -> None:
        """Takes an arm, placed as it should start."""
        self.arm = arm
        self.config = config or TwinConfig()
        self.action_spec = arm.action_spec
        self.image_shape = arm.image_shape
        self._clock = clock
        self._kinematics = _Follower(arm.model)
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._ending = False
        self._joints: Float[np.ndarray, "7"] = arm.data.ctrl[:7].copy()  # the newest set-point's
        self._targets: Float[np.ndarray, "8"] | None = None  # joint angles and closedness, for the thread to take
        self._gripper: float | None = None  # closedness that was last asked for
        self._hold = False
        self._seen: Observation | None = None
        self._moments: deque[Moment] = deque(maxlen=_MOST_MOMENTS)

    def connect(self) -> None:
        """See `StreamingArm.connect`. Starts real time and waits for the first image.

        Raises:
            ArmError: If the simulation ended or draws nothing.
        """
        if self._thread is not None:
            self._check_alive()
            return
        self.arm.close()  # what draws belongs to the thread that made it
        self._ending, self._seen, self._targets, self._gripper = False, None, None, None
        self._moments.clear()
        self._joints = self.arm.data.ctrl[:7].copy()
        self._thread = threading.Thread(target=self._run, name="twin", daemon=True)
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._seen is not None or not self._alive(), _PATIENCE)
        self._check_alive()
        if self._seen is None:
            raise ArmError(f"the simulation has drawn no image for {_PATIENCE:g} s: is MUJOCO_GL right?")

    def observe(self) -> Observation:
        """See `StreamingArm.observe`."""
        self._check_alive()
        assert self._seen is not None, "connect() has waited for it"
        return self._seen

    def send(self, set_point: Float[np.ndarray, "7"]) -> None:
        """See `StreamingArm.send`."""
        self._check_alive()
        joints = self._kinematics.follow(np.asarray(set_point[:6], dtype=np.float64), self._joints)
        if joints is None:
            raise OutOfReach(f"no joint angles near the present ones reach {np.round(set_point, 3)}")
        self._joints, self._targets = joints, np.append(joints, np.clip(set_point[6], 0.0, 1.0))

    def stop(self) -> None:
        """See `StreamingArm.stop`. The servos hold the measured joint angles from the next round of physics on."""
        self._targets, self._hold = None, True

    def close(self) -> None:
        """See `StreamingArm.close`. Real time ends; the arm stands where it is."""
        self.stop()
        self._ending = True
        thread = self._thread
        if thread is not None:
            thread.join()
            self._thread = None

    def moments(self) -> list[Moment]:
        """Returns how everything stood at each image since `connect`, of very many the last ones."""
        with self._changed:
            return list(self._moments)

    def _alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive() and not self._ending

    def _check_alive(self) -> None:
        if not self._alive():
            raise ArmError("the simulated arm is not connected, or its thread ended with the error shown above")

    def _run(self) -> None:
        """Simulates until it is told to end."""
        try:
            started = self._clock.monotonic() - self.arm.data.time
            image_due = self._clock.monotonic()
            while not self._ending:
                started += self._catch_up(started)
                now = self._clock.monotonic()
                if now >= image_due:
                    image_due = max(image_due + 1.0 / self.config.camera_rate, now)
                    self._look()
                self._clock.sleep(_TICK)
            self.arm.stop()
        finally:
            self.arm.close()
            with self._changed:
                self._changed.notify_all()

    def _catch_up(self, started: float) -> float:
        """Steps the physics up to now and returns how much time was lost because that would have taken too long [s]."""
        data, model = self.arm.data, self.arm.model
        self._follow()
        behind = self._clock.monotonic() - started - data.time
        steps = int(min(behind, _MOST_BEHIND) / model.opt.timestep)
        if steps > 0:
            mujoco.mj_step(model, data, nstep=steps)
        return max(0.0, behind - _MOST_BEHIND)

    def _follow(self) -> None:
        """Moves the servos' targets; fingers hold on to what they have as in `MujocoArm.command`."""
        data = self.arm.data
        if self._hold:
            self._hold, self._gripper = False, None
            self.arm.stop()
            self._joints = data.ctrl[:7].copy()
        targets, self._targets = self._targets, None
        if targets is not None:
            data.ctrl[:7], self._gripper = targets[:7], float(targets[7])
        if self._gripper is not None:
            self.arm.set_fingers(self._gripper)

    def _look(self) -> None:
        """Draws what is seen now."""
        mujoco.mj_forward(self.arm.model, self.arm.data)
        now, pose = self._clock.monotonic(), self.arm.pose()
        seen = Observation(self.arm.render(self.arm.config.image_size), pose, now)
        with self._changed:
            self._seen = seen
            self._moments.append(Moment(now, self.arm.snapshot()))
            self._changed.notify_all()


class _Follower:
    """Joint angles along a stream of poses: a few rounds of mink's differential IK from the present ones."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._configuration = mink.Configuration(model)
        self._angles = self._configuration.q.copy()
        self._frame = mink.FrameTask(TCP_SITE, "site", position_cost=1.0, orientation_cost=0.5, lm_damping=1e-4)
        posture_cost = np.zeros(model.nv)
        posture_cost[:7] = 1e-3
        self._posture = mink.PostureTask(model, cost=posture_cost)
        self._angles[:7] = HOME
        self._posture.set_target(self._angles)
        self._limits = [mink.ConfigurationLimit(model)]

    def follow(self, pose: Float[np.ndarray, "6"], joints: Float[np.ndarray, "7"]) -> Float[np.ndarray, "7"] | None:
        """Returns joint angles (7,) [rad] for a pose (6,), near the present ones; None if there are none."""
        rotation = mink.SO3.from_matrix(matrix_from_euler(pose[3:6]))
        self._frame.set_target(mink.SE3.from_rotation_and_translation(rotation, pose[:3]))
        self._angles[:7] = joints
        self._configuration.update(self._angles)
        for _ in range(_ROUNDS):
            velocity = mink.solve_ik(
                self._configuration, [self._frame, self._posture], 1.0, "daqp", damping=1e-6, limits=self._limits
            )
            self._configuration.integrate_inplace(velocity, 1.0)
            error = self._frame.compute_error(self._configuration)
            position, angle = np.linalg.norm(error[:3]), np.linalg.norm(error[3:])
            if position < 1e-4 and angle < 1e-3:
                break
        if position < _POSITION_TOLERANCE and angle < _ANGLE_TOLERANCE:
            return self._configuration.q[:7].copy()
        return None
