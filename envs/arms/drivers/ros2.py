"""Arms behind ROS 2: a Cartesian controller that follows a pose topic, a gripper action, an image topic."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation

from envs.arms.base import ArmError
from envs.arms.drivers.real import RealArm
from envs.arms.drivers.vendor import import_vendor

_FIRST_MESSAGES = 5.0  # seconds until every topic must have spoken
_CHANNELS = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0), "rgba8": (0, 1, 2), "bgra8": (2, 1, 0)}
_SOURCE = "sourcing the setup file of a ROS 2 installation (source /opt/ros/.../setup.bash)"


@dataclass(frozen=True)
class Ros2Config:
    """Topics and frames of an arm.

    Attributes:
        kind: Names this driver in a configuration file.
        frame: Base frame that target poses are expressed in.
        pose_topic: geometry_msgs/PoseStamped, the measured pose of the end effector in that frame.
        target_topic: geometry_msgs/PoseStamped, what the Cartesian controller follows.
        image_topic: sensor_msgs/Image, rgb8, bgr8, rgba8 or bgra8.
        joint_topic: sensor_msgs/JointState, has the gripper's joint.
        gripper_joint: Its name.
        gripper_action: control_msgs/GripperCommand, what moves it.
        gripper_open: Position of the joint when open.
        gripper_closed: When closed.
        gripper_effort: Largest [N or Nm].
        width: Of an image [pixels].
        height: Of an image [pixels].
        silence: Longest time between two measured poses, or joint states, before the arm counts as lost [s].
        rate: Control rate of the model that will drive it [Hz].

    Raises:
        ValueError: If the gripper's positions are equal or the silence is not positive.
    """

    makes: ClassVar = "envs.arms.drivers.ros2:Ros2Arm"
    kind: Literal["ros2"] = "ros2"
    frame: str = "base_link"
    pose_topic: str = "/cartesian_motion_controller/current_pose"
    target_topic: str = "/target_frame"
    image_topic: str = "/camera/color/image_raw"
    joint_topic: str = "/joint_states"
    gripper_joint: str = "finger_joint"
    gripper_action: str = "/gripper_controller/gripper_cmd"
    gripper_open: float = 0.0
    gripper_closed: float = 0.8
    gripper_effort: float = 20.0
    width: int = 640
    height: int = 480
    silence: float = 0.5
    rate: float = 4.0

    def __post_init__(self) -> None:
        if self.gripper_open == self.gripper_closed or self.silence <= 0:
            raise ValueError(
                f"a gripper's open and closed positions differ and the silence is positive, got {self.gripper_open}, "
                f"{self.gripper_closed}, {self.silence} s"
            )


class Ros2Arm(RealArm):
    """An arm behind ROS 2. See `RealArm`.

    Stamps of images and poses are ROS time; they are turned into this machine's monotonic clock by their age, so the
    robot's and this machine's clocks must agree (NTP or PTP). Holding publishes the measured pose as the target.
    """

    def __init__(self, config: Ros2Config | None = None) -> None:
        self.config = config or Ros2Config()
        self._images = _TopicCamera(self.config)
        super().__init__(f"ROS 2 arm on {self.config.target_topic}", self._images, self.config.rate)
        self._rclpy: Any = None
        self._context: Any = None
        self._node: Any = None
        self._executor: Any = None
        self._spinning: threading.Thread | None = None
        self._target: Any = None
        self._gripper: Any = None
        self._messages: dict[str, tuple[float, Any]] = {}  # newest of "pose" and "gripper", with its time

    def check_robot(self) -> None:
        """See `RealArm.check_robot`."""
        for module in ("rclpy", "geometry_msgs.msg", "sensor_msgs.msg", "control_msgs.action"):
            import_vendor(module, _SOURCE)

    def open_robot(self) -> None:
        """See `RealArm.open_robot`."""
        self._rclpy = import_vendor("rclpy", _SOURCE)
        for module in ("action", "executors", "node", "qos", "signals"):
            import_vendor(f"rclpy.{module}", _SOURCE)
        config, rclpy = self.config, self._rclpy
        self._messages.clear()
        self._context = rclpy.Context()
        quiet = rclpy.signals.SignalHandlerOptions.NO  # Ctrl-C is this program's to handle: it stops the arm
        rclpy.init(context=self._context, signal_handler_options=quiet)
        node = self._node = rclpy.node.Node("vjepa_planner", context=self._context)
        newest = rclpy.qos.qos_profile_sensor_data
        pose_type = import_vendor("geometry_msgs.msg", _SOURCE).PoseStamped
        sensors = import_vendor("sensor_msgs.msg", _SOURCE)
        command = import_vendor("control_msgs.action", _SOURCE).GripperCommand
        node.create_subscription(pose_type, config.pose_topic, self._keep_pose, newest)
        node.create_subscription(sensors.JointState, config.joint_topic, self._keep_gripper, newest)
        node.create_subscription(sensors.Image, config.image_topic, self._keep_image, newest)
        self._target = node.create_publisher(pose_type, config.target_topic, 1)
        self._gripper = rclpy.action.ActionClient(node, command, config.gripper_action)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._spinning = threading.Thread(target=self._executor.spin, name=f"{self.name}: topics", daemon=True)
        self._spinning.start()
        self._wait_for_everything()

    def read_pose(self) -> tuple[float, Float[np.ndarray, "6"]]:
        """See `RealArm.read_pose`."""
        measured, message = self._newest("pose")
        if message.header.frame_id.lstrip("/") != self.config.frame:
            raise ArmError(
                f"{self.name}: poses are in {message.header.frame_id!r}, the configuration says {self.config.frame!r}"
            )
        position, turn = message.pose.position, message.pose.orientation
        angles = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_euler("xyz")
        return measured, np.array([position.x, position.y, position.z, *angles])

    def write_pose(self, pose: Float[np.ndarray, "6"]) -> None:
        """See `RealArm.write_pose`."""
        if self._target.get_subscription_count() == 0:
            raise ArmError(f"{self.name}: no controller listens any more: start it, then connect again")
        message = self._target.msg_type()
        message.header.frame_id = self.config.frame
        message.header.stamp = self._node.get_clock().now().to_msg()
        position, turn = message.pose.position, message.pose.orientation
        position.x, position.y, position.z = (float(value) for value in pose[:3])
        turn.x, turn.y, turn.z, turn.w = (float(value) for value in Rotation.from_euler("xyz", pose[3:]).as_quat())
        self._target.publish(message)

    def read_gripper(self) -> float:
        """See `RealArm.read_gripper`."""
        _, position = self._newest("gripper")
        return (position - self.config.gripper_open) / (self.config.gripper_closed - self.config.gripper_open)

    def move_gripper(self, closedness: float) -> None:
        """See `RealArm.move_gripper`. A new goal replaces the one before."""
        config = self.config
        if not self._gripper.server_is_ready():
            raise ArmError(
                f"{self.name}: nothing serves {config.gripper_action} any more: start the gripper's controller"
            )
        goal = import_vendor("control_msgs.action", _SOURCE).GripperCommand.Goal()
        goal.command.position = config.gripper_open + closedness * (config.gripper_closed - config.gripper_open)
        goal.command.max_effort = config.gripper_effort
        self._gripper.send_goal_async(goal)

    def hold(self) -> None:
        """See `RealArm.hold`."""
        _, pose = self.read_pose()
        self.write_pose(pose)

    def release(self) -> None:
        """See `RealArm.release`."""
        with contextlib.ExitStack() as steps:  # each is taken, also when another fails; last first
            if self._context is not None:
                steps.callback(self._rclpy.shutdown, context=self._context)
            if self._node is not None:
                steps.callback(self._node.destroy_node)
            if self._spinning is not None:
                steps.callback(self._spinning.join, 2.0)
            if self._executor is not None:
                steps.callback(self._executor.shutdown)
        self._context = self._node = self._executor = self._spinning = None

    def _wait_for_everything(self) -> None:
        """Returns when every topic has spoken and the target has a listener; raises what is missing."""
        deadline = time.monotonic() + _FIRST_MESSAGES
        while missing := self._missing():
            if time.monotonic() > deadline:
                raise ArmError(f"{self.name}: in {_FIRST_MESSAGES} s there came {missing}: compare `ros2 topic list`")
            time.sleep(0.02)

    def _missing(self) -> str:
        config = self.config
        found = {
            f"no pose on {config.pose_topic}": "pose" in self._messages,
            f"no joint {config.gripper_joint!r} on {config.joint_topic}": "gripper" in self._messages,
            f"no listener on {config.target_topic}": self._target.get_subscription_count() > 0,
            f"no server of {config.gripper_action}": self._gripper.server_is_ready(),
        }
        return ", ".join(what for what, there in found.items() if not there)

    def _newest(self, what: str) -> tuple[float, Any]:
        if what not in self._messages:
            raise ArmError(f"{self.name} is not connected: call connect() first")
        measured, message = self._messages[what]
        age = time.monotonic() - measured
        if age > self.config.silence:
            raise ArmError(f"{self.name}: the newest {what} is {age:.1f} s old: does its driver run, do clocks agree?")
        return measured, message

    def _when(self, stamp: Any) -> float:
        """Returns a stamp of ROS time as this machine's monotonic time [s]; one without a stamp is now."""
        now = self._node.get_clock().now().nanoseconds * 1e-9
        stamped = stamp.sec + stamp.nanosec * 1e-9
        return time.monotonic() - (max(0.0, now - stamped) if stamped > 0 else 0.0)

    def _keep_pose(self, message: Any) -> None:
        self._messages["pose"] = self._when(message.header.stamp), message

    def _keep_gripper(self, message: Any) -> None:
        if self.config.gripper_joint in message.name:
            position = message.position[list(message.name).index(self.config.gripper_joint)]
            self._messages["gripper"] = self._when(message.header.stamp), position

    def _keep_image(self, message: Any) -> None:
        self._images.keep(message, self._when(message.header.stamp))


