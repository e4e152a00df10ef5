"""Where the trials of test_faults.py take place: over each backend's fake, whose own side is judged as well.

Drivers that run in this process do so in simulated time (`tests.turns`) with all of their threads. What needs another
process, a socket's other end or physics runs in real time.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from background import running
from scipy.spatial.transform import Rotation
from vendor_arms import library, make_arm, robot

import envs.arms.drivers.camera
import envs.arms.drivers.franka
import envs.arms.drivers.history
import envs.arms.drivers.lerobot
import envs.arms.drivers.real
import envs.arms.drivers.ros2
import envs.arms.drivers.ur
import planner.control.executor
from envs.arms.base import ArmError, StreamingArm
from envs.arms.drivers import lerobot_child
from envs.arms.drivers.kinematics import Kinematics
from envs.arms.limits import SafetyLimits
from envs.arms.remote.arm import RemoteArm
from envs.arms.remote.arm_server import ArmServer
from envs.arms.remote.follower import FollowerConfig
from envs.arms.remote.listen import ListenConfig
from envs.arms.safety import SafeArm
from envs.simulation.arm import MujocoArm, MujocoArmConfig
from envs.simulation.twin import MujocoTwin
from tests.fake_arms import START, FakeArm, FaultyArm, RealTime
from tests.turns import Turns

LIMITS = SafetyLimits((0.44, -0.06, 0.19), (0.56, 0.06, 0.31), max_tilt=0.2, max_speed=0.8, hold_limit=25)
"""So narrow that random actions run into each of them."""

DRIVERS = (
    envs.arms.drivers.real,
    envs.arms.drivers.camera,
    envs.arms.drivers.history,
    envs.arms.drivers.franka,
    envs.arms.drivers.ur,
    envs.arms.drivers.lerobot,
    envs.arms.drivers.ros2,
    planner.control.executor,
)
FAKES = ("cv2", "rtde_control", "rclpy", "rclpy.executors", "lerobot.robots.so_follower")


@dataclass(frozen=True)
class Told:
    """What a vendor's fake was told, in our units: to "go" to a place, to "hold" at one or where it is.

    "held" and "released" say that the driver was asked to, whatever the robot made of it.
    """

    kind: str
    moment: float
    position: Any = None  # (3,) [m]
    rotation: Rotation | None = None

    def is_at(self, set_point: np.ndarray) -> bool:
        return bool(np.abs(self.position - set_point[:3]).max() < 1e-6)


@dataclass
class Vendor:
    """What a vendor's fake was told.

    Attributes:
        exact: Whether it is told set-points as they are, not joint angles near them, or where the arm went instead.
        events: In order.
        grips: Closedness that was asked for.
    """

    exact: bool
    events: list[Told] = field(default_factory=list)
    grips: list[float] = field(default_factory=list)


@dataclass
class Stage:
    """Where a trial takes place.

    Attributes:
        clock: Everybody's.
        judged: Around the driver whose commands are judged.
        arm: What the runtime drives.
        faults: What else may go wrong here, by name.
        vendor: What the vendor's fake was told; None where there is none.
        limits: Of the safety filter.
        slack: How exactly the fake tells where it was sent [m].
        slack_angle: The same for its tilt [rad]; None for the same number.
        left: Threads that were not over when all was closed.
        broken: Errors that ended a thread.
    """

    clock: Any
    judged: FaultyArm
    arm: StreamingArm
    faults: dict[str, Callable[[], None]] = field(default_factory=dict)
    vendor: Vendor | None = None
    limits: SafetyLimits = LIMITS
    slack: float = 1e-6
    slack_angle: float | None = None
    left: list[str] = field(default_factory=list)
    broken: list[BaseException] = field(default_factory=list)


Backend = Callable[[Path, Callable[[], float], np.random.Generator], contextlib.AbstractContextManager[Stage]]
"""From a folder, how late threads are and random numbers to a stage."""


@contextlib.contextmanager
def own_fake(folder: Path, late: Callable[[], float], generator: np.random.Generator) -> Iterator[Stage]:
    clock = Turns(late)
    with simulated(clock, planner.control.executor):
        arm = FaultyArm(FakeArm(clock), clock, generator)
        stage = Stage(clock, arm, arm)
        yield stage
        stage.left, stage.broken = clock.end_of_all(60.0), clock.broken


def vendor_fake(vendor: str) -> Backend:
    """Returns the backend of a driver over its vendor's fake library; needs `vendor_libraries`."""

    @contextlib.contextmanager
    def backend(folder: Path, late: Callable[[], float], generator: np.random.Generator) -> Iterator[Stage]:
        clock, fakes = Turns(late), [library(name) for name in FAKES]
        vars(robot()).clear()
        robot().__init__()
        library("fake_robot").time = SimpleNamespace(monotonic=lambda: clock.now)  # no clock that jumps moves a robot
        robot().updated, robot().position, robot().target_position = clock.monotonic(), START[:3], START[:3]
        with simulated(clock, *DRIVERS, *fakes), contextlib.closing(make_arm(vendor, folder)) as arms:
            driver: Any = next(arms)
            if vendor == "documented":
                type(driver).read_pose.__globals__["time"] = clock
            told = Vendor(exact=True)
            watch_robot(told, clock, driver)
            arm = FaultyArm(driver, clock, generator)
            stage = Stage(clock, arm, arm, robot_faults(vendor, clock, generator), told)
            yield stage
            driver.close()  # where a fault kept the run from doing so
            stage.left, stage.broken = clock.end_of_all(60.0), clock.broken

    return backend


