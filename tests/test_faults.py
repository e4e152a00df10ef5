"""Whatever fails, no command leaves its limits, the arm ends stopped and released, and the recording can be read.

Each trial is a whole run, `Runtime`, `Executor`, `SafeArm` and `Recorder` over an arm, in which random things go wrong;
`tests.fault_backends` has the arms. What reached the driver is judged here, not by `SafeArm`, and where there is a
vendor's fake, what that was told.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from vendor_arms import vendor_libraries  # noqa: F401

from envs.arms.limits import SafetyLimits
from envs.arms.safety import SafeArm
from envs.episodes.recorder import Recorder, read_recording
from planner.control.plan_thread import PlanError
from planner.control.runtime import Runtime, RuntimeConfig
from tests.fake_arms import CALLS, DRIVER_FAULTS, ERRORS, Fault, RealTime
from tests.fault_backends import (
    Backend,
    Stage,
    Vendor,
    lerobot_process,
    lerobot_simulated,
    own_fake,
    remote,
    twin,
    vendor_fake,
)

PLAN_FAULTS = ("nan", "huge", "shape", "garbage", "crash", "overrun", "never")
OTHER_FAULTS = ("clock", "signal", "kill", "deadman", "consumer")
LONGEST, GAP = 0.010, 0.020  # what an arm needs for a set-point, and after how long it stands [s]
LAG = 0.06  # how far a fake that is no exact one may be behind, which it holds from [s]


class Killed(Exception):
    """The program that reads the steps fails."""


class FaultyPlans:
    """Answers with random actions after a random time, unless something goes wrong."""

    def __init__(self, clock: Any, faults: dict[str, float], generator: np.random.Generator) -> None:
        self._clock, self._faults, self._generator = clock, faults, generator
        self._ready, self._begin = np.inf, clock.now
        self._turning = float(generator.choice([0.0, 0.0, 0.15]))  # most runs only translate: they are cheaper

    def ask(self, observation, committed, seconds) -> None:
        assert (seconds < 1.0 and committed is None) or np.all(np.isfinite(committed))
        self._ready = self._clock.now + self._generator.uniform(0.0, 0.3)
        if self._active("overrun"):
            self._ready += self._generator.uniform(0.2, 3.0)

    def answer(self):
        if self._active("crash"):
            raise PlanError("the server is gone")
        if self._clock.now < self._ready or self._active("never"):
            return None
        if self._active("garbage"):
            return [{}, {"actions": "left"}, {"actions": [[0.0] * 7], "cost": "cheap"}][self._generator.integers(3)]
        actions = self._generator.uniform(-1, 1, (2, 7)) * [*[0.075] * 3, *[self._turning] * 3, 1.0]
        if self._active("nan"):
            actions[0, self._generator.integers(7)] = self._generator.choice([np.nan, np.inf])
        if self._active("huge"):
            actions *= 10.0 ** self._generator.integers(1, 9)
        return {"actions": actions[:, :5] if self._active("shape") else actions, "cost": 1.0, "seconds": 0.1}

    def _active(self, kind: str) -> bool:
        return kind in self._faults and self._clock.now - self._begin > self._faults[kind]


@dataclass
class Trial:
    """What happened in a run."""

    stage: Stage
    runtime: Runtime
    recorder: Recorder
    faults: list[str]
    recorded: int = 0
    at_kill: tuple[bytes, int] | None = None
    error: BaseException | None = None
    jumps: list[float] = field(default_factory=list)


def run_trial(seed: int, folder: Path, backend: Backend = own_fake) -> Trial:
    """Runs an arm with up to three random faults."""
    generator = np.random.default_rng(seed)
    late = itertools.cycle(generator.choice([0.0, 0.001, 0.005, 0.03], 499, p=[0.7, 0.2, 0.08, 0.02]).tolist())
    with backend(folder, lambda: next(late), generator) as stage:
        trial = _prepare(stage, folder, generator)
        try:
            with trial.recorder, trial.runtime:
                for step in trial.runtime.run(int(generator.integers(1, 5))):
                    trial.recorder.record(step)
                    trial.recorded += 1
                    if "consumer" in trial.faults and generator.random() < 0.3:
                        raise Killed
        except (Killed, ValueError, RuntimeError, OSError) as error:
            trial.error = error
    return trial


def _prepare(stage: Stage, folder: Path, generator: np.random.Generator) -> Trial:
    """Returns a run that has not begun, with its faults arranged."""
    kinds = [f"driver {kind}" for kind in DRIVER_FAULTS] + [f"plan {kind}" for kind in PLAN_FAULTS] + [*OTHER_FAULTS]
    if isinstance(stage.clock, RealTime):
        kinds.remove("kill")  # a copy of the recording at one moment; real processes are killed further down
    chosen = [str(kind) for kind in generator.choice(kinds, generator.integers(0, 4), replace=False)]
    if stage.faults and generator.random() < 0.6:
        chosen.append(str(generator.choice(sorted(stage.faults))))
    when = {kind: float(generator.uniform(0.0, 1.5)) for kind in chosen}
    stage.judged.faults = [
        Fault(
            kind.removeprefix("driver "),
            when[kind],
            float(generator.choice([0.0, 0.1, 10.0])) if kind != "driver error" else 100.0,
            str(generator.choice(CALLS)),
            ERRORS[generator.integers(len(ERRORS))],
        )
        for kind in chosen
        if kind.startswith("driver ")
    ]
    plans = {kind.removeprefix("plan "): when[kind] for kind in chosen if kind.startswith("plan ")}
    clock = stage.clock
    deadman = (lambda: generator.random() > 0.02) if "deadman" in chosen else None
    mode = "overlapping" if generator.random() < 0.5 else "blocking"
    arm, config = SafeArm(stage.arm, stage.limits, clock), RuntimeConfig(mode, planning_time=1.0)
    runtime = Runtime(arm, FaultyPlans(clock, plans, generator), config, deadman, clock)
    trial = Trial(stage, runtime, Recorder(folder / "data", arm.action_spec), chosen)
    _set_alarms(trial, when, generator)
    return trial


def _set_alarms(trial: Trial, when: dict[str, float], generator: np.random.Generator) -> None:
    clock = trial.stage.clock

    def jump() -> None:
        clock.offset += float(generator.choice([-5.0, -0.5, -0.05, 0.05, 0.5, 5.0, 3600.0]))
        trial.jumps.append(clock.now)

    def kill() -> None:
        trial.at_kill = trial.recorder.path.read_bytes(), trial.recorded
        trial.stage.judged.dead = True
        trial.runtime.stop("killed")

    if "clock" in when:
        for _ in range(3):
            clock.at(float(generator.uniform(0.0, 2.0)), jump)
    if "signal" in when:
        clock.at(when["signal"], lambda: trial.runtime.stop("SIGINT"))
    if "kill" in when:
        clock.at(when["kill"], kill)
    for kind in when.keys() & trial.stage.faults.keys():
        clock.at(when[kind], trial.stage.faults[kind])


def check_commands(trial: Trial) -> int:
    """Returns how many set-points reached the driver, after checking that each is within the limits."""
    limits, slack = trial.stage.limits, trial.stage.slack
    sent = [(call, call.set_point) for call in trial.stage.judged.calls if call.set_point is not None]
    velocity, spin = np.zeros(3), np.zeros(3)
    before: tuple[float, np.ndarray] | None = None
    for call, set_point in sent:
        assert set_point.shape == (7,) and np.all(np.isfinite(set_point))
        assert np.all(set_point[:3] >= limits.workspace_low) and np.all(set_point[:3] <= limits.workspace_high)
        assert 0.0 <= set_point[6] <= 1.0
        if before is not None:
            velocity, spin = check_motion(call.moment - before[0], before[1], set_point, velocity, spin, trial)
        if call.kind == "send" or before is None:
            before = call.moment, set_point
        else:  # the driver did not take it: the arm stands where it was
            before, velocity, spin = (call.moment, before[1]), np.zeros(3), np.zeros(3)
    if sent:
        assert tilt([Rotation.from_euler("xyz", set_point[3:6]) for _, set_point in sent]) < limits.max_tilt + slack
    return len(sent)


def tilt(rotations: list[Rotation]) -> float:
    """Returns the largest angle to the first rotation [rad]."""
    together = Rotation.concatenate(rotations)
    return float((together * together[0].inv()).magnitude().max())


def check_motion(elapsed: float, start, end, velocity, spin, trial: Trial):
    """Returns the velocities (3,), (3,) after checking a set-point against the one before."""
    limits, way, turn = trial.stage.limits, end[:3] - start[:3], np.zeros(3)
    if not np.array_equal(start[3:6], end[3:6]):
        turn = (Rotation.from_euler("xyz", end[3:6]) * Rotation.from_euler("xyz", start[3:6]).inv()).as_rotvec()
    seconds = min(elapsed, LONGEST)
    stood = elapsed > GAP
    if stood or (trial.jumps and not np.any(way) and not np.any(turn)):  # a clock that jumped looks like a gap
        assert not np.any(way) and np.abs(turn).max() < 1e-6, "after a gap the stream begins at rest"
        return np.zeros(3), np.zeros(3)
    if seconds <= 0.0:
        assert not np.any(way) and not np.any(turn)
        return velocity, spin
    for size, now, last, speed, acceleration in (
        (way, way / seconds, velocity, limits.max_speed, limits.max_acceleration),
        (turn, turn / seconds, spin, limits.max_turn_speed, limits.max_turn_acceleration),
    ):
        assert np.linalg.norm(size) <= speed * seconds * (1 + 1e-6) + 1e-9
        change = np.linalg.norm(now - last)
        assert change <= acceleration * seconds * (1 + 1e-6) + 1e-6 / seconds, f"{change / seconds} m/s^2, rad/s^2"
    assert abs(end[6] - start[6]) <= limits.max_gripper_rate * seconds + 1e-9
    return way / seconds, turn / seconds


def check_vendor(trial: Trial, told: Vendor) -> None:
    """Checks what the vendor's fake was told: within the limits, nothing that was not sent, held in the end."""
    limits, slack = trial.stage.limits, trial.stage.slack
    goals = [event for event in told.events if event.position is not None]
    for goal in goals:
        assert np.all(goal.position >= np.subtract(limits.workspace_low, slack)), f"{goal} is outside"
        assert np.all(goal.position <= np.add(limits.workspace_high, slack)), f"{goal} is outside"
    turned = [goal.rotation for goal in goals if goal.rotation is not None]
    angle = slack if trial.stage.slack_angle is None else trial.stage.slack_angle
    assert not turned or tilt(turned) < limits.max_tilt + angle
    assert all(-1e-6 <= closedness <= 1 + 1e-6 for closedness in told.grips)
    if told.exact:
        calls = [call for call in trial.stage.judged.calls if call.kind == "send"]
        sent = iter([call.set_point for call in calls if call.set_point is not None])
        gone = [goal for goal in goals if goal.kind == "go"]
        pairs = [next((set_point for set_point in sent if goal.is_at(set_point)), None) for goal in gone]
        assert None not in [None if pair is None else 0 for pair in pairs], "it goes only where it was sent, in order"
        if gone:
            asked = Rotation.from_euler("xyz", [pair[3:6] for pair in pairs if pair is not None])
            turned = Rotation.concatenate([goal.rotation for goal in gone if goal.rotation is not None])
            assert (asked * turned.inv()).magnitude().max() < 1e-5
        kinds = [event.kind for event in told.events]
        sound = not set(trial.faults) & trial.stage.faults.keys()
        for end in ("hold", "held", "released") if sound else ("held", "released"):
            assert "go" not in kinds or end in kinds[last(kinds, "go") :], f"in the end it is {end}"
    else:
        for before, goal in itertools.pairwise(goals):
            most = limits.max_speed * (goal.moment - before.moment + LAG) + slack
            assert np.linalg.norm(goal.position - before.position) <= most, f"{before} to {goal}"


