"""Franka arms (Panda, FR3) through franky, whose 1 kHz control loop runs outside Python."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from envs.arms.base import ArmError
from envs.arms.drivers.camera import Camera, CameraConfig, OpenCVCamera
from envs.arms.drivers.network import check_reachable
from envs.arms.drivers.real import RealArm
from envs.arms.drivers.tool import ToolOffset
from envs.arms.drivers.vendor import import_vendor

logger = logging.getLogger(__name__)

_PORT = 1337  # of the robot's control interface
_ERRORS = ("Exception", "GripperException", "InvalidMotionTypeException", "TorqueSignalTimeoutException")
"""Of franky's, which do not derive from one another."""


@dataclass(frozen=True)
class FrankaConfig:
    """A Franka arm with its hand.

    Attributes:
        kind: Names this driver in a configuration file.
        address: Of the robot's control interface (FCI).
        camera: Who looks at it.
        rate: Control rate of the model that will drive it [Hz].
        tool: Where the fingertips are from the nominal end effector (NE_T_EE); None keeps what Franka's Desk says.
        translational_stiffness: Of the impedance controller that follows set-points [N/m].
        rotational_stiffness: [Nm/rad].
        realtime: Whether to demand a real-time kernel.
        gripper_speed: [m/s].
        gripper_force: With which something is grasped [N].

    Raises:
        ValueError: If a stiffness, speed or force is not positive or beyond the robot.
    """

    makes: ClassVar = "envs.arms.drivers.franka:FrankaArm"
    kind: Literal["franka"] = "franka"
    address: str = "172.16.0.2"
    camera: CameraConfig = field(default_factory=CameraConfig)
    rate: float = 4.0
    tool: ToolOffset | None = None
    translational_stiffness: float = 800.0
    rotational_stiffness: float = 60.0
    realtime: bool = True
    gripper_speed: float = 0.1
    gripper_force: float = 20.0

    def __post_init__(self) -> None:
        if not (0 < self.translational_stiffness <= 3000 and 0 < self.rotational_stiffness <= 300):
            raise ValueError(
                f"stiffness must be up to 3000 N/m and 300 Nm/rad, got {self.translational_stiffness}, "
                f"{self.rotational_stiffness}"
            )
        if not (0 < self.gripper_speed <= 0.1 and 0 < self.gripper_force <= 70):
            raise ValueError(
                f"the hand does 0.1 m/s and 70 N at most, got {self.gripper_speed} m/s, {self.gripper_force} N"
            )


class FrankaArm(RealArm):
    """A Franka arm. See `RealArm`.

    Set-points are the target of franky's Cartesian impedance controller: compliant, critically damped, so that a moving
    target is followed with a lag of damping over stiffness. Set the user stop aside, unlock the brakes and activate FCI
    in Desk first; a reflex or an error is cleared there too, by a person.
    """

    def __init__(self, config: FrankaConfig | None = None, camera: Camera | None = None) -> None:
        self.config = config or FrankaConfig()
        super().__init__(
            f"Franka at {self.config.address}", camera or OpenCVCamera(self.config.camera), self.config.rate
        )
        self._franky: Any = None
        self._robot: Any = None
        self._hand: Any = None
        self._tracker: Any = None

    def check_robot(self) -> None:
        """See `RealArm.check_robot`."""
        import_vendor("franky", "franka")
        hint = "is it on, is FCI activated in Desk, and is this the address of its control interface?"
        check_reachable(self.name, self.config.address, _PORT, hint)

    def open_robot(self) -> None:
        """See `RealArm.open_robot`."""
        franky = self._franky = import_vendor("franky", "franka")
        self.errors = (OSError, RuntimeError, ValueError, *(getattr(franky, name) for name in _ERRORS))
        realtime = franky.RealtimeConfig.Enforce if self.config.realtime else franky.RealtimeConfig.Ignore
        self._robot = franky.Robot(self.config.address, realtime_config=realtime)
        self._check_ready()
        if self.config.tool is not None:
            self._robot.set_ee(self.config.tool.matrix().flatten(order="F").tolist())
        self._hand = franky.Gripper(self.config.address)
        if self._hand.max_width <= 0:
            raise ArmError(f"{self.name}: the hand does not know its width: home it in Desk first")

    def read_pose(self) -> tuple[float, Float[np.ndarray, "6"]]:
        """See `RealArm.read_pose`."""
        self._check_ready()
        pose = self._robot.current_pose.end_effector_pose
        angles = Rotation.from_quat(np.asarray(pose.quaternion)).as_euler("xyz")
        return time.monotonic(), np.concatenate([np.asarray(pose.translation), angles])

    def write_pose(self, pose: Float[np.ndarray, "6"]) -> None:
        """See `RealArm.write_pose`. The first starts the controller, at the pose where the arm is."""
        if self._tracker is None:
            self._check_ready()
            self._tracker = self._franky.CartesianImpedanceTracker(
                self._robot,
                translational_stiffness=self.config.translational_stiffness,
                rotational_stiffness=self.config.rotational_stiffness,
            )
        elif not self._tracker.is_running:
            tracker, self._tracker = self._tracker, None
            tracker.stop()  # raises what ended it
            raise ArmError(f"{self.name}: the controller ended: look at the arm and at Desk, then connect again")
        target = self._franky.Affine(pose[:3], Rotation.from_euler("xyz", pose[3:]).as_quat())
        self._tracker.set_target(target)

    def read_gripper(self) -> float:
        """See `RealArm.read_gripper`."""
        return 1.0 - self._hand.width / self._hand.max_width

    def move_gripper(self, closedness: float) -> None:
        """See `RealArm.move_gripper`. Closing grasps whatever is between the fingers."""
        width = (1.0 - closedness) * self._hand.max_width
        speed, force = self.config.gripper_speed, self.config.gripper_force
        if width < self._hand.width:
            self._hand.grasp(width, speed, force, epsilon_inner=0.1, epsilon_outer=0.1)  # False: nothing was grasped
        elif not self._hand.move(width, speed):
            logger.warning("%s: the hand did not reach %.3f m", self.name, width)

    def hold(self) -> None:
        """See `RealArm.hold`. The controller brakes the joints and hands over to the robot, which keeps its place."""
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            tracker.stop()

    def release(self) -> None:
        """See `RealArm.release`."""
        self._tracker = self._hand = self._robot = None

    def _check_ready(self) -> None:
        """Raises what keeps the robot from moving."""
        mode = self._robot.state.robot_mode
        modes = self._franky.RobotMode
        if self._robot.has_errors or mode == modes.Reflex:
            raise ArmError(
                f"{self.name} stopped itself ({self._robot.state.last_motion_errors}): look at the arm, "
                "clear the error in Desk, then connect again"
            )
        if mode not in (modes.Idle, modes.Move):
            raise ArmError(f"{self.name} is in mode {mode}: release the user stop and end guiding, then connect again")
