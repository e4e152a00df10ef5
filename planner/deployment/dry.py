"""Dry runs of deploy.py: plans for an arm that is looked at and never told anything."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from envs.arms.base import StreamingArm
from envs.arms.limits import SLOWED
from envs.arms.safety import SafeArm, SafetyLimits
from envs.arms.set_points import outside, slowed
from envs.episodes.recorder import RecordedStep
from envs.pose import compose
from envs.spec import ActionSpec, Observation
from planner.control.executor import Executor, ExecutorConfig, TimedPlan
from planner.control.plan_thread import PlanSource, first_action
from planner.viewing.shown import THERE, describe_limits

_NUMBERS = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True)
class Rehearsal:
    """What executor and safety filter would make of a target.

    Attributes:
        sent: The last set-point that the driver would have got, (7,); None if none.
        reasons: Why that is not the target.
        stop: Why the run would have ended; None if it would have gone on.
    """

    sent: Float[np.ndarray, "7"] | None
    reasons: tuple[str, ...]
    stop: str | None


class DryRun:
    """Plans for a connected arm, one every control period; of the arm only `observe` is called.

    Attributes:
        steps: What would be done: `sent` and `reasons` are those of a rehearsal.
        stops: Numbers of the steps at which a run would have ended, and why.
    """

    def __init__(self, arm: StreamingArm, limits: SafetyLimits, source: PlanSource, config: ExecutorConfig) -> None:
        """Prepares.

        Args:
            arm: Connected.
            limits: Of the safety filter that a live run would have.
            source: The planner, which knows the goals.
            config: How a live run would follow plans.
        """
        self.steps: list[RecordedStep] = []
        self.stops: dict[int, str] = {}
        self._arm, self._limits, self._source, self._config = arm, limits, source, config

    def run(self, max_steps: int) -> Iterator[RecordedStep]:
        """Yields so many steps."""
        watched, spec = SafeArm(self._arm, self._limits), self._arm.action_spec
        for number in range(max_steps):
            began = time.monotonic()
            seen = watched.observe()
            action, cost, seconds = first_action(self._source.infer(seen), spec)
            waited = time.monotonic() - began
            commanded = compose(seen.pose, action)
            what = rehearse(seen, commanded, spec, self._limits, self._config)
            if what.stop is not None:
                self.stops[number] = what.stop
            timings = {"waited": waited}
            self.steps.append(RecordedStep(seen, action, commanded, what.sent, what.reasons, cost, seconds, timings))
            yield self.steps[-1]
            time.sleep(max(0.0, began + spec.period - time.monotonic()))

    def told(self) -> str:
        """Returns in a few lines how many steps the safety filter would have changed, and why."""
        changed = [step for step in self.steps if describe_limits(step)]
        counts = Counter(_NUMBERS.sub("..", reason) for step in changed for reason in step.reasons)
        refused = sum(step.sent is None or number in self.stops for number, step in enumerate(self.steps))
        lines = [
            f"{len(self.steps)} steps, {len(self.steps) - len(changed)} as planned, {len(changed)} changed by the "
            f"safety filter, of which {refused} refused"
        ]
        lines += [f"  {count:4d}  {reason}" for reason, count in counts.most_common()]
        if self.stops:
            number, why = next(iter(self.stops.items()))
            lines.append(f"live, this run ends at step {number}: {why}")
        return "\n".join(lines)


def rehearse(
    seen: Observation, target: Float[np.ndarray, "7"], spec: ActionSpec, limits: SafetyLimits, config: ExecutorConfig
) -> Rehearsal:
    """Returns where executor and safety filter would take a perfect arm in one period, and what they would object.

    Both are the real ones, in a time that only computes.
    """
    clock = _ComputedTime(seen.time)
    safe = SafeArm(_Imagined(seen, spec, clock), limits, clock)
    safe.observe()
    allowed = safe.allowed(target)
    executor = Executor(safe, config, clock=clock)
    executor.begin()
    executor.publish(TimedPlan(seen.time, allowed[None], spec.period, seen.time))
    while clock.monotonic() < seen.time + spec.period and executor.tick():
        clock.sleep(executor.until_due())
        safe.observe()
    refused = [reason for event in safe.events for reason in event.reasons if not reason.startswith(SLOWED)]
    late = () if refused or safe.place is None else slowed(allowed, safe.place, THERE)
    return Rehearsal(safe.place, tuple(dict.fromkeys([*outside(target, allowed), *refused, *late])), executor.reason)


class _ComputedTime:
    """A clock that passes only while someone sleeps."""

    def __init__(self, now: float) -> None:
        self._now = now

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._now

    def sleep(self, seconds: float, /) -> None:
        """See `Clock.sleep`."""
        self._now += seconds


class _Imagined:
    """A streaming arm that is at once where it is sent."""

    def __init__(self, seen: Observation, spec: ActionSpec, clock: _ComputedTime) -> None:
        self.action_spec = spec
        self.image_shape = (seen.image.shape[0], seen.image.shape[1], 3)
        self._image, self._pose, self._clock = seen.image, seen.pose, clock

    def connect(self) -> None:
        """See `StreamingArm.connect`."""

    def observe(self) -> Observation:
        """See `StreamingArm.observe`."""
        return Observation(self._image, self._pose.copy(), self._clock.monotonic())

    def send(self, set_point: Float[np.ndarray, "7"]) -> None:
        """See `StreamingArm.send`."""
        self._pose = set_point

    def stop(self) -> None:
        """See `StreamingArm.stop`."""

    def close(self) -> None:
        """See `StreamingArm.close`."""
