"""rclpy of ROS 2 Jazzy: contexts, nodes, an executor that spins in a thread; topics are those of one fake arm."""

import time
from types import SimpleNamespace

from fake_robot import ROBOT


class Context:
    def __init__(self) -> None:
        self.alive = False

    def ok(self) -> bool:
        return self.alive


def init(*, context: Context, args=None, domain_id=None, signal_handler_options=None) -> None:
    from .signals import SignalHandlerOptions

    ROBOT.enter("rclpy.init")
    assert signal_handler_options is SignalHandlerOptions.NO, "rclpy would take Ctrl-C"
    if context.alive:
        raise RuntimeError("Context.init() must only be called once")
    context.alive = True


def shutdown(*, context: Context, uninstall_handlers=None) -> None:
    if not context.alive:
        raise RuntimeError("Context must be initialized before it can be shutdown")
    context.alive = False
    ROBOT.calls.append(("rclpy.shutdown",))


class Time:
    """ROS time: another clock than the monotonic one."""

    def __init__(self, nanoseconds: int) -> None:
        self.nanoseconds = nanoseconds

    def to_msg(self) -> SimpleNamespace:
        return SimpleNamespace(sec=self.nanoseconds // 10**9, nanosec=self.nanoseconds % 10**9)

    @classmethod
    def now(cls) -> "Time":
        return cls(time.time_ns())
