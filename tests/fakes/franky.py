"""franky 2.0: Robot, Gripper, CartesianImpedanceTracker, Affine, and the exceptions that libfranka raises."""

import builtins
import enum
import threading

import numpy as np
from fake_robot import ROBOT
from scipy.spatial.transform import Rotation

MAX_WIDTH = 0.08


class Exception(builtins.Exception):
    """franka::Exception: derives from Python's Exception, not from RuntimeError."""


class ControlException(Exception): ...


class CommandException(Exception): ...


class NetworkException(Exception): ...


class GripperException(builtins.Exception): ...


class InvalidMotionTypeException(builtins.Exception): ...


class TorqueSignalTimeoutException(builtins.Exception): ...


class RealtimeConfig(enum.Enum):
    Enforce = 0
    Ignore = 1


class RobotMode(enum.Enum):
    Other, Idle, Move, Guiding, Reflex, UserStopped, AutomaticErrorRecovery = range(7)


class Affine:
    def __init__(self, translation=(0, 0, 0), quaternion=(0, 0, 0, 1)) -> None:
        self.translation = np.asarray(translation, dtype=float)
        self.quaternion = np.asarray(quaternion, dtype=float)  # x, y, z, w
        assert self.translation.shape == (3,) and self.quaternion.shape == (4,)


class RobotPose:
    def __init__(self, end_effector_pose: Affine, elbow_state=None) -> None:
        self.end_effector_pose = end_effector_pose
        self.elbow_state = elbow_state


class RobotState:
    def __init__(self) -> None:
        self.robot_mode = ROBOT.state.get("mode", RobotMode.Idle)
        self.last_motion_errors = ROBOT.state.get("errors", "[]")


class Robot:
    def __init__(self, fci_hostname: str, relative_dynamics_factor=1.0, default_torque_threshold: float = 20.0,
                 default_force_threshold: float = 30.0, controller_mode=None,
                 realtime_config: RealtimeConfig = RealtimeConfig.Enforce) -> None:  # fmt: skip
        ROBOT.enter("Robot")
        assert isinstance(realtime_config, RealtimeConfig)
        self.in_control = False
        ROBOT.state["realtime"] = realtime_config

    @property
    def current_pose(self) -> RobotPose:
        ROBOT.enter("current_pose")
        ROBOT.advance()
        return RobotPose(Affine(ROBOT.position, ROBOT.rotation.as_quat()))

    @property
    def state(self) -> RobotState:
        ROBOT.enter("state")
        return RobotState()

    @property
    def has_errors(self) -> bool:
        return "errors" in ROBOT.state

    @property
    def is_in_control(self) -> bool:
        return self.in_control and "errors" not in ROBOT.state

    def set_ee(self, NE_T_EE: list[float]) -> None:
        assert len(NE_T_EE) == 16
        ROBOT.state["NE_T_EE"] = NE_T_EE

    def recover_from_errors(self) -> bool:
        raise AssertionError("errors are cleared by a person")


class CartesianImpedanceTracker:
    def __init__(self, robot: Robot, *, translational_stiffness=None, rotational_stiffness=None, damping=None,
                 gains=None, max_delta_tau: float = 1.0, period=None) -> None:  # fmt: skip
        ROBOT.enter("tracker", translational_stiffness, rotational_stiffness)
        self._robot = robot
        self._robot.in_control = True

    def set_target(self, pose: Affine, twist=None, acceleration=None) -> None:
        ROBOT.enter("set_target", pose.translation)
        if self._robot.in_control:  # nothing follows a target once the controller was stopped
            ROBOT.aim(pose.translation, Rotation.from_quat(pose.quaternion))

    @property
    def is_running(self) -> bool:
        return self._robot.is_in_control

    def stop(self, stop_motion=None) -> None:
        ROBOT.enter("tracker.stop", threading.current_thread().name)
        ROBOT.freeze()
        if not self._robot.is_in_control:
            raise ControlException('libfranka: Move command aborted: motion aborted by reflex! ["cartesian_reflex"]')
        self._robot.in_control = False


class Gripper:
    def __init__(self, fci_hostname: str) -> None:
        ROBOT.enter("Gripper")

    @property
    def width(self) -> float:
        ROBOT.enter("width")
        ROBOT.advance()
        return MAX_WIDTH * (1.0 - ROBOT.closedness)

    @property
    def max_width(self) -> float:
        return ROBOT.state.get("max_width", MAX_WIDTH)

    def move(self, width: float, speed: float) -> bool:
        ROBOT.enter("gripper", "move", width)
        ROBOT.aim_gripper(1.0 - width / MAX_WIDTH)
        return True

    def grasp(self, width: float, speed: float, force: float, epsilon_inner: float = 0.005,
              epsilon_outer: float = 0.005) -> bool:  # fmt: skip
        ROBOT.enter("gripper", "grasp", width)
        ROBOT.aim_gripper(1.0 - width / MAX_WIDTH)
        return False
