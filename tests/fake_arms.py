"""An arm that goes where it is sent, time that a test moves, and an arm around any other in which things go wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.arms.base import ArmError, OutOfReach, StreamingArm
from envs.simulation.arm import arm_action_spec
from envs.spec import Observation
from planner.control.executor import Executor

START = np.array([0.5, 0.0, 0.25, np.pi, 0.0, 0.0, 0.0])
CALLS = ("connect", "observe", "send", "stop", "close")
ERRORS = (ArmError, OSError, RuntimeError, ConnectionResetError, TimeoutError)


class TestClock:
    """Time that passes only while someone sleeps; an executor's set-points are sent when theirs has come.

    `now` is the true time, `offset` by how much the clock that programs read is wrong.
    """

    __test__ = False

    def __init__(self, lateness: Callable[[], float] = lambda: 0.0) -> None:
        self.now, self.offset = 100.0, 0.0
        self.broken: list[BaseException] = []
        self._lateness = lateness
        self._executor: Executor | None = None
        self._alarms: list[tuple[float, Callable[[], None]]] = []

    def monotonic(self) -> float:
        return self.now + self.offset

    def at(self, seconds: float, call: Callable[[], None]) -> None:
        """Calls something so many seconds from now."""
        self._alarms = sorted([*self._alarms, (self.now + seconds, call)], key=lambda alarm: alarm[0])

    def drive(self, executor: Executor) -> None:
        """Takes the place of the executor's thread."""
        executor.begin()
        self._executor = executor

    def sleep(self, seconds: float, /) -> None:
        end = self.now + seconds
        while self._executor is not None:
            executor, due = self._executor, self.now + max(0.0, self._executor.until_due()) + self._lateness()
            if due > end:
                break
            self._pass(due)
            self._executor = None  # a driver that sleeps within a set-point is not sent another one
            try:
                self._executor = executor if executor.tick() else None
            except Exception as error:
                self.broken.append(error)
        self._pass(max(end, self.now))

    def _pass(self, moment: float) -> None:
        while self._alarms and self._alarms[0][0] <= moment:
            due, call = self._alarms.pop(0)
            self.now = max(self.now, due)
            call()
        self.now = max(self.now, moment)


class RealTime:
    """The real clock; `now` is what this thread last read: the time that a filter counted with when it sent."""

    def __init__(self) -> None:
        self.offset = 0.0
        self._read = threading.local()
        self._timers: list[threading.Timer] = []

    @property
    def now(self) -> float:
        return getattr(self._read, "moment", None) or time.monotonic()

    def monotonic(self) -> float:
        self._read.moment = time.monotonic()
        return self._read.moment + self.offset

    def sleep(self, seconds: float, /) -> None:
        time.sleep(seconds)
        self._read.moment = time.monotonic()

    def at(self, seconds: float, call: Callable[[], None]) -> None:
        """Calls something so many seconds from now."""
        self._timers.append(threading.Timer(seconds, call))
        self._timers[-1].start()

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
            timer.join()


class FakeArm:
    """A streaming arm that is at once where it is sent. Its camera numbers its images."""

    def __init__(self, clock: Any, image_size: int = 8) -> None:
        self.action_spec = arm_action_spec()
        self.image_shape = (image_size, image_size, 3)
        self.pose = START.copy()
        self.sent: list[np.ndarray] = []
        self.stops = self.closes = self.images = 0
        self._clock = clock

    def connect(self) -> None:
        pass

    def observe(self) -> Observation:
        self.images += 1
        image = np.full(self.image_shape, self.images % 256, np.uint8)
        return Observation(image, self.pose.copy(), self._clock.monotonic())

    def send(self, set_point: np.ndarray) -> None:
        self.sent.append(np.array(set_point))
        self.pose = np.array(set_point)

    def stop(self) -> None:
        self.stops += 1

    def close(self) -> None:
        self.closes += 1


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong with a driver.

    Attributes:
        kind: A key of `FAULTS`.
        begin: When, since the start of the trial [s].
        seconds: For how long.
        call: The driver's call that fails, for "error".
        error: What is raised then.
    """

    kind: str
    begin: float
    seconds: float = 0.0
    call: str = "observe"
    error: type[Exception] = ArmError


DRIVER_FAULTS = ("frozen", "late", "dropped", "hanging", "units", "shifted", "nan", "early", "error", "slow", "reach")


@dataclass(eq=False)
class Call:
    """What reached a driver: one of `CALLS`, or "refused" for a set-point that it did not take."""

    kind: str
    moment: float
    set_point: np.ndarray | None


class FaultyArm:
    """Any streaming arm, with faults; it remembers what reached the driver and when."""

    def __init__(self, arm: StreamingArm, clock: Any, generator: Any) -> None:
        self.arm, self.action_spec, self.image_shape = arm, arm.action_spec, arm.image_shape
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.dead = False  # the program was killed: nothing more counts
        self._clock, self._generator = clock, generator
        self._begin = clock.now
        self._last: Observation | None = None

    def connect(self) -> None:
        self._enter("connect")
        self.arm.connect()

    def send(self, set_point: np.ndarray) -> None:
        refused = self._active("reach")
        call = self._enter("refused" if refused else "send", np.array(set_point))
        if self._active("slow"):
            self._clock.sleep(float(self._generator.uniform(0.0, 0.06)))
        if refused:
            raise OutOfReach("no joint angles")
        try:
            self.arm.send(set_point)
        except OutOfReach:
            call.kind = "refused"
            raise

    def stop(self) -> None:
        self._enter("stop")
        self.arm.stop()

    def close(self) -> None:
        self._enter("close")
        self.arm.close()

    def observe(self) -> Observation:
        self._enter("observe")
        if self._active("hanging"):
            self._clock.sleep(float(self._generator.uniform(0.0, 1.0)))
        last = self._last
        if last is not None and (
            self._active("frozen") or (self._active("dropped") and self._generator.random() < 0.8)
        ):
            return last
        seen = self.arm.observe()
        pose, moment = seen.pose.copy(), seen.time
        if self._active("units"):
            pose[:3] *= 1000.0
        if self._active("shifted"):
            pose[:3] += self._generator.choice([-0.3, 0.0, 0.3], 3)
            pose[5] += np.pi / 2
        if self._active("nan"):
            pose[int(self._generator.integers(7))] = np.nan
        moment += 3.0 * self._active("early") - float(self._generator.uniform(0.0, 2.0)) * self._active("late")
        self._last = Observation(seen.image, pose, moment)
        return self._last

    def _enter(self, call: str, set_point: np.ndarray | None = None) -> Call:
        entered = Call(call, self._clock.now, set_point)
        if not self.dead:
            self.calls.append(entered)
        for fault in self.faults:
            if (
                fault.kind == "error"
                and fault.call == ("send" if call == "refused" else call)
                and self._active("error", fault)
            ):
                raise fault.error(f"the driver's {call} failed")
        return entered

    def _active(self, kind: str, only: Fault | None = None) -> bool:
        now = self._clock.now - self._begin
        faults = self.faults if only is None else (only,)
        return any(fault.kind == kind and fault.begin <= now <= fault.begin + fault.seconds for fault in faults)
