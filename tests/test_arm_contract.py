"""What every streaming arm promises. Run it on an arm of your own, which it moves by 1 cm and back:

ARM=my_arm.py:make_arm python -m pytest tests/test_arm_contract.py

``make_arm()`` returns the arm, not connected.
"""

import contextlib
import importlib.util
import os
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from background import running
from vendor_arms import VENDORS, make_arm, vendor_libraries  # noqa: F401

from envs.arms.base import ArmError, StreamingArm
from envs.arms.limits import SafetyLimits
from envs.arms.remote.arm import RemoteArm
from envs.arms.remote.arm_server import ArmServer
from envs.arms.remote.listen import ListenConfig
from envs.arms.safety import SafeArm
from envs.pose import difference
from envs.simulation.arm import MujocoArm, MujocoArmConfig
from envs.simulation.twin import MujocoTwin
from envs.spec import POSE_NAMES, POSE_UNITS, Observation

OWN = os.environ.get("ARM")
PATIENCE = 5.0  # seconds for something to come true


@pytest.fixture(params=[OWN] if OWN else [*VENDORS, "documented", "twin", "remote"])
def arm(request: pytest.FixtureRequest) -> Iterator[StreamingArm]:
    if OWN:
        path, _, name = OWN.partition(":")
        spec = importlib.util.spec_from_file_location("own_arm", path)
        assert spec is not None and spec.loader is not None, f"ARM names no Python file: {path}"
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        made = getattr(module, name)()
        yield made
        made.close()
        return
    if request.param == "twin":
        made = MujocoTwin(MujocoArm(MujocoArmConfig(image_size=32)))
        yield made
        made.close()
        return
    request.getfixturevalue("vendor_libraries")
    if request.param == "remote":
        yield from served(next(make_arm("franka", request.getfixturevalue("tmp_path"))))
        return
    for made in make_arm(request.param, request.getfixturevalue("tmp_path")):
        yield made
        made.close()


def served(driver: StreamingArm) -> Iterator[StreamingArm]:
    """An arm over a websocket, on its own side inside its safety filter."""
    safe = SafeArm(driver, SafetyLimits(hold_limit=10_000))  # the filter refuses what is sent after a stop, unobserved
    safe.connect()
    with contextlib.closing(safe), running(ArmServer(safe, ListenConfig(port=0)).run) as url:
        made = RemoteArm(url)
        yield made
        made.close()


@pytest.fixture
def connected(arm: StreamingArm) -> StreamingArm:
    arm.connect()
    return arm


def stream(arm: StreamingArm, set_point: np.ndarray, seconds: float) -> None:
    """Sends a set-point as the executor does, 100 times a second."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        arm.send(set_point)
        time.sleep(0.01)


def come_true(arm: StreamingArm, what: Callable[[Observation], bool], set_point: np.ndarray | None = None) -> bool:
    """Whether an observation comes that is as described, while a set-point is sent."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if set_point is not None:
            arm.send(set_point)
        if what(arm.observe()):
            return True
        time.sleep(0.01)
    return False


def distance(start: np.ndarray, end: np.ndarray) -> float:
    return float(np.linalg.norm(difference(start, end)[:3]))


def test_actions_are_differences_of_end_effector_poses(arm):
    spec = arm.action_spec
    assert spec.names == POSE_NAMES and spec.units == POSE_UNITS and spec.frame == "base"
    assert all(low <= 0 <= high for low, high in zip(spec.low, spec.high, strict=True))


def test_an_arm_that_is_not_connected_says_so(arm):
    with pytest.raises(ArmError, match="connect"):
        arm.observe()
    with pytest.raises(ArmError, match="connect"):
        arm.send(np.array([0.4, 0.0, 0.3, np.pi, 0.0, 0.0, 0.0]))
    arm.stop()  # nothing to hold, no harm
    arm.close()


