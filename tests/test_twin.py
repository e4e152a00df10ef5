"""The simulated arm in real time, in this process and in one of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from background import held, wait_until

from envs.arm_choice import TwinArmConfig
from envs.arm_file import TwinTask
from envs.arms.base import ArmError, OutOfReach
from envs.arms.limits import SafetyLimits
from envs.arms.safety import SafeArm
from envs.simulation.arm import DOWN, MujocoArm, MujocoArmConfig
from envs.simulation.objects import HELD_OUT_OBJECTS
from envs.simulation.scene_config import MANIPULATION_SCENE
from envs.simulation.twin import MujocoTwin, TwinConfig
from envs.simulation.twin_process import TwinProcess
from envs.tasks.expert import lift, perform
from envs.tasks.manipulation import FrankaPushEnv, place_at_random
from planner.control.executor import Executor

PLACE = np.array([0.5, 0.0, 0.25, *DOWN, 0.0])


@pytest.fixture
def twin() -> Iterator[MujocoTwin]:
    arm = MujocoArm(MujocoArmConfig(image_size=32))
    arm.set_pose(PLACE)
    twin = MujocoTwin(arm)
    twin.connect()
    yield twin
    twin.close()


def lead(arm: SafeArm, target: np.ndarray) -> None:
    """Commands a position until the arm is there; a busy machine leaves out set-points, and simulates slower."""

    def there() -> bool:
        arm.command(target[:6], target[6], 0.25)
        return float(np.abs(arm.observe().pose - target)[:3].max()) < 2e-3

    assert wait_until(there, 30.0)


def test_observations_come_at_the_cameras_rate_with_the_time_of_the_image(twin: MujocoTwin) -> None:
    begin = time.monotonic()
    seen = {twin.observe().time: twin.observe() for _ in range(100) if time.sleep(0.005) is None}
    assert 2 <= len(seen) <= 3 + TwinConfig().camera_rate * (time.monotonic() - begin)  # one older, one on each edge
    assert all(observation.image.any() for observation in seen.values())
    asked = time.monotonic()
    assert twin.observe().time <= time.monotonic()
    assert wait_until(lambda: twin.observe().time > asked, 30.0)


def test_time_passes_by_itself_and_commands_arrive(twin: MujocoTwin) -> None:
    safe = SafeArm(twin)
    safe.observe()
    target = PLACE + np.array([0.075, 0.06, -0.05, 0, 0, 0, 1.0])
    lead(safe, target)
    begin = twin.arm.data.time
    assert wait_until(lambda: twin.arm.data.time > begin)
    assert wait_until(lambda: twin.observe().pose[6] > 0.9)


def test_a_set_point_out_of_reach_is_an_error_and_the_arm_holds(twin: MujocoTwin) -> None:
    with pytest.raises(OutOfReach, match="no joint angles"):
        twin.send(np.array([1.5, 0.0, 0.2, *DOWN, 0.0]))
    time.sleep(0.2)
    np.testing.assert_allclose(twin.observe().pose[:3], PLACE[:3], atol=2e-3)


def test_a_stop_holds_the_arm_where_it_is(twin: MujocoTwin) -> None:
    for step in range(12):  # 6 cm in 0.1 s
        twin.send(PLACE + np.array([0.005 * step, 0, 0, 0, 0, 0, 0]))
        time.sleep(0.008)
    twin.stop()
    time.sleep(0.2)
    standing = twin.observe().pose[0]
    time.sleep(0.2)
    assert PLACE[0] < standing < PLACE[0] + 0.075
    assert twin.observe().pose[0] == pytest.approx(standing, abs=1e-3)


def test_a_closed_twin_says_so_and_its_arm_is_the_callers_again(twin: MujocoTwin) -> None:
    twin.stop()
    twin.close()
    twin.close()
    with pytest.raises(ArmError, match="not connected"):
        twin.observe()
    with pytest.raises(ArmError, match="not connected"):
        twin.send(PLACE)
    assert twin.arm.render(32).any()
    twin.connect()
    assert twin.observe().image.any()


def test_an_impossible_camera_is_refused() -> None:
    with pytest.raises(ValueError, match="camera_rate"):
        TwinConfig(camera_rate=0.0)


def make_process() -> TwinProcess:
    arm = MujocoArm(MujocoArmConfig(image_size=64))
    arm.set_pose(PLACE)
    arm.set_block(0, np.array([0.6, -0.15]), 0.3)
    return TwinProcess(arm)


def children_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(child) for listed in children for child in listed.read_text().split()]


def failure_of(step: Callable[[], object]) -> str:
    """What a step fails with, once it does."""
    told: list[str] = []

    def fails() -> bool:
        try:
            step()
        except ArmError as error:
            told.append(str(error))
        return bool(told)

    assert wait_until(fails)
    return told[0]


def test_a_process_of_its_own_simulates_the_arm_as_it_was_placed_and_ends_with_close() -> None:
    twin, before, idle = make_process(), children_of(os.getpid()), held()
    for _ in range(2):  # connected again it starts afresh
        twin.connect()
        twin.connect()
        seen = twin.observe()
        np.testing.assert_allclose(seen.pose, PLACE, atol=5e-3)
        assert np.abs(seen.image.astype(int) - twin.arm.render(64)).mean() < 1.0
        safe = SafeArm(twin)
        safe.observe()
        lead(safe, PLACE + np.array([0.05, 0.04, -0.03, 0, 0, 0, 0]))
        assert len(children_of(os.getpid())) == len(before) + 1
        twin.close()
        twin.close()
        assert children_of(os.getpid()) == before
    twin.arm.close()
    assert held() == idle
    with pytest.raises(ArmError, match="not connected"):
        twin.observe()


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (signal.SIGKILL, "exit status -9"),
        pytest.param(signal.SIGSTOP, "did not answer", marks=pytest.mark.slow),
    ],
)
def test_a_process_that_dies_or_hangs_ends_the_run_with_its_reason(number: signal.Signals, says: str) -> None:
    twin, before = make_process(), set(children_of(os.getpid()))
    twin.connect()
    safe = SafeArm(twin)
    safe.observe()
    executor = Executor(safe)
    executor.start()
    (child,) = set(children_of(os.getpid())) - before
    os.kill(child, number)
    try:
        assert says in failure_of(safe.observe)
        if number == signal.SIGKILL:
            assert says in failure_of(lambda: twin.send(PLACE))
    finally:
        executor.stop("over")
        twin.close()
    assert set(children_of(os.getpid())) == before


def test_a_failed_simulation_is_named_by_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "nothing")
    twin = make_process()
    with pytest.raises(ArmError, match=r"the simulated arm \(its process\) has ended: .*MUJOCO_GL"):
        twin.connect()


def test_the_process_ends_with_a_killed_parent() -> None:
    code = """