def last(kinds: list[str], kind: str) -> int:
    return max(index for index, other in enumerate(kinds) if other == kind)


def check_trial(trial: Trial) -> int:
    """Returns the number of set-points after checking everything that must hold whatever failed."""
    count = check_commands(trial)
    calls = [call.kind for call in trial.stage.judged.calls]
    if not trial.stage.judged.dead:
        assert "close" in calls and set(calls[last(calls, "close") :]) <= {"close", "stop"}
        assert "stop" in calls and "send" not in calls[last(calls, "stop") :]
        assert trial.runtime.reason, "a run ends with its reason"
        if trial.stage.vendor is not None:
            check_vendor(trial, trial.stage.vendor)
    assert not trial.stage.left, f"threads that do not end: {trial.stage.left}"
    assert not any(isinstance(error, AssertionError) for error in trial.stage.broken), trial.stage.broken
    recording = read_recording(trial.recorder.path)
    assert recording.complete and len(recording.steps) == trial.recorded
    if trial.at_kill is not None:
        content, steps = trial.at_kill
        trial.recorder.path.write_bytes(content)
        assert len(read_recording(trial.recorder.path).steps) == steps
        trial.recorder.path.write_bytes(content[:-3])
        if steps:
            assert len(read_recording(trial.recorder.path).steps) == steps - 1
    trial.recorder.path.unlink()
    return count


