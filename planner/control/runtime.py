"""Drives an arm with plans from elsewhere: blocking, as the paper ran, or planning while the arm moves. No torch.

    with Runtime(SafeArm(FrankaArm(...)), PlanThread(client)) as runtime, stopping_on_signals(runtime.stop):
        for step in runtime.run(max_steps=20):
            recorder.record(step)
    print(runtime.reason)

Two threads beside the caller's: the executor's (planner/control/executor.py), which alone moves the arm and waits for
nobody, and the plan thread's, which waits for the planner.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float

from envs.arms.base import ArmError
from envs.arms.safety import SafeArm
from envs.arms.set_points import outside
from envs.clock import Clock
from envs.episodes.recorder import RecordedStep
from envs.pose import compose, difference
from envs.ranges import check_range
from envs.spec import POSE_NAMES, Observation, SpecError
from planner.control.executor import Executor, ExecutorConfig, TimedPlan
from planner.control.plan_thread import PlanError, Plans, first_action

logger = logging.getLogger(__name__)

_POLL = 0.01  # s between two looks at what has happened
_LOOK = 0.05  # s between two observations while waiting
_PLANNING = 0.9  # share of the time for an answer that is the planner's; the rest is for the way here


@dataclass(frozen=True)
class RuntimeConfig:
    """How an arm is driven.

    Attributes:
        mode: "blocking": look, plan while standing still, move. "overlapping": while the arm moves the next action is
            planned from where it will be.
        settle: Standing time after a motion before the next look, in blocking mode and after a failed plan [s].
        planning_time: An answer that takes longer has failed; the planner is asked for its best plan before that [s].
            With its image's age a plan ends at `ExecutorConfig.plan_age`, too: raise both for a slow planner.
        max_failures: So many failed plans in a row end the run.
        executor: How plans are followed.

    Raises:
        ValueError: If a number is out of its range.
    """

    mode: Literal["blocking", "overlapping"] = "blocking"
    settle: float = 0.1
    planning_time: float = 5.0
    max_failures: int = 3
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)

    def __post_init__(self) -> None:
        if self.mode not in ("blocking", "overlapping"):
            raise ValueError(f"the runtime's mode must be blocking or overlapping, got {self.mode!r}")
        check_range(self, "[0, inf)", "settle", of="the runtime's ")
        check_range(self, "(0, inf)", "planning_time", of="the runtime's ")
        check_range(self, "[1, inf)", "max_failures", of="the runtime's ")


class _Over(Exception):
    """The executor is over, and with it the run."""


@dataclass(frozen=True)
class _Action:
    """The next action: what it was made from and where it leads."""

    seen: Observation
    action: Float[np.ndarray, "A"]
    commanded: Float[np.ndarray, "7"]
    cost: float
    seconds: float
    waited: float  # s from the question to the answer


class Runtime:
    """Drives an arm towards the goals that its planner knows, for the length of a ``with`` statement.

    A late or failed plan never blocks the executor, which finishes the motion under way and holds; the next plan then
    starts from where the arm stands. Entering connects the arm; leaving, for whatever reason, stops and releases it.

    Attributes:
        executor: Moves the arm.
    """

    def __init__(
        self,
        arm: SafeArm,
        plans: Plans,
        config: RuntimeConfig | None = None,
        deadman: Callable[[], bool] | None = None,
        clock: Clock = time,
    ) -> None:
        """Prepares a run.

        Args:
            arm: A streaming arm inside its safety filter.
            plans: Where plans come from; it was told the goals already.
            config: Settings; None for the defaults.
            deadman: Whether the key that allows motion is held; None if there is none. Must return at once.
            clock: The clock of the arm's observations.

        Raises:
            ValueError: If the arm's actions are no pose differences.
        """
        if tuple(arm.action_spec.names) != POSE_NAMES:
            raise ValueError(f"the runtime drives poses {POSE_NAMES}, the arm's actions are {arm.action_spec.names}")
        self.config = config or RuntimeConfig()
        self.executor = Executor(arm, self.config.executor, deadman, clock)
        self._arm, self._plans, self._deadman, self._clock = arm, plans, deadman, clock
        self._newest: Observation | None = None
        self._looked = -math.inf

    @property
    def reason(self) -> str | None:
        """Why the run is over, in one line; None while it goes on."""
        return self.executor.reason

    def stop(self, reason: str) -> None:
        """Ends the run: the arm is stopped within a set-point. Returns at once; for signal handlers and any thread."""
        self.executor.ask_to_stop(reason)

    def __enter__(self) -> Runtime:
        try:
            self._arm.connect()
            self.executor.start()
        except BaseException:
            self._release("the arm could not be connected")
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._release("the run is over" if kind is None else f"the program failed: {kind.__name__}")

    def _release(self, reason: str) -> None:
        try:
            self.executor.stop(reason)
        finally:
            self._arm.close()

    def run(self, max_steps: int, stop: Callable[[RecordedStep], bool] | None = None) -> Iterator[RecordedStep]:
        """Yields each step after it was executed, then what was seen last; the arm holds afterwards.

        Fewer come when a driver, the safety filter or the planner fails or someone stops the run: see `reason`.

        Args:
            max_steps: Actions at most.
            stop: Asked after each step; True ends the run.
        """
        with contextlib.suppress(_Over):
            yield from self._steps(max_steps, stop)

    def _steps(self, max_steps: int, stop: Callable[[RecordedStep], bool] | None) -> Iterator[RecordedStep]:
        """Yields the steps of a run whose executor goes."""
        action = self._next_action(self._plan_standing)
        interruptions = self.executor.interruptions
        plan = self._publish(action, self._clock.monotonic())
        for left in range(max_steps - 1, -1, -1):
            ahead = None
            if left and self.config.mode == "overlapping":
                following = self._next_action(lambda plan=plan: self._plan_ahead(plan))
                ahead = following, self._publish(following, plan.end)
            self._wait_until(plan.end if left else plan.end + self.config.settle)
            step = self._record(action, plan)
            yield step
            if not left or (stop is not None and stop(step)):
                break
            if ahead is None or self.executor.interruptions != interruptions:
                self.executor.publish(None)
                following = self._next_action(self._plan_standing)
                interruptions = self.executor.interruptions
                ahead = following, self._publish(following, self._clock.monotonic())
            action, plan = ahead
        with contextlib.suppress(PlanError):  # no last image: the camera froze
            yield RecordedStep(self._look(self._clock.monotonic()))

    def _next_action(self, attempt: Callable[[], _Action]) -> _Action:
        """Returns the next action; after a failure it is planned from where the arm stands then."""
        for _ in range(self.config.max_failures - 1):
            try:
                return attempt()
            except PlanError as error:
                logger.warning("no plan, holding: %s", error)
                attempt = self._plan_standing
        try:
            return attempt()
        except PlanError as error:
            self.stop(f"{self.config.max_failures} plans in a row failed, the last: {error}")
            while True:
                self._poll()

    def _plan_standing(self) -> _Action:
        """Returns the next action of an arm that stands still."""
        still_since = None
        while still_since is None or self._clock.monotonic() - still_since < self.config.settle:
            if self.executor.following or (self._deadman is not None and not self._deadman()):
                still_since = None
            elif still_since is None:
                still_since = self._clock.monotonic()
            self._poll()
        seen = self._look(self._clock.monotonic())
        return self._ask(seen, None, seen.pose)

    def _plan_ahead(self, plan: TimedPlan) -> _Action:
        """Returns the action after the one that a plan is about, planned while that one is executed."""
        self._wait_until(plan.start)
        seen = self._look(plan.made_from)
        end = plan.targets[-1]
        return self._ask(seen, difference(seen.pose, end)[None], end)

    def _ask(self, seen: Observation, committed: Float[np.ndarray, "K A"] | None, base: np.ndarray) -> _Action:
        """Returns the action that the planner answers.

        Args:
            seen: The observation to plan from.
            committed: What will be executed before the plan begins.
            base: The pose (7,) that the plan begins at.

        Raises:
            PlanError: If the answer fails to come in time or is none.
        """
        asked = self._clock.monotonic()
        limit = min(self.config.planning_time, seen.time + self.config.executor.plan_age - asked)
        self._plans.ask(seen, committed, _PLANNING * limit)
        while (answer := self._plans.answer()) is None:
            if self._clock.monotonic() - asked > self.config.planning_time:
                raise PlanError(f"there was none within {self.config.planning_time} s (planning_time)")
            self._poll()
        action, cost, seconds = first_action(answer, self._arm.action_spec)
        now = self._clock.monotonic()
        if now - seen.time > self.config.executor.plan_age:
            raise PlanError(f"it was made from an image {now - seen.time:.2f} s old, executor.plan_age allows less")
        return _Action(seen, action, compose(base, action), cost, seconds, now - asked)

    def _publish(self, action: _Action, start: float) -> TimedPlan:
        """Has an action executed from a time on, or from now if that is past."""
        target, period = self._arm.allowed(action.commanded), self._arm.action_spec.period
        if why := outside(action.commanded, target):
            logger.info("commanded %s, followed is %s: %s", action.commanded, target, "; ".join(why))
        begin = max(start, self._clock.monotonic())
        plan = TimedPlan(begin, target[None], period, action.seen.time)
        self.executor.publish(plan)
        return plan

    def _look(self, after: float) -> Observation:
        """Returns an observation made after a time.

        Raises:
            PlanError: If none comes, because the camera froze or is late.
        """
        begin, limit = self._clock.monotonic(), self._arm.limits.observation_age
        while True:
            self._poll(every=0.0)
            newest, now = self._newest, self._clock.monotonic()
            if newest is not None and after < newest.time <= now and now - newest.time <= limit:
                return newest
            if not 0.0 <= now - begin <= limit:
                age = math.inf if newest is None else now - newest.time
                raise PlanError(f"no new image for {limit} s: the newest is {age:.2f} s old")

    def _wait_until(self, moment: float) -> None:
        while self._clock.monotonic() < moment:
            self._poll()

    def _poll(self, every: float = _LOOK) -> None:
        """Waits a little and looks now and then, so that the safety filter knows where the arm is."""
        if self.executor.reason is not None:
            raise _Over
        self._clock.sleep(_POLL)
        now = self._clock.monotonic()
        if not 0.0 <= now - self._looked < every:
            self._looked = now
            try:
                self._newest = self._arm.observe()
            except (ArmError, SpecError) as error:  # SpecError: a driver of one's own that sees no image, or no pose
                self.stop(str(error))

    def _record(self, action: _Action, plan: TimedPlan) -> RecordedStep:
        """Returns what is to be remembered of an executed step."""
        reasons = [*outside(action.commanded, plan.targets[0])]
        reasons += [reason for event in list(self._arm.events) if plan.start <= event.time for reason in event.reasons]
        timings = {"started": plan.start, "image_age": plan.start - action.seen.time, "waited": action.waited}
        why, sent = tuple(dict.fromkeys(reasons)), self._arm.place
        return RecordedStep(
            action.seen, action.action, action.commanded, sent, why, action.cost, action.seconds, timings
        )
