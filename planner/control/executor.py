"""Follows time-indexed plans with set-points at a fixed rate, whatever the planner does. Imports no torch."""

from __future__ import annotations

import gc
import logging
import math
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from envs.arms.base import ArmError
from envs.arms.safety import SafeArm, SafetyStop
from envs.arms.set_points import interpolate
from envs.clock import Clock
from envs.ranges import check_range

logger = logging.getLogger(__name__)

_PATIENCE = 2.0  # s that stopping waits for a driver that does not return
_ASLEEP = 10.0  # s: set-points that are later than this were not missed, the machine slept or its clock jumped
_BIN = 1e-4  # s of lateness that `Jitter` tells apart
_BINS = 1000
_TURN = 5e-4  # s that another thread of the process may compute on while a set-point is due; Python's own is 5 ms


def make_punctual() -> None:
    """Prepares this process for an executor. Call it when everything is imported, before the arm moves.

    Threads that compute in Python hand over sooner, and what exists already is exempt from the collection of garbage:
    looking through a program's modules takes tens of milliseconds, in which no set-point is sent.
    """
    sys.setswitchinterval(_TURN)
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class TimedPlan:
    """Poses and when to be there.

    Attributes:
        start: When the way to the first target begins [monotonic s].
        targets: Poses (H, 7); target h is reached at ``start + (h + 1) * period``.
        period: Time of one target [s].
        made_from: Time of the observation that the plan was made from [monotonic s].

    Raises:
        ValueError: If a number is not finite, there is no target or the period is not positive.
    """

    start: float
    targets: Float[np.ndarray, "H 7"]
    period: float
    made_from: float

    def __post_init__(self) -> None:
        if self.targets.ndim != 2 or self.targets.shape[1] != 7 or len(self.targets) == 0:
            raise ValueError(f"a plan's targets must be (at least 1, 7), got {self.targets.shape}")
        if not (np.all(np.isfinite(self.targets)) and math.isfinite(self.start + self.made_from)):
            raise ValueError(f"a plan's targets and times must be finite numbers, got {self.targets} at {self.start} s")
        if not (math.isfinite(self.period) and self.period > 0):
            raise ValueError(f"a plan's period must be positive [s], got {self.period}")

    @property
    def end(self) -> float:
        """When the last target is reached [monotonic s]."""
        return self.start + len(self.targets) * self.period


@dataclass(frozen=True)
class ExecutorConfig:
    """How plans are followed.

    Attributes:
        rate: Set-points a second [Hz].
        ramp: Share of each target's period in which the arm moves; in the rest it settles, so that the next image is
            of a standing arm, as in the recordings of the simulated arm. 1 for motion without a pause.
        plan_age: A plan made from an older observation is not begun [s].

    Raises:
        ValueError: If the rate is under 100 Hz or a number is out of its range.
    """

    rate: float = 125.0
    ramp: float = 0.5
    plan_age: float = 2.0

    def __post_init__(self) -> None:
        if not 100.0 <= self.rate <= 1000.0:
            raise ValueError(f"the executor's rate must be 100 to 1000 Hz, got {self.rate}")
        check_range(self, "(0, 1]", "ramp", of="the executor's ")
        check_range(self, "(0, inf)", "plan_age", of="the executor's ")


class Jitter:
    """How late set-points were: counts by lateness, so that days need no more memory than seconds."""

    def __init__(self) -> None:
        self.worst = 0.0  # s
        self._counts: Int64[np.ndarray, "bins"] = np.zeros(_BINS + 1, np.int64)

    def add(self, lateness: float) -> None:
        """Counts a set-point that was sent so late [s]."""
        self.worst = max(self.worst, lateness)
        self._counts[min(_BINS, int(max(0.0, lateness) / _BIN))] += 1

    def __len__(self) -> int:
        """Returns how many set-points were counted."""
        return int(self._counts.sum())

    def share_within(self, lateness: float) -> float:
        """Returns the share of set-points that were at most so late [s, a multiple of 0.1 ms under 100 ms]."""
        return float(self._counts[: round(lateness / _BIN)].sum()) / max(1, len(self))

    def quantile(self, share: float) -> float:
        """Returns the lateness that a share of the set-points kept to, rounded up to 0.1 ms [s]."""
        index = int(np.searchsorted(np.cumsum(self._counts), share * len(self)))
        return self.worst if index >= _BINS else (index + 1) * _BIN