IN_TURNS: dict[str, tuple[Backend, int, int]] = {
    "own": (own_fake, 30, 6000),
    "franka": (vendor_fake("franka"), 4, 1100),
    "ur": (vendor_fake("ur"), 4, 1100),
    "ros2": (vendor_fake("ros2"), 4, 800),
    "documented": (vendor_fake("documented"), 4, 700),
    "lerobot": (lerobot_simulated, 2, 100),
}
"""Backends, with how many trials are for every day and how many for the slow tests."""

IN_REAL_TIME = {"lerobot process": (lerobot_process, 1, 40), "remote": (remote, 4, 200), "twin": (twin, 1, 40)}


def samples(backends: Mapping[str, tuple[Backend, int, int]]) -> list:
    """Returns the parameters of both."""
    many = [pytest.param(name, count, marks=pytest.mark.slow) for name, (*_, count) in backends.items()]
    return [(name, count) for name, (_, count, _) in backends.items()] + many


@pytest.mark.usefixtures("vendor_libraries")
@pytest.mark.parametrize(("name", "trials"), samples(IN_TURNS))
def test_no_fault_makes_a_command_leave_its_limits_or_a_run_end_unreleased(
    name: str, trials: int, tmp_path: Path
) -> None:
    backend, *_ = IN_TURNS[name]
    judge(name, (check(seed, tmp_path, backend) for seed in range(trials)))


