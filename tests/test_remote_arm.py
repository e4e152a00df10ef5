"""An arm over a websocket: what goes through, and that it is held and stopped when set-points stay away."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import websockets.sync.client
from background import held, running, wait_until

from envs.arms.base import ArmError
from envs.arms.remote.arm import RemoteArm, serve_arm
from envs.arms.remote.arm_server import ArmServer
from envs.arms.remote.follower import Follower, FollowerConfig
from envs.arms.remote.listen import ListenConfig
from envs.arms.remote.messages import pack
from envs.spec import POSE_NAMES, POSE_UNITS, ActionSpec, Observation

START = np.array([0.4, 0.0, 0.3, np.pi, 0.0, 0.0, 0.0])
SPEC = ActionSpec(POSE_NAMES, POSE_UNITS, (-0.05,) * 7, (0.05,) * 7, "base", 4.0)
QUICK = FollowerConfig(timeout=0.1, stop_after=0.3)
TOKEN = "a-token-of-sixteen"


class NotedArm:
    """An arm that notes what it is told, and fails where it is told to."""

    def __init__(self) -> None:
        self.action_spec = SPEC
        self.image_shape = (6, 8, 3)
        self.sent: list[np.ndarray] = []
        self.stops = 0
        self.connected = self.closed = 0
        self.failing = ""
        self.sees = threading.Event()
        self.sees.set()
        self.age = 0.0

    def connect(self) -> None:
        self.connected += 1

    def observe(self) -> Observation:
        assert self.sees.wait(10)
        if self.failing == "observe":
            raise ArmError("the camera is gone: plug it in")
        return Observation(np.full(self.image_shape, 7, np.uint8), START, time.monotonic() - self.age)

    def send(self, set_point: np.ndarray) -> None:
        if self.failing == "send":
            raise ArmError("the arm is in a protective stop: clear it at the robot")
        self.sent.append(set_point)

    def stop(self) -> None:
        self.stops += 1
        if self.failing == "stop":
            raise ArmError("the arm does not hear")

    def close(self) -> None:
        self.closed += 1


def make_arm_server(arm: NotedArm, **settings) -> ArmServer:
    return ArmServer(arm, ListenConfig(port=0, silence=1.0, **settings), QUICK)


@pytest.fixture
def noted() -> NotedArm:
    return NotedArm()


@pytest.fixture
def url(noted: NotedArm) -> Iterator[str]:
    with running(make_arm_server(noted).run) as address:
        yield address
        noted.sees.set()


@pytest.fixture
def remote(url: str) -> Iterator[RemoteArm]:
    arm = RemoteArm(url)
    arm.connect()
    yield arm
    arm.close()


def towards(x: float) -> np.ndarray:
    return START + np.array([x, 0, 0, 0, 0, 0, 0])


def test_the_arm_is_known_before_it_is_connected(url, noted):
    arm = RemoteArm(url)
    assert (arm.action_spec, arm.image_shape) == (noted.action_spec, noted.image_shape)
    arm.connect()
    arm.connect()  # does no harm
    arm.close()
    arm.close()


def test_what_the_arm_sees_arrives_with_its_age_on_this_clock(remote, noted):
    noted.age = 0.5
    before = time.monotonic()
    seen = remote.observe()
    assert before - 0.55 < seen.time <= time.monotonic() - 0.5
    assert seen.image.shape == noted.image_shape and seen.image.min() == 7
    np.testing.assert_array_equal(seen.pose, START)


def test_set_points_reach_the_arm_in_order_and_the_last_one_always(remote, noted):
    for i in range(50):
        remote.send(towards(i / 1000))
        time.sleep(0.002)
    assert wait_until(lambda: bool(noted.sent) and noted.sent[-1][0] == towards(0.049)[0])
    xs = [set_point[0] for set_point in noted.sent]
    assert xs == sorted(xs) and len(set(xs)) > 10


def test_sending_and_stopping_do_not_wait_for_what_the_arm_sees(remote, noted):
    noted.sees.clear()
    looking = threading.Thread(target=remote.observe)
    looking.start()
    remote.send(towards(0.01))
    assert wait_until(lambda: len(noted.sent) > 0, 1)
    remote.stop()
    assert wait_until(lambda: noted.stops > 0, 1)
    noted.sees.set()
    looking.join()


def test_without_a_set_point_the_arm_is_held_then_stopped_and_stays_so(remote, noted):
    remote.send(towards(0.01))
    assert wait_until(lambda: noted.stops > 0)
    held_at = np.array(noted.sent)
    assert len(held_at) > 3  # told again and again where to stay
    np.testing.assert_array_equal(held_at, np.tile(towards(0.01), (len(held_at), 1)))
    with pytest.raises(ArmError, match=r"no set-point came for 0\.3 s"):
        for _ in range(200):
            remote.send(towards(0.02))
            time.sleep(0.01)
    assert noted.sent[-1][0] == towards(0.01)[0]
    remote.connect()
    remote.send(towards(0.03))
    assert wait_until(lambda: noted.sent[-1][0] == towards(0.03)[0])


def test_a_stopped_arm_rests_until_the_next_set_point(remote, noted):
    remote.send(towards(0.01))
    assert wait_until(lambda: len(noted.sent) > 0)
    remote.stop()
    assert wait_until(lambda: noted.stops == 1)
    sent = len(noted.sent)
    time.sleep(0.4)  # longer than the arm would be held
    assert (len(noted.sent), noted.stops) == (sent, 1)
    remote.send(towards(0.02))
    assert wait_until(lambda: noted.sent[-1][0] == towards(0.02)[0])


@pytest.mark.parametrize("how", ["closes", "vanishes", "is cut in the middle of a message", "sends garbage"])
def test_the_arm_is_stopped_when_its_client(url, noted, how):
    with websockets.sync.client.connect(url, compression=None, close_timeout=0.2) as client:
        client.recv()
        client.send(pack({"set_point": towards(0.01), "sent": time.monotonic()}))
        assert wait_until(lambda: len(noted.sent) > 0)
        match how:
            case "vanishes":
                client.socket.shutdown(socket.SHUT_RDWR)
            case "is cut in the middle of a message":
                client.socket.sendall(b"\x82\xfe\x01")
                client.socket.shutdown(socket.SHUT_RDWR)
            case "sends garbage":
                client.send(b"\xc1")
    assert wait_until(lambda: noted.stops > 0, 2)
    sent = len(noted.sent)
    time.sleep(0.1)
    assert len(noted.sent) == sent
    again = RemoteArm(url)
    again.connect()
    assert again.observe().image.shape == noted.image_shape
    again.close()


def test_a_second_client_is_refused_while_the_first_one_drives(remote, url):
    with pytest.raises(ArmError, match="503"):
        RemoteArm(url).connect()
    assert remote.observe().pose.shape == (7,)


@pytest.mark.parametrize("call", ["send", "observe", "stop"])
def test_a_failure_of_the_driver_is_told_in_its_own_words(remote, noted, call):
    noted.failing = call
    words = {"send": "protective stop", "observe": "camera is gone", "stop": "does not hear"}[call]
    with pytest.raises(ArmError, match=words):
        for _ in range(200):
            if call != "observe":
                remote.send(towards(0.01))
            if call == "stop":
                remote.stop()
            if call == "observe":
                remote.observe()
            time.sleep(0.01)
            remote._checked()
    noted.failing = ""
    if call == "observe":
        assert remote.observe().pose.shape == (7,)  # the arm was not lost
    else:
        assert noted.stops > 0


def test_an_arm_that_failed_is_connected_anew_for_the_next_client(url, noted):
    noted.failing = "observe"
    connect = noted.connect

    def cleared() -> None:
        connect()
        noted.failing = ""

    noted.connect = cleared
    remote = RemoteArm(url)
    remote.connect()
    assert noted.connected == 1 and remote.observe().pose.shape == (7,)
    remote.close()


@pytest.mark.parametrize(
    "message",
    [
        {"set_point": np.zeros(6), "sent": 1.0},
        {"set_point": np.full(7, np.nan), "sent": 1.0},
        {"set_point": np.zeros(7), "sent": float("nan")},
        {"set_point": [0.0] * 7, "sent": 1.0},
        {"set_point": np.zeros(7)},
        {"set_point": np.zeros(7), "sent": 1.0, "more": 1},
        {"command": 1},
        {},
    ],
)
def test_what_is_no_set_point_never_reaches_the_arm(url, noted, message):
    with websockets.sync.client.connect(url, compression=None, close_timeout=0.2) as client:
        client.recv()
        client.send(pack(message))
        assert isinstance(client.recv(), str)
    assert not noted.sent


def test_asking_for_more_than_can_be_seen_ends_the_connection(url, noted):
    with websockets.sync.client.connect(url, compression=None, close_timeout=0.2) as client:
        client.recv()
        noted.sees.clear()
        for _ in range(5):
            client.send(pack({"observe": True}))
        assert "asked for already" in str(client.recv())
    noted.sees.set()


def test_an_arm_off_loopback_needs_its_token(noted):
    with pytest.raises(ValueError, match="name a token"):
        serve_arm(noted, "0.0.0.0")
    with running(make_arm_server(noted, token=TOKEN).run) as url:
        with pytest.raises(ArmError, match="401"):
            RemoteArm(url).connect()
        arm = RemoteArm(url, TOKEN)
        arm.connect()
        arm.close()


def test_an_arm_that_is_not_connected_says_so():
    arm = RemoteArm("ws://127.0.0.1:9")
    arm.stop()  # nothing to do
    for call in (arm.observe, lambda: arm.send(START)):
        with pytest.raises(ArmError, match="call connect"):
            call()
    with pytest.raises(ArmError, match="nobody listens"):
        arm.connect()


def test_a_server_that_ends_stops_the_arm_and_the_client_is_told(noted):
    with running(make_arm_server(noted).run) as url:
        arm = RemoteArm(url)
        arm.connect()
        arm.send(towards(0.01))
        assert wait_until(lambda: len(noted.sent) > 0)
    assert noted.stops > 0
    with pytest.raises(ArmError):
        for _ in range(200):
            arm.send(towards(0.01))
            time.sleep(0.01)
    arm.stop()
    arm.close()


def test_clients_that_come_and_go_leave_nothing_behind(url, noted):
    def come_and_go() -> None:
        for _ in range(5):
            arm = RemoteArm(url)
            arm.connect()
            arm.send(START)
            arm.observe()
            arm.close()

    come_and_go()
    before = held()
    come_and_go()
    assert wait_until(lambda: held() <= before), f"{held()} file descriptors and threads, {before} before"


def test_set_points_that_were_long_under_way_are_not_followed(noted):
    follower = Follower(noted, QUICK)
    now = time.monotonic()
    follower.follow(towards(0.01), sent=now - 100.0)  # another clock
    assert wait_until(lambda: len(noted.sent) > 0)
    follower.follow(towards(0.02), sent=now - 100.2)  # 0.2 s later than the first
    assert wait_until(lambda: noted.stops > 0)
    follower.finish()
    assert all(set_point[0] == towards(0.01)[0] for set_point in noted.sent)


def test_a_set_point_that_overtakes_a_stop_is_undone(noted):
    sending, go_on = threading.Event(), threading.Event()

    class SlowArm(NotedArm):
        def send(self, set_point: np.ndarray) -> None:
            sending.set()
            assert go_on.wait(5)
            super().send(set_point)

    slow = SlowArm()
    follower = Follower(slow, QUICK)
    follower.follow(START, time.monotonic())
    assert sending.wait(5)
    follower.stop()
    go_on.set()
    assert wait_until(lambda: slow.stops == 2)
    follower.finish()


def test_a_follower_whose_arm_breaks_in_an_unforeseen_way_stops_it(noted, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda *_: None)
    noted.send = lambda set_point: 1 / 0
    follower = Follower(noted, QUICK)
    follower.follow(START, time.monotonic())
    assert wait_until(lambda: noted.stops > 0)
    assert follower.fault is not None


def test_impossible_times_are_refused():
    with pytest.raises(ValueError, match="at most stop_after"):
        FollowerConfig(timeout=2.0, stop_after=1.0)


def test_a_signal_closes_the_arm():
    program = """
import logging
from test_remote_arm import NotedArm, serve_arm
logging.basicConfig(level=logging.INFO)
arm = NotedArm()
serve_arm(arm, port=0)
print(arm.connected, arm.closed, flush=True)
"""
    folder = Path(__file__).parent
    paths = os.pathsep.join([str(folder), str(folder.parent)])
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    ) as run:
        assert run.stdout is not None and run.stderr is not None
        assert any("serving the arm on" in line for line in run.stderr)
        run.send_signal(signal.SIGTERM)
        assert run.stdout.read().strip() == "1 1"
        assert run.wait(10) == 0
