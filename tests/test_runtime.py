"""Plans are followed at a fixed rate while others are made; what is late or fails never blocks the arm."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from envs.arms.base import ArmError
from envs.arms.safety import SafeArm
from envs.pose import compose, difference
from envs.simulation.arm import MujocoArm, MujocoArmConfig
from envs.simulation.twin import MujocoTwin
from envs.spec import ActionSpec, Goal, Observation
from planner.control.controller import Controller
from planner.control.executor import Executor, ExecutorConfig, Jitter, TimedPlan
from planner.control.plan_thread import PlanError, PlanThread, first_action
from planner.control.runtime import Runtime, RuntimeConfig
from planner.control.signals import stopping_on_signals
from planner.search.cem import CEM
from tests.fake_arms import START, FakeArm, TestClock
from world_model.toy import TOY_ACTION_SPEC, ToyWorldModel

STEP = np.array([0.03, 0.02, -0.01, 0.0, 0.0, 0.05, 0.1])


class SlowPlans:
    """Always plans the same step, in a given time; keeps what it was asked."""

    def __init__(self, clock: TestClock, seconds: float = 0.15) -> None:
        self.asked: list[tuple[float, np.ndarray, np.ndarray | None]] = []
        self.seconds, self.failures = seconds, 0
        self.given: list[float] = []  # times to plan in
        self._clock = clock

    def ask(self, observation, committed, seconds) -> None:
        self.asked.append((self._clock.now, observation.pose, committed))
        self.given.append(seconds)

    def answer(self) -> dict[str, Any] | None:
        if self._clock.now - self.asked[-1][0] < self.seconds:
            return None
        if self.failures:
            self.failures -= 1
            raise PlanError("the server is gone")
        return {"actions": np.stack([STEP, np.zeros(7)]), "cost": 2.0, "seconds": self.seconds}


def prepare(mode: Any = "blocking", deadman: Callable[[], bool] | None = None, **settings: Any):
    """Returns a runtime in simulated time, its arm, its plans and the clock."""
    clock = TestClock()
    arm, plans = FakeArm(clock), SlowPlans(clock)
    runtime = Runtime(SafeArm(arm, None, clock), plans, RuntimeConfig(mode, **settings), deadman, clock)
    runtime.executor.start = lambda: clock.drive(runtime.executor)
    return runtime, arm, plans, clock


def assert_close(pose: np.ndarray | None, expected: np.ndarray) -> None:
    assert pose is not None
    np.testing.assert_allclose(difference(pose, expected), 0.0, atol=1e-4)


def test_blocking_plans_from_the_measured_pose_of_a_standing_arm() -> None:
    runtime, arm, plans, _ = prepare()
    with runtime:
        steps = list(runtime.run(3))
    assert [committed for *_, committed in plans.asked] == [None] * 3
    pose = START
    for step, (_, asked, _) in zip(steps, plans.asked, strict=False):
        assert_close(asked, pose)
        pose = compose(pose, STEP)
        assert_close(step.commanded, pose)
        assert_close(step.sent, pose)
        assert step.cost == 2.0 and step.action is not None
    assert steps[3].action is None and len(steps) == 4
    assert_close(arm.pose, pose)
    assert (arm.closes, runtime.reason) == (1, "the run is over")


def test_overlapping_plans_from_where_the_arm_will_be_and_never_stands_still_for_planning() -> None:
    runtime, arm, plans, clock = prepare("overlapping")
    with runtime:
        begin, steps = 0.0, []
        for step in runtime.run(4):
            begin = begin or clock.now
            steps.append(step)
        assert clock.now - begin < 3 * 0.25 + 0.15, "three more actions took three periods and the last look"
    assert plans.asked[0][2] is None
    for (_, pose, committed), step in zip(plans.asked[1:], steps, strict=False):
        assert committed is not None and step.commanded is not None
        assert_close(compose(pose, committed[0]), step.commanded)
    goal = START
    for _ in range(4):
        goal = compose(goal, STEP)
    assert_close(arm.pose, goal)


def test_a_plan_that_is_late_leaves_the_arm_holding_at_its_last_target_with_set_points_at_full_rate() -> None:
    runtime, arm, plans, clock = prepare("overlapping")
    with runtime:
        for index, _ in enumerate(runtime.run(3)):
            plans.seconds = 1.0
            if index == 0:
                count, moment = len(arm.sent), clock.now
    sent = np.array(arm.sent)
    assert len(sent) - count == pytest.approx(125 * (clock.now - moment), abs=3)
    standing = np.linalg.norm(np.diff(sent[:, :3], axis=0), axis=1) < 1e-9
    assert standing.sum() > 100
    assert_close(arm.pose, compose(compose(compose(START, STEP), STEP), STEP))


def test_after_failed_plans_the_arm_goes_on_from_where_it_stands() -> None:
    for mode in ("blocking", "overlapping"):
        runtime, arm, plans, _ = prepare(mode)
        plans.failures = 2
        with runtime:
            assert len(list(runtime.run(2))) == 3
        assert_close(arm.pose, compose(compose(START, STEP), STEP))


def test_too_many_failed_or_late_plans_end_the_run_with_the_reason() -> None:
    runtime, arm, plans, _ = prepare()
    plans.failures = 3
    with runtime:
        assert list(runtime.run(2)) == []
    assert runtime.reason == "3 plans in a row failed, the last: the server is gone"
    runtime, arm, plans, _ = prepare(planning_time=0.1)
    with runtime:
        assert list(runtime.run(2)) == []
    assert runtime.reason is not None and "none within 0.1 s" in runtime.reason
    assert not arm.sent and arm.stops and arm.closes


def test_the_planner_is_told_to_answer_before_its_answer_would_be_too_late_or_too_old() -> None:
    for planning_time, plan_age, limit in ((1.0, 2.0, 1.0), (5.0, 0.5, 0.5)):
        executor = ExecutorConfig(plan_age=plan_age)
        runtime, _, plans, _ = prepare("overlapping", planning_time=planning_time, executor=executor)
        with runtime:
            list(runtime.run(3))
        assert len(plans.given) == 3 and all(0.6 * limit < seconds < limit for seconds in plans.given)


def test_what_is_commanded_outside_of_the_workspace_is_logged_with_the_reason(caplog) -> None:
    runtime, arm, _, _ = prepare()
    caplog.set_level("INFO")
    runtime._arm.limits = replace(runtime._arm.limits, workspace_high=(0.52, 0.32, 0.48))
    with runtime:
        step, *_ = runtime.run(1)
    assert step.commanded is not None and step.sent is not None and step.commanded[0] > 0.52 >= step.sent[0]
    assert any("outside of the workspace" in reason for reason in step.reasons)
    assert "followed is" in caplog.text and arm.pose[0] <= 0.52


def test_a_plan_made_from_an_old_image_is_not_followed() -> None:
    runtime, arm, _, _ = prepare(executor=ExecutorConfig(plan_age=0.1))
    with runtime:
        assert list(runtime.run(2)) == []
    assert runtime.reason is not None and "executor.plan_age" in runtime.reason and not arm.sent


def test_a_camera_that_freezes_ends_the_run() -> None:
    runtime, arm, _, _ = prepare()
    with runtime:
        for _ in runtime.run(5):
            seen = arm.observe()
            arm.observe = lambda seen=seen: seen
    assert runtime.reason is not None and "no new image" in runtime.reason
    assert_close(arm.pose, compose(START, STEP))


def test_letting_the_deadman_key_go_holds_the_arm_and_pressing_it_again_plans_anew() -> None:
    held, moments = [True], []
    for mode in ("blocking", "overlapping"):
        runtime, arm, plans, clock = prepare(mode, lambda: held[0])
        held[0] = True

        def let_go(clock: TestClock = clock, arm: FakeArm = arm) -> None:
            held[0] = False
            clock.at(0.2, lambda: moments.append(arm.pose))
            clock.at(1.0, lambda: moments.append(arm.pose))
            clock.at(1.01, lambda: held.__setitem__(0, True))

        clock.at(0.4, let_go)
        with runtime:
            assert len(list(runtime.run(3))) == 4
        assert runtime.executor.interruptions > 0
        np.testing.assert_array_equal(moments[-2], moments[-1])
        assert any(committed is None and now > 101.4 for now, _, committed in plans.asked)


def test_a_plan_from_before_the_deadman_key_was_let_go_is_not_begun_after_it() -> None:
    held = [True]
    runtime, arm, plans, clock = prepare("overlapping", lambda: held[0])
    stood = []

    def let_go() -> None:
        held[0] = False
        clock.at(0.02, lambda: held.__setitem__(0, True))  # the next plan is published already, and begins soon
        clock.at(0.05, lambda: stood.append(arm.pose))

    clock.at(0.15 + 0.1 + 0.22, let_go)
    with runtime:
        list(runtime.run(3))
    assert runtime.executor.interruptions == 1
    standing = [pose for _, pose, committed in plans.asked if committed is None]
    assert len(standing) == 2
    assert_close(standing[1], stood[0])


def test_a_request_to_stop_is_the_very_next_set_point() -> None:
    runtime, arm, _, clock = prepare()
    sent: list[int] = []

    def stop() -> None:
        sent.append(len(arm.sent))
        runtime.stop("SIGTERM")

    clock.at(0.4, stop)
    with runtime:
        assert list(runtime.run(5)) == []
    assert runtime.reason == "SIGTERM" and len(arm.sent) == sent[0] and arm.stops == 1


@pytest.mark.parametrize("call", ["connect", "observe", "send"])
def test_a_driver_that_fails_ends_the_run_stopped_and_released(call: str) -> None:
    runtime, arm, _, clock = prepare()

    def fail(*_: object) -> None:
        raise ArmError("the cable is out")

    if call == "connect":
        arm.connect = fail
        with pytest.raises(ArmError), runtime:
            pass
    else:
        clock.at(0.5, lambda: setattr(arm, call, fail))
        with runtime:
            list(runtime.run(5))
        assert runtime.reason == "the cable is out"
    assert arm.stops == 1 and arm.closes == 1


def test_a_program_that_fails_between_steps_leaves_the_arm_stopped_and_released() -> None:
    runtime, arm, _, _ = prepare()
    with pytest.raises(KeyError), runtime:
        for _ in runtime.run(5):
            raise KeyError
    assert arm.stops and arm.closes and runtime.reason == "the program failed: KeyError"


def test_an_arm_of_other_actions_is_refused() -> None:
    arm = FakeArm(time)
    arm.action_spec = ActionSpec(("joint",), ("rad",), (-0.1,), (0.1,), "joints", 4.0)
    with pytest.raises(ValueError, match="joint"):
        Runtime(SafeArm(arm), SlowPlans(TestClock()))


def follow(plans: list[TimedPlan], seconds: float, ramp: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the times (n,) and positions (n, 3) of an executor's set-points."""
    clock = TestClock()
    arm = FakeArm(clock)
    safe = SafeArm(arm, None, clock)
    safe.observe()
    executor, times = Executor(safe, ExecutorConfig(ramp=ramp), clock=clock), []
    send = arm.send
    arm.send = lambda set_point: (times.append(clock.now), send(set_point))[1]
    clock.drive(executor)
    for plan in plans:
        executor.publish(plan)
    while clock.now < 100.0 + seconds:
        safe.observe()
        clock.sleep(0.05)
    return np.array(times), np.array(arm.sent)[:, :3]