@contextlib.contextmanager
def simulated(clock: Turns, *modules: ModuleType) -> Iterator[None]:
    """Makes modules run in simulated time, on one processor: threads that take turns hand over sooner there."""
    processors = os.sched_getaffinity(0)
    with contextlib.ExitStack() as patches:
        patches.callback(os.sched_setaffinity, 0, processors)
        os.sched_setaffinity(0, {max(processors)})
        for module in modules:
            for name in {"time", "threading"} & vars(module).keys():
                patches.enter_context(mock.patch.object(module, name, clock))
        yield


def watch_robot(told: Vendor, clock: Turns, driver: Any) -> None:
    """Notes what reaches the robot behind the fakes, and what for."""
    holding: set[int] = set()
    aim, freeze, aim_gripper = robot().aim, robot().freeze, robot().aim_gripper
    hold, release = driver.hold, driver.release

    def noted_aim(position, rotation: Rotation) -> None:
        kind = "hold" if threading.get_ident() in holding else "go"
        told.events.append(Told(kind, clock.now, np.array(position, dtype=float), rotation))
        aim(position, rotation)

    def noted_freeze() -> None:
        told.events.append(Told("hold", clock.now))
        freeze()

    def noted_hold() -> None:
        holding.add(threading.get_ident())
        try:
            hold()
        finally:
            holding.discard(threading.get_ident())
            told.events.append(Told("held", clock.now))

    def noted_release() -> None:
        release()
        told.events.append(Told("released", clock.now))

    def noted_grip(closedness: float) -> None:
        told.grips.append(closedness)
        aim_gripper(closedness)

    robot().aim, robot().freeze, robot().aim_gripper = noted_aim, noted_freeze, noted_grip
    driver.hold, driver.release = noted_hold, noted_release


def robot_faults(vendor: str, clock: Turns, generator: np.random.Generator) -> dict[str, Callable[[], None]]:
    """Returns what can go wrong with the robot behind the fakes, in its vendor's way."""
    franky = library("franky")
    states: dict[str, dict[str, Any]] = {
        "franka": {"mode": franky.RobotMode.UserStopped, "errors": '["cartesian_reflex"]'},
        "ur": dict.fromkeys(("protective", "emergency", "cable unplugged", "program stopped"), True),
        "ros2": {"silent": True, "frame": "world", "encoding": "mono8", "no gripper": True, "no controller": True},
        "documented": {"error_code": 31, "code": -8},
    }
    calls: dict[str, dict[str, Exception]] = {
        "franka": {
            "current_pose": franky.NetworkException("libfranka: UDP receive: Timeout"),
            "set_target": franky.ControlException("communication_constraints_violation"),
            "width": franky.NetworkException("libfranka: gripper"),
            "gripper": franky.CommandException("libfranka gripper: command failed"),
        },
        "ur": {"servoL": RuntimeError("not sent"), "getActualTCPPose": OSError(), "kickWatchdog": RuntimeError()},
        "ros2": {"publish": RuntimeError("publisher's context is invalid"), "gripper": RuntimeError()},
        "documented": {"set_servo_cartesian": OSError("broken pipe"), "gripper": OSError()},
    }

    def hang(call: str) -> None:
        robot().blocked[call] = clock.Event()
        clock.at(float(generator.uniform(0.02, 3.0)), lambda: go_on(call))

    def go_on(call: str) -> None:
        robot().blocked.pop(call).set()

    faults: dict[str, Callable[[], None]] = {
        "camera unplugged": lambda: robot().state.update({"camera unplugged": True}),
        "camera hangs": lambda: hang("camera"),
    }
    for name, value in states[vendor].items():
        faults[name] = lambda name=name, value=value: robot().state.update({name: value})
    for call, error in calls[vendor].items():
        faults[f"{call} fails"] = lambda call=call, error=error: robot().faults.update({call: error})
        if call != "gripper" or vendor != "ur":
            faults[f"{call} hangs"] = lambda call=call: hang(call)
    return faults


class ChildHere:
    """Stands for `envs.arms.drivers.child.JsonChild`: LeRobot's process without the process, behind the same JSON."""

    def __init__(self, command: list[str], name: str) -> None:
        self._name, self._robot, self._asking = name, None, False

    def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        assert not self._asking, "one thread at a time"
        self._asking, answers = True, io.StringIO()
        envs.arms.drivers.lerobot.time.sleep(0.002)
        try:
            told = json.loads(json.dumps(request))
            if self._robot is None:
                self._robot = lerobot_child._make(told)
                self._robot.connect(calibrate=False)
            goal = told.get("goal")
            lerobot_child._answer(answers, self._robot, None if goal is None else self._robot.send_action(goal))
        except ConnectionError as error:
            raise ArmError(f"{self._name} has ended: {error}") from error
        finally:
            self._asking = False
        return json.loads(answers.getvalue())

    def close(self) -> None:
        if self._robot is not None:
            self._robot.disconnect()