def test_connecting_twice_does_no_harm_and_moves_nothing(arm):
    arm.connect()
    before = arm.observe()
    arm.connect()
    assert distance(before.pose, arm.observe().pose) < 1e-3


def test_an_observation_is_an_image_of_the_promised_size_and_a_pose_in_metres_and_radians(connected):
    seen = connected.observe()
    assert seen.image.shape == connected.image_shape and seen.image.dtype == np.uint8
    assert seen.pose.shape == (7,)
    assert np.all(np.abs(seen.pose[:3]) < 5.0) and np.all(np.abs(seen.pose[3:6]) <= np.pi + 1e-6)
    assert 0.0 <= seen.pose[6] <= 1.0


def test_observations_carry_the_monotonic_time_of_their_image(connected):
    first = connected.observe()
    assert abs(time.monotonic() - first.time) < PATIENCE
    assert come_true(connected, lambda seen: seen.time > first.time)


def test_the_arm_goes_where_it_is_sent_and_back(connected):
    start = connected.observe().pose
    away = start.copy()
    away[2] += 0.01
    assert come_true(connected, lambda seen: distance(seen.pose, away) < 3e-3, away)
    assert come_true(connected, lambda seen: distance(seen.pose, start) < 3e-3, start)


def test_the_gripper_goes_where_it_is_sent_and_back(connected):
    start = connected.observe().pose
    other = start.copy()
    other[6] = 1.0 if start[6] < 0.5 else 0.0
    assert come_true(connected, lambda seen: abs(seen.pose[6] - start[6]) > 0.3, other)
    assert come_true(connected, lambda seen: abs(seen.pose[6] - start[6]) < 0.1, start)


def test_a_set_point_that_is_none_moves_nothing(connected):
    before = connected.observe().pose
    for set_point in (np.full(7, np.nan), np.full(7, np.inf)):
        with contextlib.suppress(ValueError, ArmError):
            connected.send(set_point)
    connected.stop()
    assert distance(before, connected.observe().pose) < 1e-3


def test_stopping_holds_the_arm_from_any_thread_and_any_number_of_times(connected):
    start = connected.observe().pose
    away = start.copy()
    away[2] += 0.01
    stream(connected, away, 0.05)
    threads = [threading.Thread(target=connected.stop) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    time.sleep(0.2)  # until it has come to rest
    held = connected.observe().pose
    time.sleep(0.2)
    assert distance(held, connected.observe().pose) < 1e-3
    stream(connected, held, 0.05)
    assert come_true(connected, lambda seen: distance(seen.pose, start) < 3e-3, start)


def test_a_stop_while_another_thread_sends_ends_in_a_hold(connected):
    start, going = connected.observe().pose, threading.Event()
    going.set()

    def send() -> None:
        while going.is_set():
            connected.send(start)
            time.sleep(0.002)

    sender = threading.Thread(target=send)
    sender.start()
    for _ in range(5):
        connected.stop()
        time.sleep(0.01)
    going.clear()
    sender.join(PATIENCE)
    connected.stop()
    assert not sender.is_alive()
    assert distance(connected.observe().pose, start) < 5e-3


def test_it_is_observed_by_one_thread_while_another_sends(connected):
    start, seen, failures = connected.observe().pose, [], []

    def observe() -> None:
        try:
            seen.extend(connected.observe() for _ in range(20))
        except ArmError as error:
            failures.append(error)

    observer = threading.Thread(target=observe)
    observer.start()
    stream(connected, start, 0.2)
    observer.join(PATIENCE)
    assert len(seen) == 20 and not failures


def test_a_closed_arm_says_so_and_connects_again(connected):
    connected.close()
    connected.close()
    with pytest.raises(ArmError, match="connect"):
        connected.observe()
    with pytest.raises(ArmError, match="connect"):
        connected.send(np.array([0.4, 0.0, 0.3, np.pi, 0.0, 0.0, 0.0]))
    connected.connect()
    assert connected.observe().pose.shape == (7,)