def test_targets_are_reached_in_their_time_one_after_another() -> None:
    targets = START + np.outer([1, 2, 3], [0.04, 0, 0, 0, 0, 0, 0])
    for ramp, near in ((0.5, 1e-6), (1.0, 4e-3)):
        times, positions = follow([TimedPlan(100.1, targets, 0.25, 100.0)], 1.5, ramp)
        assert np.all(positions[times < 100.1, 0] == START[0])
        for index, target in enumerate(targets):
            moment = 100.1 + 0.25 * (index + 1)
            assert positions[times <= moment, 0][-1] == pytest.approx(target[0], abs=near)
        assert positions[-1, 0] == pytest.approx(targets[-1, 0], abs=1e-6)


def test_the_newest_plan_takes_over_when_its_start_comes() -> None:
    first = TimedPlan(100.0, START[None] + [0.06, 0, 0, 0, 0, 0, 0], 0.25, 100.0)
    second = TimedPlan(100.25, START[None] + [0.06, 0.06, 0, 0, 0, 0, 0], 0.25, 100.0)
    times, positions = follow([first, second], 1.0, 1.0)
    before = times < 100.25
    assert np.ptp(positions[before, 1]) == 0.0 and positions[before, 0][-1] > 0.55
    np.testing.assert_allclose(positions[-1], [0.56, 0.06, 0.25], atol=1e-6)