class Executor:
    """A thread that sends set-points to an arm at a fixed rate.

    It follows the newest plan: on the way to each target positions and closedness are interpolated linearly,
    orientations along geodesics. When a plan ends, none came, or the deadman key is let go, it brakes and holds. It
    waits for nobody. It is over, and the arm stopped, as soon as it is asked to or the driver or the safety filter
    fails; then `reason` says why.

    Attributes:
        jitter: How late set-points were.
        interruptions: How many plans were given up because the deadman key was let go.
        reason: Why it is over, in one line; None while it runs.
    """

    def __init__(
        self,
        arm: SafeArm,
        config: ExecutorConfig | None = None,
        deadman: Callable[[], bool] | None = None,
        clock: Clock = time,
    ) -> None:
        """Prepares to drive an arm.

        Args:
            arm: A streaming arm inside its safety filter, connected.
            config: How plans are followed; None for the defaults.
            deadman: Whether the key that allows motion is held, asked before each set-point; None if there is none.
            clock: The clock of plans and observations.
        """
        self.jitter = Jitter()
        self.interruptions = 0
        self.reason: str | None = None
        self._arm, self._config, self._deadman, self._clock = arm, config or ExecutorConfig(), deadman, clock
        self._asked: str | None = None
        self._plans: tuple[TimedPlan, ...] = ()
        self._begun: TimedPlan | None = None  # the newest plan whose time had come
        self._plan: TimedPlan | None = None  # the one that is followed
        self._origin: Float[np.ndarray, "7"] | None = None  # the set-point that the plan was begun at
        self._interrupted = -math.inf  # when a plan was last given up
        self._due = 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread."""
        self.begin()
        self._thread = threading.Thread(target=self._run, name="executor", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Makes the first set-point due now. `start` does so."""
        self._due = self._clock.monotonic()

    def publish(self, plan: TimedPlan | None) -> None:
        """Makes a plan the newest: it replaces the one that is followed when its start has come. For one thread.

        Args:
            plan: The plan; None withdraws those that have not begun.
        """
        now = self._clock.monotonic()  # the tuple is replaced whole: the executor's thread needs no lock to read it
        self._plans = () if plan is None else (*(other for other in self._plans if now < other.end), plan)

    @property
    def following(self) -> bool:
        """Whether a published plan is not over yet."""
        now = self._clock.monotonic()
        return any(now < plan.end for plan in self._plans)

    def ask_to_stop(self, reason: str) -> None:
        """Makes the next set-point a stop and returns at once; for signal handlers and any thread."""
        self._asked = self._asked or reason

    def stop(self, reason: str) -> None:
        """Stops the arm and ends the thread.

        Raises:
            ArmError: If the driver does not return; the arm was told to stop all the same.
        """
        self.ask_to_stop(reason)
        thread = self._thread
        if thread is None:
            self.tick()
            return
        thread.join(_PATIENCE)
        if thread.is_alive():
            self._arm.stop()
            raise ArmError(f"the driver has not returned for {_PATIENCE} s: use the emergency stop")

    def tick(self) -> bool:
        """Sends what is due now and returns whether to go on. The thread does so; tests may in its place."""
        if self.reason is not None:
            return False
        try:
            if self._asked is None:
                self._step()
                return True
            self._end(self._asked)
        except (ArmError, SafetyStop) as error:
            self._end(str(error))
        except BaseException:
            self._end("the executor failed unforeseen, see the traceback")
            raise
        return False

    def until_due(self) -> float:
        """Returns how long to wait for the next set-point [s], at most a period: a clock that jumps halts nothing."""
        return min(self._due - self._clock.monotonic(), 1.0 / self._config.rate)

    def _run(self) -> None:
        while self.tick():
            wait = self.until_due()
            if wait > 0.0:
                self._clock.sleep(wait)

    def _step(self) -> None:
        """Sends one set-point."""
        now = self._clock.monotonic()
        self._schedule(now)
        plan = self._newest_plan(now)
        if plan is not None and self._deadman is not None and not self._deadman():
            self._plan = plan = None  # it is not gone on with, nor is what was planned while it was followed
            self._interrupted = now
            self.interruptions += 1
        if plan is None or self._origin is None:
            self._arm.hold()
        else:
            self._arm.send(self._place(plan, self._origin, now))

    def _schedule(self, now: float) -> None:
        """Counts how late this set-point is, and those that were missed, and makes the next one due."""
        period = 1.0 / self._config.rate
        if not -period <= now - self._due <= _ASLEEP:
            self._due = now
        self.jitter.add(now - self._due)
        self._due += period
        while self._due <= now:
            self.jitter.add(now - self._due)
            self._due += period

    def _newest_plan(self, now: float) -> TimedPlan | None:
        """Returns the plan to follow now, beginning the published one when its time has come.

        A plan that is over is followed on: its last target is where to hold.
        """
        newest = next((plan for plan in reversed(self._plans) if plan.start <= now), None)
        if newest is None or newest is self._begun:
            return self._plan
        self._begun = newest
        if newest.made_from < self._interrupted:
            return self._plan
        if now - newest.made_from > self._config.plan_age or now >= newest.end:
            logger.warning("a plan came too late, its observation is %.2f s old", now - newest.made_from)
            return self._plan
        self._plan, self._origin = newest, self._arm.place
        return self._plan

    def _place(self, plan: TimedPlan, origin: Float[np.ndarray, "7"], now: float) -> Float[np.ndarray, "7"]:
        """Returns where a plan is to be at a time."""
        passed = max(0.0, (now - plan.start) / plan.period)
        index = min(int(passed), len(plan.targets) - 1)
        begin = origin if index == 0 else plan.targets[index - 1]
        return interpolate(begin, plan.targets[index], min(1.0, (passed - index) / self._config.ramp))

    def _end(self, reason: str) -> None:
        """Stops the arm."""
        self.reason = " ".join(reason.split())
        try:
            self._arm.stop()
        except ArmError as error:
            self.reason += f"; and the arm could not be stopped, use the emergency stop: {error}"
        logger.info("the executor is over: %s", self.reason)
