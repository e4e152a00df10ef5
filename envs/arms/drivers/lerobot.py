"""LeRobot's robots (SO-100, SO-101, ...), each in a process of its own with the Python that LeRobot is installed in."""

from __future__ import annotations

import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float

from envs.arms.base import ArmError, OutOfReach
from envs.arms.drivers.camera import Camera, CameraConfig, OpenCVCamera
from envs.arms.drivers.child import JsonChild
from envs.arms.drivers.kinematics import Kinematics
from envs.arms.drivers.real import RealArm

_CHILD = Path(__file__).with_name("lerobot_child.py")
_CONNECTING = 30.0  # seconds until LeRobot must be imported and the motors answer
_ANSWERING = 0.5  # seconds until a step must be answered


@dataclass(frozen=True)
class JointConfig:
    """How one motor of LeRobot's turns one joint of the model: radians = sign * degrees * pi / 180 + offset.

    Attributes:
        motor: Its key in LeRobot's actions, such as "shoulder_pan.pos".
        joint: Its name in the model.
        sign: 1, or -1 if they turn against each other.
        offset: Of the joint where the motor is at zero [rad].

    Raises:
        ValueError: If the sign is something else.
    """

    motor: str
    joint: str
    sign: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if self.sign not in (1.0, -1.0):
            raise ValueError(f"the sign of {self.motor} must be 1 or -1, got {self.sign}")


SO101_JOINTS = tuple(
    JointConfig(f"{name}.pos", name)
    for name in ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")
)


@dataclass(frozen=True)
class LeRobotConfig:
    """A robot of LeRobot's whose motors are commanded in degrees.

    Attributes:
        model: MJCF or URDF of the arm.
        site: Of the model, between the fingertips: whose pose is the hand's; or
        body: of the model.
        kind: Names this driver in a configuration file.
        python: Of the environment that LeRobot is installed in.
        module: Of LeRobot's, that the robot is in.
        robot: Its registered type.
        options: Of its configuration, such as ``port`` and ``id``. Cameras belong into ``camera``, not here. An SO-101
            lets go and falls when it is disconnected unless ``disable_torque_on_disconnect`` is false.
        joints: Motors of the arm, in the order of its joints.
        gripper: Motor of the gripper.
        gripper_open: Its position when open.
        gripper_closed: Its position when closed.
        camera: Who looks at it.
        rate: Control rate of the model that will drive it [Hz].

    Raises:
        ValueError: If there are no joints, not exactly one of site and body is named, cameras are among the options,
            they have it speak of -100..100, or the gripper's positions are equal.
    """

    model: Path
    site: str | None = None
    body: str | None = None
    makes: ClassVar = "envs.arms.drivers.lerobot:LeRobotArm"
    kind: Literal["lerobot"] = "lerobot"
    python: Path = Path("python3")
    module: str = "lerobot.robots.so_follower"
    robot: str = "so101_follower"
    options: dict[str, Any] = field(default_factory=dict)
    joints: tuple[JointConfig, ...] = SO101_JOINTS
    gripper: str = "gripper.pos"
    gripper_open: float = 100.0
    gripper_closed: float = 0.0
    camera: CameraConfig = field(default_factory=CameraConfig)
    rate: float = 4.0

    def __post_init__(self) -> None:
        if not self.joints or self.gripper_open == self.gripper_closed:
            raise ValueError("a LeRobot arm needs joints, and a gripper whose open and closed positions differ")
        if "cameras" in self.options:
            raise ValueError("give the camera as `camera`, not among LeRobot's options: images come from here")
        if (self.site is None) == (self.body is None):
            raise ValueError(f"name either a site or a body of the model, got site {self.site!r}, body {self.body!r}")
        if self.options.get("use_degrees") is False:
            raise ValueError("the motors are commanded in degrees: leave use_degrees: false out of LeRobot's options")