@pytest.mark.parametrize(
    "change", [{"targets": np.zeros((0, 7))}, {"targets": np.full((1, 7), np.nan)}, {"period": 0.0}]
)
def test_a_plan_of_nonsense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="plan"):
        replace(TimedPlan(0.0, START[None], 0.25, 0.0), **change)


@pytest.mark.parametrize(
    "answer",
    [{}, {"actions": [1.0]}, {"actions": np.full((1, 7), np.nan)}, {"actions": np.zeros((1, 7)), "cost": "a"}],
)
def test_an_answer_that_is_no_plan_is_an_error(answer: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="plan"):
        first_action(answer, FakeArm(time).action_spec)


def test_lateness_is_counted_with_the_set_points_that_were_missed() -> None:
    clock = TestClock()
    safe = SafeArm(FakeArm(clock), None, clock)
    executor = Executor(safe, clock=clock)
    executor.begin()
    for late in (0.0, 0.002, 0.030):
        clock.sleep(max(0.0, executor.until_due()) + late)
        executor.tick()
    assert len(executor.jitter) == 3 + 3 and executor.jitter.worst == pytest.approx(0.030)
    assert executor.jitter.share_within(0.005) == pytest.approx(2 / 6)
    jitter = Jitter()
    for late in np.arange(1000) * 1e-5:
        jitter.add(late)
    assert jitter.quantile(0.5) == pytest.approx(0.005, abs=2e-4)
    assert jitter.share_within(0.005) == pytest.approx(0.5, abs=0.02)


