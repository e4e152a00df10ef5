"""Universal Robots arms through ur-rtde: servoL follows set-points, a watchdog on the robot stops it without us."""

from __future__ import annotations

import contextlib
import threading
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
from envs.arms.drivers.robotiq import RobotiqConfig, RobotiqGripper
from envs.arms.drivers.tool import ToolOffset
from envs.arms.drivers.vendor import import_vendor

_PORT = 30004  # of the controller's real-time data exchange
_RUNNING = 7  # of getRobotMode
_SAFE = (1, 2)  # of getSafetyMode: normal, reduced
_WATCHDOG = 10.0  # Hz
_QUIET = 0.04  # seconds without a command after which the watchdog is told that we are here
_SET_POINT_TIME = 0.01  # seconds
_BRAKING = 10.0  # m/s^2, ur-rtde's own


@dataclass(frozen=True)
class URConfig:
    """A UR arm.

    Attributes:
        kind: Names this driver in a configuration file.
        address: Of the controller.
        camera: Who looks at it.
        rate: Control rate of the model that will drive it [Hz].
        tool: Where the fingertips are from the flange; None keeps what the teach pendant says.
        gripper: Of Robotiq, through its URCap; None for none (closedness is then 0).
        lookahead: Smooths the stream of set-points [s]; more is smoother and later.
        gain: With which set-points are followed; more is stiffer.

    Raises:
        ValueError: If lookahead or gain is outside of what a UR takes.
    """

    makes: ClassVar = "envs.arms.drivers.ur:URArm"
    kind: Literal["ur"] = "ur"
    address: str = "192.168.0.2"
    camera: CameraConfig = field(default_factory=CameraConfig)
    rate: float = 4.0
    tool: ToolOffset | None = None
    gripper: RobotiqConfig | None = field(default_factory=RobotiqConfig)
    lookahead: float = 0.1
    gain: float = 300.0

    def __post_init__(self) -> None:
        if not (0.03 <= self.lookahead <= 0.2 and 100 <= self.gain <= 2000):
            raise ValueError(
                f"a UR takes 0.03..0.2 s lookahead, a gain of 100..2000; got {self.lookahead}, {self.gain}"
            )


class URArm(RealArm):
    """A UR arm. See `RealArm`.

    The controller must be in remote control. When this program dies the robot's watchdog ends its script within 0.1 s.
    A protective or emergency stop is cleared on the teach pendant, by a person.
    """

    errors = (OSError, RuntimeError, ValueError)  # ur-rtde raises ValueError for arguments that a UR does not take

    def __init__(self, config: URConfig | None = None, camera: Camera | None = None) -> None:
        self.config = config or URConfig()
        super().__init__(f"UR at {self.config.address}", camera or OpenCVCamera(self.config.camera), self.config.rate)
        self._control: Any = None
        self._receive: Any = None
        self._gripper: RobotiqGripper | None = None
        self._commanding = threading.Lock()  # the control interface takes one command at a time
        self._commanded = 0.0  # monotonic time of the last

    def check_robot(self) -> None:
        """See `RealArm.check_robot`."""
        for module in ("rtde_receive", "rtde_control"):
            import_vendor(module, "ur")
        hint = "is the controller on, and is this its address?"
        check_reachable(self.name, self.config.address, _PORT, hint)
        if self.config.gripper is not None:
            hint = "is its URCap installed? An arm without a Robotiq gripper has gripper: null in its file"
            check_reachable(f"{self.name}: the gripper", self.config.address, self.config.gripper.port, hint)

    def open_robot(self) -> None:
        """See `RealArm.open_robot`."""
        address = self.config.address
        self._receive = import_vendor("rtde_receive", "ur").RTDEReceiveInterface(address)
        self._check_ready()
        self._control = import_vendor("rtde_control", "ur").RTDEControlInterface(address)
        if self.config.tool is not None:
            matrix = self.config.tool.matrix()
            turn = Rotation.from_matrix(matrix[:3, :3]).as_rotvec()
            self._command("setTcp", [*matrix[:3, 3], *turn])
        self._command("setWatchdog", _WATCHDOG)
        if self.config.gripper is not None:
            self._gripper = RobotiqGripper(address, self.config.gripper)

    def read_pose(self) -> tuple[float, Float[np.ndarray, "6"]]:
        """See `RealArm.read_pose`."""
        self._check_ready()
        pose = np.array(self._receive.getActualTCPPose())  # the turn is a rotation vector
        measured = time.monotonic()
        if measured - self._commanded > _QUIET:
            self._command("kickWatchdog")
        return measured, np.concatenate([pose[:3], Rotation.from_rotvec(pose[3:6]).as_euler("xyz")])

    def write_pose(self, pose: Float[np.ndarray, "6"]) -> None:
        """See `RealArm.write_pose`."""
        target = [*pose[:3], *Rotation.from_euler("xyz", pose[3:]).as_rotvec()]
        speed, acceleration = 0.5, 0.5  # demanded and not used by servoL
        self._command("servoL", target, speed, acceleration, _SET_POINT_TIME, self.config.lookahead, self.config.gain)

    def read_gripper(self) -> float:
        """See `RealArm.read_gripper`."""
        return 0.0 if self._gripper is None else self._gripper.read()

    def move_gripper(self, closedness: float) -> None:
        """See `RealArm.move_gripper`."""
        if self._gripper is not None:
            self._gripper.move(closedness)

    def hold(self) -> None:
        """See `RealArm.hold`."""
        self._command("servoStop", _BRAKING)

    def release(self) -> None:
        """See `RealArm.release`."""
        gripper, control, receive = self._gripper, self._control, self._receive
        self._gripper = self._control = self._receive = None
        with contextlib.ExitStack() as steps:  # each is taken, also when another fails; last first
            if receive is not None:
                steps.callback(receive.disconnect)
            if control is not None:
                steps.callback(control.disconnect)
                steps.callback(control.stopScript)
            if gripper is not None:
                steps.callback(gripper.close)

    def _command(self, name: str, *arguments: Any) -> None:
        """Gives the robot a command; one that it does not carry out is an error."""
        with self._commanding:
            done = getattr(self._control, name)(*arguments)
            self._commanded = time.monotonic()
        if not done:
            self._check_ready()
            raise ArmError(f"{self.name} refused {name}: is it in remote control, is the program on it still running?")

    def _check_ready(self) -> None:
        """Raises what keeps the robot from moving."""
        receive, then = self._receive, "look at the arm, clear it on the teach pendant, then connect again"
        if not receive.isConnected():
            raise ArmError(f"{self.name} is no longer connected: check cable and controller, then connect again")
        if receive.isEmergencyStopped():
            raise ArmError(f"{self.name} is in an emergency stop: {then}")
        if receive.isProtectiveStopped():
            raise ArmError(f"{self.name} is in a protective stop: {then}")
        robot_mode, safety_mode = receive.getRobotMode(), receive.getSafetyMode()
        if robot_mode != _RUNNING or safety_mode not in _SAFE:
            raise ArmError(f"{self.name} is not running (robot mode {robot_mode}, safety mode {safety_mode}): {then}")