@contextlib.contextmanager
def lerobot_simulated(folder: Path, late: Callable[[], float], generator: np.random.Generator) -> Iterator[Stage]:
    clock, fakes = Turns(late), [library(name) for name in FAKES]
    with simulated(clock, *DRIVERS, *fakes), mock.patch.object(envs.arms.drivers.lerobot, "JsonChild", ChildHere):
        with lerobot_stage(clock, folder, generator) as stage:
            yield stage
        stage.left, stage.broken = clock.end_of_all(60.0), clock.broken


@contextlib.contextmanager
def lerobot_process(folder: Path, late: Callable[[], float], generator: np.random.Generator) -> Iterator[Stage]:
    clock = RealTime()
    with contextlib.closing(clock), lerobot_stage(clock, folder, generator) as stage:
        yield stage


@contextlib.contextmanager
def lerobot_stage(clock: Any, folder: Path, generator: np.random.Generator) -> Iterator[Stage]:
    """A LeRobot arm, around the place where its fake begins."""
    faults, goals = folder / "faults", folder / "faults.goals"
    goals.unlink(missing_ok=True)
    write(faults, "")
    with contextlib.closing(make_arm("lerobot", folder)) as arms:
        driver: Any = next(arms)
        config = driver.config
        kinematics = Kinematics(config.model, tuple(joint.joint for joint in config.joints), config.site)
        start = kinematics.forward(np.radians([0.0, -20.0, 40.0, 60.0, 0.0]))
        low, high = ((start[:3] + side * 0.03).tolist() for side in (-1, 1))
        limits = replace(LIMITS, workspace_low=tuple(low), workspace_high=tuple(high), max_tilt=1.0)
        arm, told = FaultyArm(driver, clock, generator), Vendor(exact=False)
        stage = Stage(clock, arm, arm, {}, told, limits, slack=2.5e-3)
        words = ("error",) if isinstance(clock, Turns) else ("error", "die", "hang")
        for word in words:
            stage.faults[f"process: {word}"] = partial(write, faults, word)
        yield stage
        driver.close()
    for line in goals.read_text().splitlines() if goals.exists() else ():
        moment, goal = json.loads(line)
        angles = np.radians([goal[joint.motor.removesuffix(".pos")] for joint in config.joints])
        told.events.append(Told("go", moment, kinematics.forward(angles)[:3]))
        told.grips.append(goal["gripper"] / 100.0)


def write(path: Path, words: str) -> None:
    path.write_text(words)


@contextlib.contextmanager
def twin(folder: Path, late: Callable[[], float], generator: np.random.Generator) -> Iterator[Stage]:
    clock, told = RealTime(), Vendor(exact=False)
    simulation = MujocoArm(MujocoArmConfig(image_size=16))
    simulation.set_pose(START)
    driver = MujocoTwin(simulation)
    observe = driver.observe

    def noted_observe():
        seen = observe()
        told.events.append(Told("go", seen.time, seen.pose[:3], Rotation.from_euler("xyz", seen.pose[3:6])))
        told.grips.append(seen.pose[6])
        return seen

    driver.observe = noted_observe
    with contextlib.closing(clock):
        arm = FaultyArm(driver, clock, generator)
        yield Stage(
            clock, arm, arm, {}, told, slack=8e-3, slack_angle=2.5e-2
        )  # its inverse kinematics is exact to 0.02 rad
        driver.close()


@contextlib.contextmanager
def remote(folder: Path, late: Callable[[], float], generator: np.random.Generator) -> Iterator[Stage]:
    """The arm's side is judged: its own filter and what follows set-points, whatever becomes of the client's side."""
    clock = RealTime()
    judged = FaultyArm(FakeArm(clock), clock, generator)
    served = SafeArm(judged, LIMITS, clock)
    served.connect()
    server = ArmServer(served, ListenConfig(port=0, silence=1.0), FollowerConfig(timeout=0.1, stop_after=0.3))
    with contextlib.closing(clock), running(server.run) as url:
        client = RemoteArm(url, timeout=1.0)

        def vanish() -> None:
            if client._connection is not None:
                client._connection._socket.socket.shutdown(2)

        def send(data: bytes) -> None:
            if client._connection is not None:
                client._connection._socket.send(data)

        def stall() -> None:
            with client._changed:
                time.sleep(float(generator.uniform(0.05, 0.8)))

        faults = {"client vanishes": vanish, "client stalls": stall, "client sends garbage": lambda: send(b"\xc1")}
        yield Stage(clock, judged, client, faults)
        client.close()
    served.close()