import time
from test_twin import make_process
twin = make_process()
twin.connect()
print("connected", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"connected\n"
        (child,) = children_of(parent.pid)
        parent.kill()
    assert wait_until(lambda: not Path(f"/proc/{child}").exists())


@pytest.fixture
def holding_arm() -> MujocoArm:
    """An arm with a cup in its hand."""
    arm = MujocoArm(MujocoArmConfig(MANIPULATION_SCENE, image_size=64))
    place_at_random(arm, [HELD_OUT_OBJECTS[0]], np.random.default_rng(0))
    perform(arm, lift, np.array([0.5, 0.0, 0.15]))
    assert arm.held()
    return arm


def test_an_object_stays_in_the_twins_hand_until_it_opens(holding_arm: MujocoArm) -> None:
    twin = MujocoTwin(holding_arm)
    twin.connect()
    safe = SafeArm(twin, SafetyLimits(max_speed=0.1, max_acceleration=1.0))  # what is late jerks, and a cup slips
    target = safe.observe().pose + np.array([0.0, 0.06, 0.05, 0, 0, 0, 0])
    lead(safe, target)
    twin.close()  # while it is connected, the arm and its contacts belong to the twin's thread
    assert holding_arm.held() is not None
    twin.connect()
    target[6] = 0.0

    def open_hand() -> bool:
        safe.command(target[:6], target[6], 0.25)
        return safe.observe().pose[6] < 0.1

    opened = wait_until(open_hand, 30.0)
    twin.close()
    assert opened and not holding_arm.gripping()


def test_the_process_shows_the_object_that_was_placed(holding_arm: MujocoArm) -> None:
    twin = TwinProcess(holding_arm)
    twin.connect()
    seen, expected = twin.observe(), holding_arm.observe()
    twin.close()
    assert np.abs(seen.image.astype(int) - expected.image).mean() < 1.0


def test_what_came_of_a_run_is_told_by_how_everything_stood_at_its_images() -> None:
    task = TwinTask(TwinArmConfig(task="FrankaPush-v0", image_size=32))
    (goal,) = task.begin(3)
    arm, env = task.driver.arm, task._env
    assert isinstance(env, FrankaPushEnv)
    far = float(np.linalg.norm(arm.objects[0].position[:2] - env.goal_position[:2]))
    task.driver.connect()
    seen = [task.driver.observe()]
    lead(SafeArm(task.driver), seen[0].pose + np.array([0.02, 0.02, 0.03, 0, 0, 0, 0]))
    seen.append(task.driver.observe())
    assert task.driver.moments == []  # nothing is told while it runs
    task.driver.close()
    (first, done), (last, _) = task.judge(seen)
    assert first == pytest.approx(far, abs=2e-3) and last == pytest.approx(far, abs=2e-3) and not done
    arm.restore(min(task.driver.moments, key=lambda moment: abs(moment.time - seen[1].time)).state)
    np.testing.assert_allclose(arm.pose(), seen[1].pose, atol=2e-3)
    assert goal.image.shape == (32, 32, 3)


def test_a_task_gives_the_twin_all_its_goals_or_one_photograph() -> None:
    every, one = (TwinTask(TwinArmConfig(task="FrankaPickPlace-v0", goals=goals)) for goals in ("all", "last"))
    listed, (last,) = every.begin(5), one.begin(5)
    assert len(listed) == 3 and (last.image == listed[-1].image).all() and last.image.shape == (168, 168, 3)
    assert one.judge([one.driver.arm.observe()]) == []  # of a run that was not, nothing is known
    with pytest.raises(ValueError, match=r"the twin has no task 'FrankaFly-v0'"):
        TwinTask(TwinArmConfig(task="FrankaFly-v0"))
