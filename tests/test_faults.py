"""Whatever fails, no command leaves its limits, the arm ends stopped and released, and the recording can be read.

Each trial is a whole run in simulated time: `Runtime`, `Executor`, `SafeArm` and `Recorder` over an arm in which random
things go wrong. `run_trial` takes any streaming arm. What reached the driver is judged here, not by `SafeArm`.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from envs.arm import StreamingArm
from envs.episodes.recorder import Recorder, read_recording
from envs.limits import SafetyLimits
from envs.safety import SafeArm
from planner.plan_thread import PlanError
from planner.runtime import Runtime, RuntimeConfig
from tests.fake_arms import CALLS, DRIVER_FAULTS, ERRORS, FakeArm, Fault, FaultyArm, TestClock

LIMITS = SafetyLimits((0.44, -0.06, 0.19), (0.56, 0.06, 0.31), max_tilt=0.2, max_speed=0.8, hold_limit=25)
"""So narrow that random actions run into each of them."""

PLAN_FAULTS = ("nan", "huge", "shape", "garbage", "crash", "overrun", "never")
OTHER_FAULTS = ("clock", "signal", "kill", "deadman", "consumer")
RATE, LONGEST, GAP = 125.0, 0.010, 0.020  # what an arm needs for a set-point, and after how long it stands [s]


class Killed(Exception):
    """The program that reads the steps fails."""


class FaultyPlans:
    """Answers with random actions after a random time, unless something goes wrong."""

    def __init__(self, clock: TestClock, faults: dict[str, float], generator: np.random.Generator) -> None:
        self._clock, self._faults, self._generator = clock, faults, generator
        self._ready, self._begin = np.inf, clock.now
        self._turning = float(generator.choice([0.0, 0.0, 0.15]))  # most runs only translate: they are cheaper

    def ask(self, observation, committed) -> None:
        assert committed is None or np.all(np.isfinite(committed))
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

    arm: FaultyArm
    runtime: Runtime
    recorder: Recorder
    faults: list[str]
    recorded: int = 0
    at_kill: tuple[bytes, int] | None = None
    error: BaseException | None = None
    jumps: list[float] = field(default_factory=list)


def run_trial(seed: int, folder: Path, factory: Callable[[TestClock], StreamingArm] = FakeArm) -> Trial:
    """Runs an arm with up to three random faults."""
    generator = np.random.default_rng(seed)
    late = itertools.cycle(generator.choice([0.0, 0.001, 0.005, 0.03], 499, p=[0.7, 0.2, 0.08, 0.02]).tolist())
    clock = TestClock(lambda: next(late))
    kinds = [f"driver {kind}" for kind in DRIVER_FAULTS] + [f"plan {kind}" for kind in PLAN_FAULTS] + [*OTHER_FAULTS]
    chosen = [str(kind) for kind in generator.choice(kinds, generator.integers(0, 4), replace=False)]
    when = {kind: float(generator.uniform(0.0, 1.5)) for kind in chosen}
    driver = [
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
    arm = FaultyArm(factory(clock), clock, driver, generator)
    deadman = (lambda: generator.random() > 0.02) if "deadman" in chosen else None
    mode = "overlapping" if generator.random() < 0.5 else "blocking"
    config = RuntimeConfig(mode, planning_time=1.0)
    runtime = Runtime(SafeArm(arm, LIMITS, clock), FaultyPlans(clock, plans, generator), config, deadman, clock)
    runtime.executor.start = lambda: clock.drive(runtime.executor)
    trial = Trial(arm, runtime, Recorder(folder, arm.action_spec), chosen)
    _set_alarms(trial, clock, when, generator)
    try:
        with trial.recorder, runtime:
            for step in runtime.run(int(generator.integers(1, 5))):
                trial.recorder.record(step)
                trial.recorded += 1
                if "consumer" in chosen and generator.random() < 0.3:
                    raise Killed
    except (Killed, ValueError, RuntimeError, OSError) as error:
        trial.error = error
    return trial


def _set_alarms(trial: Trial, clock: TestClock, when: dict[str, float], generator: np.random.Generator) -> None:
    def jump() -> None:
        clock.offset += float(generator.choice([-5.0, -0.5, -0.05, 0.05, 0.5, 5.0, 3600.0]))
        trial.jumps.append(clock.now)

    def kill() -> None:
        trial.at_kill = trial.recorder.path.read_bytes(), trial.recorded
        trial.arm.dead = True
        trial.runtime.stop("killed")

    if "clock" in when:
        for _ in range(3):
            clock.at(float(generator.uniform(0.0, 2.0)), jump)
    if "signal" in when:
        clock.at(when["signal"], lambda: trial.runtime.stop("SIGINT"))
    if "kill" in when:
        clock.at(when["kill"], kill)


def check_commands(trial: Trial) -> int:
    """Returns how many set-points reached the driver, after checking that each is within the limits."""
    sent = [entry for entry in trial.arm.calls if entry[0] in ("send", "refused")]
    velocity, spin = np.zeros(3), np.zeros(3)
    before: tuple[float, np.ndarray] | None = None
    for call, moment, set_point in sent:
        assert set_point is not None and set_point.shape == (7,) and np.all(np.isfinite(set_point))
        assert np.all(set_point[:3] >= LIMITS.workspace_low) and np.all(set_point[:3] <= LIMITS.workspace_high)
        assert 0.0 <= set_point[6] <= 1.0
        if before is not None:
            velocity, spin = check_motion(moment - before[0], before[1], set_point, velocity, spin, trial)
        if call == "send" or before is None:
            before = moment, set_point
        else:  # the driver did not take it: the arm stands where it was
            before, velocity, spin = (moment, before[1]), np.zeros(3), np.zeros(3)
    if sent:
        turned = Rotation.from_euler("xyz", [set_point[3:6] for *_, set_point in sent if set_point is not None])
        assert (turned * turned[0].inv()).magnitude().max() < LIMITS.max_tilt + 1e-5
    return len(sent)


def check_motion(elapsed: float, start, end, velocity, spin, trial: Trial):
    """Returns the velocities (3,), (3,) after checking a set-point against the one before."""
    way = end[:3] - start[:3]
    turn = np.zeros(3)
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
        (way, way / seconds, velocity, LIMITS.max_speed, LIMITS.max_acceleration),
        (turn, turn / seconds, spin, LIMITS.max_turn_speed, LIMITS.max_turn_acceleration),
    ):
        assert np.linalg.norm(size) <= speed * seconds * (1 + 1e-6) + 1e-9
        change = np.linalg.norm(now - last)
        assert change <= acceleration * seconds * (1 + 1e-6) + 1e-6 / seconds, f"{change / seconds} m/s^2, rad/s^2"
    assert abs(end[6] - start[6]) <= LIMITS.max_gripper_rate * seconds + 1e-9
    return way / seconds, turn / seconds


def check_trial(trial: Trial) -> int:
    """Returns the number of set-points after checking everything that must hold whatever failed."""
    count = check_commands(trial)
    if not trial.arm.dead:
        calls = [call for call, *_ in trial.arm.calls]
        assert calls[-1] == "close"
        assert (
            "stop" in calls and "send" not in calls[max(index for index, call in enumerate(calls) if call == "stop") :]
        )
        assert trial.runtime.reason, "a run ends with its reason"
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


@pytest.mark.parametrize("trials", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_fault_makes_a_command_leave_its_limits_or_a_run_end_unreleased(trials: int, tmp_path: Path) -> None:
    seen: dict[str, int] = {}
    commands = moved = 0
    for seed in range(trials):
        trial = run_trial(seed, tmp_path)
        try:
            commands += check_trial(trial)
        except AssertionError as error:
            raise AssertionError(f"trial {seed} with {trial.faults}: {error}") from error
        moved += trial.recorded > 1
        for fault in trial.faults:
            seen[fault] = seen.get(fault, 0) + 1
    print(f"{trials} trials, {commands} set-points, {moved} moved, {seen}")
    assert len(seen) == len(DRIVER_FAULTS) + len(PLAN_FAULTS) + len(OTHER_FAULTS)
    assert commands > 50 * trials and moved > trials / 3


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
    (path,) = (folder / "recordings").iterdir()
    steps = len(read_recording(path).steps)
    assert steps - int((folder / "steps").read_text()) in (0, 1), "a step may be recorded but not yet counted"
    if number is not None:
        assert calls[-2:] == ["stop", "close"] and said[-1] == number.name