class LeRobotArm(RealArm):
    """A robot of LeRobot's. See `RealArm`.

    Set-points become joint angles through the model. LeRobot's process may die: the motors then keep their last goal,
    and the arm fails here.
    """

    def __init__(self, config: LeRobotConfig, camera: Camera | None = None) -> None:
        self.config = config
        super().__init__(f"LeRobot's {config.robot}", camera or OpenCVCamera(config.camera), config.rate)
        names = tuple(joint.joint for joint in config.joints)
        hand, kind = (config.site, "site") if config.body is None else (config.body, "body")
        assert hand is not None, "LeRobotConfig has one of the two"
        self._forward = Kinematics(config.model, names, hand, kind)  # of the thread that measures
        self._inverse = Kinematics(config.model, names, hand, kind)  # of the thread that sends
        self._planning = Kinematics(config.model, names, hand, kind)  # of the thread that plans
        self._signs = np.array([joint.sign for joint in config.joints])
        self._offsets = np.array([joint.offset for joint in config.joints])
        self._child: JsonChild | None = None
        self._exchanging = threading.Lock()
        self._positions: dict[str, float] = {}  # measured
        self._found: dict[str, float] = {}  # of those, where the motors were when it was connected
        self._joint_goal: dict[str, float] = {}  # empty until the first set-point
        self._gripper_goal: dict[str, float] = {}

    def check_robot(self) -> None:
        """See `RealArm.check_robot`."""
        library, python = self.config.module.partition(".")[0], str(self.config.python)
        code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({library!r}) is None)"
        try:
            done = subprocess.run([python, "-c", code], capture_output=True, timeout=_CONNECTING, check=False)
        except OSError as error:
            raise ArmError(f"{self.name}: python: {python} cannot be started ({error}): name LeRobot's own") from error
        except subprocess.TimeoutExpired as error:
            raise ArmError(f"{self.name}: {python} did not start within {_CONNECTING:g} s") from error
        if done.returncode:
            raise ArmError(f"{self.name}: {python} has no {library}: name the Python that LeRobot is installed in")
        port = str(self.config.options.get("port", ""))
        if port.startswith("/dev/") and not Path(port).exists():
            raise ArmError(f"{self.name}: there is no {port}: is the arm plugged in and on, and is this its port?")

    def open_robot(self) -> None:
        """See `RealArm.open_robot`."""
        config = self.config
        self._joint_goal, self._gripper_goal = {}, {}
        self._child = JsonChild([str(config.python), str(_CHILD)], f"{self.name} (its process)")
        request = {"module": config.module, "robot": config.robot, "options": config.options}
        self._positions = self._found = self._child.ask(request, _CONNECTING)["positions"]
        needed = {joint.motor for joint in config.joints} | {config.gripper}
        if not needed <= set(self._positions):
            raise ArmError(f"{self.name} has the motors {sorted(self._positions)}, the configuration {sorted(needed)}")

    def read_pose(self) -> tuple[float, Float[np.ndarray, "6"]]:
        """See `RealArm.read_pose`. The same exchange gives the motors their newest goal."""
        self._exchange()
        return time.monotonic(), self._forward.forward(self._to_radians(self._positions))

    def write_pose(self, pose: Float[np.ndarray, "6"]) -> None:
        """See `RealArm.write_pose`."""
        near = self._to_radians(self._joint_goal or self._positions)
        joints = self._inverse.inverse(pose, near)
        if joints is None:
            raise OutOfReach(f"{self.name}: no joint angles near the present ones reach {np.round(pose, 3)}; it holds")
        degrees = np.degrees(self._to_motors(joints))
        motors = (joint.motor for joint in self.config.joints)
        self._joint_goal = dict(zip(motors, degrees.tolist(), strict=True))

    def read_gripper(self) -> float:
        """See `RealArm.read_gripper`."""
        config = self.config
        position = self._positions[config.gripper]
        return (position - config.gripper_open) / (config.gripper_closed - config.gripper_open)

    def move_gripper(self, closedness: float) -> None:
        """See `RealArm.move_gripper`."""
        config = self.config
        position = config.gripper_open + closedness * (config.gripper_closed - config.gripper_open)
        self._gripper_goal = {config.gripper: position}

    def hold(self) -> None:
        """See `RealArm.hold`."""
        self._joint_goal = {joint.motor: self._positions[joint.motor] for joint in self.config.joints}
        self._exchange()

    def release(self) -> None:
        """See `RealArm.release`."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    @property
    def joint_names(self) -> tuple[str, ...]:
        """See `JointArm.joint_names`: the motors', whose degrees LeRobot records."""
        return tuple(joint.motor.removesuffix(".pos") for joint in self.config.joints)

    @property
    def joint_ranges(self) -> Float[np.ndarray, "joints 2"]:
        """See `JointArm.joint_ranges`."""
        ends = np.stack([self._to_motors(end) for end in self._planning.ranges.T])
        return np.sort(ends, axis=0).T

    def joints_of(self, pose: Float[np.ndarray, "6"]) -> Float[np.ndarray, "joints"]:
        """See `JointArm.joints_of`."""
        joints = self._planning.inverse(pose, self._to_radians(self._positions))
        if joints is None:
            raise OutOfReach(f"{self.name}: no joint angles near the present ones are those of {np.round(pose, 3)}")
        return self._to_motors(joints)

    def pose_of(self, joints: Float[np.ndarray, "joints"]) -> Float[np.ndarray, "6"]:
        """See `JointArm.pose_of`."""
        return self._planning.forward(joints * self._signs + self._offsets)

    def _to_motors(self, joints: Float[np.ndarray, "joints"]) -> Float[np.ndarray, "joints"]:
        """Returns the motors' angles [rad] at the model's [rad]."""
        return (joints - self._offsets) * self._signs

    def _exchange(self) -> None:
        """Gives the motors their newest goal and keeps where they are."""
        with self._exchanging:
            if self._child is None:
                raise ArmError(f"{self.name} is not connected: call connect() first")
            goal = self._joint_goal | self._gripper_goal
            whole = self._found | goal if goal else None  # LeRobot wants every motor, and where it gave way it stays
            self._positions = self._child.ask({"goal": whole}, _ANSWERING)["positions"]

    def _to_radians(self, positions: dict[str, float]) -> Float[np.ndarray, "joints"]:
        """Returns the model's joint angles at positions of the motors [degrees]."""
        degrees = [positions[joint.motor] for joint in self.config.joints]
        return np.radians(degrees) * self._signs + self._offsets
