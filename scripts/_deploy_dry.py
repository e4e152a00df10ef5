"""Dry runs of deploy.py: plans for an arm that is looked at and never told anything."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from envs.arm import StreamingArm
from envs.episodes.recorder import RecordedStep
from envs.pose import compose
from envs.safety import SafeArm, SafetyLimits
from envs.spec import ActionSpec, Observation
from planner.executor import Executor, ExecutorConfig, TimedPlan
from planner.plan_thread import PlanSource, first_action

_SAME = 1e-6


def dry_run(
    arm: StreamingArm, limits: SafetyLimits, source: PlanSource, config: ExecutorConfig, max_steps: int
) -> Iterator[RecordedStep]:
    """Yields what would be done, a plan every control period. The arm is connected; only `observe` is called.

    Args:
        arm: Connected.
        limits: Of the safety filter that a live run would have.
        source: The planner, which knows the goals.
        config: How a live run would follow plans.
        max_steps: Plans.

    Yields:
        Steps whose ``sent`` is the last set-point that the driver would have got, and ``reasons`` what the safety
        filter would have said.
    """
    watched = SafeArm(arm, limits)
    for _ in range(max_steps):
        began = time.monotonic()
        seen = watched.observe()
        action, cost, seconds = first_action(source.infer(seen), arm.action_spec)
        waited = time.monotonic() - began
        commanded = compose(seen.pose, action)
        sent, reasons = rehearse(seen, commanded, arm.action_spec, limits, config)
        yield RecordedStep(seen, action, commanded, sent, reasons, cost, seconds, {"waited": waited})
        time.sleep(max(0.0, began + arm.action_spec.period - time.monotonic()))


def rehearse(
    seen: Observation, target: Float[np.ndarray, "7"], spec: ActionSpec, limits: SafetyLimits, config: ExecutorConfig
) -> tuple[Float[np.ndarray, "7"] | None, tuple[str, ...]]:
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
    clipped = np.abs(allowed - target).max() > _SAME
    reasons = ["outside of the workspace, tilt or gripper range"] if clipped else []
    reasons += [reason for event in safe.events for reason in event.reasons]
    if executor.reason is not None:
        reasons.append(executor.reason)
    return safe.place, tuple(dict.fromkeys(reasons))


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