class Source:
    """A plan source that waits for a test, or fails."""

    def __init__(self) -> None:
        self.go, self.asked, self.deadlines = threading.Event(), [], []
        self.error: OSError | None = None

    def infer(self, observation, committed=None, deadline=None):
        self.asked.append(observation)
        self.deadlines.append(deadline)
        assert self.go.wait(10.0)
        if self.error is not None:
            raise self.error
        return {"actions": [STEP], "about": observation}


def answer_of(thread: PlanThread):
    while (answer := thread.answer()) is None:
        time.sleep(0.001)
    return answer


def test_nobody_waits_for_the_plan_thread_and_only_the_newest_question_is_answered() -> None:
    source = Source()
    thread = PlanThread(source)
    first: Any = "first"
    second: Any = "second"
    thread.ask(first, None, 10.0)
    while not source.asked:
        time.sleep(0.001)
    thread.ask(second, None, 10.0)
    assert thread.answer() is None
    source.go.set()
    assert answer_of(thread)["about"] == "second"
    assert all(0.0 < deadline <= 10.0 for deadline in source.deadlines), "what is left of the question's time"
    thread.ask(first, None, 0.0)
    with pytest.raises(PlanError, match="busy"):
        answer_of(thread)
    source.error = ConnectionResetError("gone")
    thread.ask(first, None, 10.0)
    with pytest.raises(PlanError, match="gone"):
        answer_of(thread)
    thread.close()


def test_a_run_in_real_time_with_threads_moves_the_arm_and_ends_on_a_signal() -> None:
    arm, source = FakeArm(time), Source()
    source.go.set()
    runtime = Runtime(SafeArm(arm), PlanThread(source), RuntimeConfig("overlapping"))
    before = signal.getsignal(signal.SIGINT)
    with runtime, stopping_on_signals(runtime.stop):
        for index, _ in enumerate(runtime.run(20)):
            if index == 1:
                signal.raise_signal(signal.SIGINT)
    assert runtime.reason == "SIGINT" and arm.closes == 1
    assert signal.getsignal(signal.SIGINT) is before
    assert np.linalg.norm(arm.pose[:3] - START[:3]) > 0.05


def test_the_arms_side_imports_no_torch() -> None:
    code = "import planner.control.runtime, planner.control.signals, sys; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], check=True)


def controller_to(goal: np.ndarray) -> Controller:
    controller = Controller(ToyWorldModel(), CEM(), TOY_ACTION_SPEC)
    controller.reset([Goal(np.zeros((8, 8, 3), np.uint8), goal)], seed=0)
    return controller


def test_a_plan_after_committed_actions_is_the_one_from_where_they_lead() -> None:
    seen = Observation(np.zeros((8, 8, 3), np.uint8), START, 0.0)
    committed = np.stack([STEP, 0.5 * STEP])
    there = replace(seen, pose=compose(compose(START, committed[0]), committed[1]))
    goal = START + np.array([0.1, -0.03, 0.05, 0, 0, 0, 0])
    ahead, _ = controller_to(goal).step(seen, committed)
    standing, _ = controller_to(goal).step(there)
    np.testing.assert_allclose(ahead, standing, atol=1e-5)
    assert np.abs(ahead - controller_to(goal).step(seen)[0]).max() > 0.01
    for bad in (STEP, np.zeros((0, 7)), np.full((1, 7), np.nan), np.zeros((1, 6))):
        with pytest.raises(ValueError, match="committed"):
            controller_to(goal).step(seen, bad)


class Here:
    """A controller in this process as a plan source."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller

    def infer(self, observation, committed=None, deadline=None):
        action, plan = self.controller.step(observation, committed)
        return {"actions": action[None], "cost": plan.cost, "seconds": 0.0}


@pytest.mark.parametrize("mode", [pytest.param("blocking", marks=pytest.mark.slow), "overlapping"])
def test_the_simulated_arm_reaches_a_goal_in_real_time(mode: Any) -> None:
    arm = MujocoArm(MujocoArmConfig(image_size=16))
    arm.set_pose(START)
    goal = START + np.array([0.12, -0.1, -0.06, 0, 0, 0, 0])
    runtime = Runtime(SafeArm(MujocoTwin(arm)), PlanThread(Here(controller_to(goal))), RuntimeConfig(mode))
    with runtime:
        steps = list(runtime.run(20, lambda step: bool(np.linalg.norm(step.observation.pose[:3] - goal[:3]) < 0.01)))
    assert runtime.reason == "the run is over"
    assert np.linalg.norm(steps[-1].observation.pose[:3] - goal[:3]) < 0.02, "the last step may have been under way"