class _TopicCamera:
    """The newest image of a topic. See `envs.arms.drivers.camera.Camera`."""

    def __init__(self, config: Ros2Config) -> None:
        self.shape = (config.height, config.width, 3)
        self._topic = config.image_topic
        self._newest: tuple[Any, float] | None = None

    def keep(self, message: Any, taken: float) -> None:
        """Keeps a message with the time at which its image was taken [monotonic s]."""
        self._newest = message, taken

    def connect(self) -> None:
        """See `Camera.connect`."""
        deadline = time.monotonic() + _FIRST_MESSAGES
        while self._newest is None:
            if time.monotonic() > deadline:
                raise ArmError(f"no image came on {self._topic} within {_FIRST_MESSAGES} s: compare `ros2 topic list`")
            time.sleep(0.02)
        self.newest()

    def newest(self) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
        """See `Camera.newest`."""
        if self._newest is None:
            raise ArmError(f"no image came on {self._topic} yet: call connect() first")
        message, taken = self._newest
        if message.encoding not in _CHANNELS:
            raise ArmError(f"images on {self._topic} are {message.encoding}: publish one of {sorted(_CHANNELS)}")
        if (message.height, message.width, 3) != self.shape:
            raise ArmError(
                f"images on {self._topic} are {message.width}x{message.height}, not as the configuration says"
            )
        channels = message.step // message.width
        rows = np.frombuffer(message.data, dtype=np.uint8).reshape(message.height, message.step)
        pixels = rows[:, : message.width * channels].reshape(message.height, message.width, channels)
        return np.ascontiguousarray(pixels[..., _CHANNELS[message.encoding]]), taken

    def close(self) -> None:
        """See `Camera.close`."""
        self._newest = None