@pytest.mark.usefixtures("vendor_libraries")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # unforeseen errors of a driver
@pytest.mark.parametrize(("name", "trials"), samples(IN_REAL_TIME))
def test_nor_does_one_in_real_time_over_processes_sockets_and_physics(name: str, trials: int, tmp_path: Path) -> None:
    backend, *_ = IN_REAL_TIME[name]
    with ThreadPoolExecutor(max_workers=4) as pool:
        judge(name, pool.map(lambda seed: check(seed, tmp_path / str(seed), backend), range(trials)))


def check(seed: int, folder: Path, backend: Backend) -> Counter[str]:
    """Returns what happened in a trial, which was in order."""
    folder.mkdir(exist_ok=True)
    trial = run_trial(seed, folder, backend)
    try:
        commands = check_trial(trial)
    except AssertionError as error:
        raise AssertionError(f"trial {seed} with {trial.faults}: {error}") from error
    return Counter({"trials": 1, "set-points": commands, "moved": trial.recorded > 1, **dict.fromkeys(trial.faults, 1)})


def judge(name: str, done: Iterable[Counter[str]]) -> None:
    """Checks that trials tried something."""
    together = Counter[str]()
    for happened in done:
        together.update(happened)
    print(f"{name}: {dict(together)}")
    trials = together["trials"]
    assert trials < 10 or (together["set-points"] > 20 * trials and together["moved"] > trials / 5)


@pytest.mark.parametrize("trials", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_a_process_that_is_told_to_end_or_killed_leaves_no_arm_moving_and_a_readable_recording(
    trials: int, tmp_path: Path
) -> None:
    generator = np.random.default_rng(trials)
    for first in range(0, trials, 6):
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL) * 2
        folders = [tmp_path / str(first + index) for index in range(len(numbers))]
        processes = [start_run(folder) for folder in folders]
        for process, number, folder in zip(processes, numbers, folders, strict=True):
            assert process.stdout is not None
            process.stdout.readline()  # it has made a step
            time.sleep(generator.uniform(0.0, 0.5))
            process.send_signal(number)
            said = process.stdout.read().splitlines()
            assert process.wait(timeout=20) == (-number if number == signal.SIGKILL else 0)
            check_run(folder, None if number == signal.SIGKILL else number, said)


def start_run(folder: Path) -> subprocess.Popen[str]:
    folder.mkdir()
    command = [sys.executable, "-m", "tests.real_run", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def check_run(folder: Path, number: signal.Signals | None, said: list[str]) -> None:
    """Checks what a process left: limits, the end, the recording."""
    calls = (folder / "calls").read_text().splitlines()
    sent = np.array([[float(value) for value in call.split()[1:]] for call in calls[:-2] if call.startswith("send")])
    limits = SafetyLimits()
    assert np.all(np.isfinite(sent)) and np.all(sent[:, :3] >= limits.workspace_low)
    assert np.all(sent[:, :3] <= limits.workspace_high)
    assert np.linalg.norm(np.diff(sent[:, :3], axis=0), axis=1).max() <= limits.max_speed * LONGEST
    (path,) = (folder / "data" / "recordings").iterdir()
    steps = len(read_recording(path).steps)
    assert steps - int((folder / "steps").read_text()) in (0, 1), "a step may be recorded but not yet counted"
    if number is not None:
        assert calls[-2:] == ["stop", "close"] and said[-1] == number.name
