"""The filter that every command to any arm passes. It does not replace the hardware emergency stop.

`envs.arms.limits.SafetyLimits` says what is allowed, `SafeArm` keeps to it. A refused set-point never reaches the
driver: the arm brakes to a standstill instead and holds; too many refusals in a row stop it.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from typing import NoReturn, cast

import numpy as np
from jaxtyping import Float

from envs.arms.base import Arm, OutOfReach, StreamingArm
from envs.arms.limits import SafetyEvent, SafetyLimits, angle_of, check_continuity
from envs.arms.set_points import Stream, angle_between, interpolate, is_same, outside, slowed, within_tilt
from envs.clock import Clock
from envs.pose import difference, matrix_from_euler
from envs.spec import Observation

__all__ = ["SafeArm", "SafetyEvent", "SafetyLimits", "SafetyStop"]

logger = logging.getLogger(__name__)

_LONGEST = 0.010  # s: an arm is at a set-point after about so long, so no set-point is further away than that allows
_GAP = 0.020  # s: after so long without a set-point the arm stands, whatever speed it had
_EDGE = 0.005  # m, rad: so far outside the limits an arm may stand when it starts
_RAMP = 0.5  # share of a blocking command's duration in which a streaming arm moves, as the simulated arm does
_STREAM_PERIOD = 0.008  # s between the set-points of a blocking command


class SafetyStop(ValueError):
    """A command was refused and the arm was told to hold where it is."""


class SafeArm:
    """An `Arm` or `StreamingArm` (envs/arms/base.py) around another that refuses, shortens or clips what is unsafe.

    `command`: numbers that are not finite and rotations over the limit are refused with `SafetyStop` after the arm was
    told to hold. Steps are measured from the last observed pose; translations are shortened to ``max_step`` and
    clipped to the workspace, orientations to the tilt limit.

    `send`: limited against the last set-point that was sent and the time since then, see `envs.arms.set_points`. A
    stream starts where the arm was measured to stand, and again so after a `stop`. Refused are numbers that are not
    finite, jumps, and any motion while the newest observation is too old.

    Attributes:
        latest: What became of the newest set-point.
        events: The changes of why commanded and sent differ, newest last, at most the last 1000.
    """

    def __init__(
        self,
        arm: Arm | StreamingArm,
        limits: SafetyLimits | None = None,
        clock: Clock = time,
    ) -> None:
        """Wraps an arm.

        Args:
            arm: The driver.
            limits: What is allowed; None for the defaults.
            clock: The clock that observations are timed by.
        """
        self.arm = arm
        self.limits = limits or SafetyLimits()
        self.action_spec = arm.action_spec
        self.image_shape = arm.image_shape
        self.latest: SafetyEvent | None = None
        self.events: deque[SafetyEvent] = deque(maxlen=1000)
        self._streaming = cast(StreamingArm, arm) if hasattr(arm, "send") else None
        self._clock = clock
        self._seen: Observation | None = None  # trusted
        self._reference: Float[np.ndarray, "3 3"] | None = None
        self._stream: Stream | None = None
        self._sent_at = 0.0
        self._start_after = -math.inf  # observations before this are no place to start a stream from
        self._refusals = self._stops = 0

    def connect(self) -> None:
        """See `Arm.connect`. What was measured before is forgotten."""
        self.arm.connect()
        self._seen = self._reference = self._stream = None
        self._start_after, self._refusals = -math.inf, 0

    def observe(self) -> Observation:
        """See `Arm.observe`.

        Raises:
            ArmError: If the measured pose of a streaming arm is not where it can have got to: wrong units or frame.
        """
        observation = self.arm.observe()
        if self._streaming is not None and self._seen is not None:
            if observation.time < self._seen.time:
                return observation  # out of turn: nothing new about the arm
            check_continuity(self._seen, observation, self.limits)
        if self._reference is None:
            orientation = self.limits.reference_orientation
            self._reference = matrix_from_euler(observation.pose[3:6] if orientation is None else np.array(orientation))
        self._seen = observation
        return observation

    def command(self, target_pose: Float[np.ndarray, "6"], gripper: float, duration: float) -> Float[np.ndarray, "7"]:
        """See `Arm.command`. To a streaming arm it sends a straight way there, then holds until the duration is over.

        Raises:
            SafetyStop: If the command is not finite or turns too far; the arm holds.
        """
        target = np.append(np.asarray(target_pose, dtype=np.float64), gripper)
        if target.shape != (7,) or not np.all(np.isfinite(target)) or not (np.isfinite(duration) and duration > 0):
            self._refuse(f"a command is 6 finite numbers, a gripper and a duration, got {target} for {duration} s")
        seen = self._seen or self.observe()
        safe = self._limit(seen.pose, target)
        if self._streaming is not None:
            return self._send_way(safe, duration)
        return cast(Arm, self.arm).command(safe[:6], float(safe[6]), duration)

    def send(self, set_point: Float[np.ndarray, "7"]) -> None:
        """See `StreamingArm.send`. What became of it is `latest`.

        Raises:
            SafetyStop: If too many set-points in a row were refused; the arm was stopped.
            ArmError: If the driver failed.
        """
        now, stops = self._clock.monotonic(), self._stops
        target = np.array(set_point, dtype=np.float64)
        refused = self._why_refused(target, now)
        if refused is not None:
            self._count_refusal(SafetyEvent(now, target, self._pass_on(None, now, stops), (refused,)))
            return
        if self._stream is None:
            self._start(now)
        wanted = self.allowed(target)
        reasons = outside(target, wanted)
        sent = self._pass_on(wanted, now, stops)
        if sent is None:
            self._count_refusal(SafetyEvent(now, target, None, (*reasons, "the arm can't get there")))
            return
        self._refusals = 0
        if not is_same(sent, wanted):
            reasons += slowed(wanted, sent)
        self._note(SafetyEvent(now, target, sent, reasons))

    def hold(self) -> None:
        """Brakes to a standstill and keeps the set-point; before the first one there is nothing to do.

        Raises:
            ArmError: If the driver failed.
        """
        now = self._clock.monotonic()
        self._note(SafetyEvent(now, None, self._pass_on(None, now, self._stops), ()))

    @property
    def place(self) -> Float[np.ndarray, "7"] | None:
        """The last set-point that was sent, (7,); before the first one where the arm was measured, None if nowhere."""
        stream, seen = self._stream, self._seen
        if stream is not None:
            return stream.set_point.copy()
        return None if seen is None else self.allowed(seen.pose)

    def stop(self) -> None:
        """See `Arm.stop`. The next stream starts from an observation made after this."""
        self._stops += 1
        self._stream, self._start_after = None, self._clock.monotonic()
        self.arm.stop()

    def close(self) -> None:
        """See `Arm.close`."""
        self.arm.close()

    def _limit(self, measured: Float[np.ndarray, "7"], target: Float[np.ndarray, "7"]) -> Float[np.ndarray, "7"]:
        """Returns the nearest target that is allowed from the measured pose; logs why it is another one."""
        step = difference(measured, target)
        angle = angle_of(step[3:6])
        if angle > self.limits.max_turn:
            self._refuse(f"a command turns by {angle:.3f} rad, the limit is {self.limits.max_turn} rad")
        length = float(np.linalg.norm(step[:3]))
        safe = target.copy()
        safe[:3] = measured[:3] + step[:3] * min(1.0, self.limits.max_step / max(length, 1e-12))
        sent = self.allowed(safe)
        reasons = ("a step longer than max_step",) * (length > self.limits.max_step)
        reasons += outside(safe, sent)
        if reasons:
            self._keep(SafetyEvent(self._clock.monotonic(), target, sent, reasons))
        return sent

    def allowed(self, target: Float[np.ndarray, "7"]) -> Float[np.ndarray, "7"]:
        """Returns the nearest pose within the workspace, the tilt limit and the gripper's range."""
        assert self._reference is not None
        safe = within_tilt(target, self._reference, self.limits.max_tilt).copy()
        safe[:3] = np.clip(safe[:3], self.limits.workspace_low, self.limits.workspace_high)
        safe[6] = np.clip(safe[6], 0.0, 1.0)
        return safe

    def _why_refused(self, target: Float[np.ndarray, "..."], now: float) -> str | None:
        """Returns why a set-point must not be followed, or None."""
        if target.shape != (7,) or not np.all(np.isfinite(target)):
            return f"a set-point is 7 finite numbers, got {target}"
        stream = self._stream
        if stream is not None and is_same(target, stream.set_point):
            return None  # no motion
        seen = self._seen
        if seen is None or seen.time < self._start_after:
            return "no observation yet: observe() first"
        age = now - seen.time
        if not -_LONGEST <= age <= self.limits.observation_age:
            return f"the newest observation is {age:.2f} s old"
        start = Stream.at_rest(seen.pose) if stream is None else stream
        if stream is None and (why := self._why_no_start(start)) is not None:
            return why
        distance = float(np.linalg.norm(target[:3] - start.set_point[:3]))
        turned = not np.array_equal(target[3:6], start.set_point[3:6])
        angle = angle_between(start.rotation, matrix_from_euler(target[3:6])) if turned else 0.0
        if distance > self.limits.max_step or angle > self.limits.max_turn:
            return f"a jump of {distance:.3f} m and {angle:.2f} rad"
        return None

    def _why_no_start(self, start: Stream) -> str | None:
        """Returns why an arm that stands there must not be moved, or None."""
        assert self._reference is not None
        pose = start.set_point
        low, high = np.subtract(self.limits.workspace_low, _EDGE), np.add(self.limits.workspace_high, _EDGE)
        tilt = angle_between(self._reference, start.rotation)
        if np.any(pose[:3] < low) or np.any(pose[:3] > high) or tilt > self.limits.max_tilt + _EDGE:
            return f"the arm stands outside of its limits, at {np.round(pose, 3)}: move it inside by hand"
        return None

    def _start(self, now: float) -> None:
        """Begins a stream where the arm was measured to stand."""
        assert self._seen is not None
        self._stream, self._sent_at = Stream.at_rest(self.allowed(self._seen.pose)), now

    def _pass_on(self, wanted: Float[np.ndarray, "7"] | None, now: float, stops: int) -> Float[np.ndarray, "7"] | None:
        """Sends the next set-point towards a pose, or while braking.

        Args:
            wanted: An allowed pose; None to brake.
            now: [monotonic s].
            stops: Count of stops when the caller began: one that came since then is repeated after the sending.

        Returns:
            What was sent, None if the driver got or took nothing.
        """
        assert self._streaming is not None, "set-points are for streaming arms"
        stream = self._stream
        if stream is None or self._reference is None:
            return None
        elapsed, self._sent_at = now - self._sent_at, now
        if not 0.0 <= elapsed <= _GAP:
            stream, elapsed = Stream.at_rest(stream.set_point), 0.0
        following, taken = stream.advance(wanted, min(elapsed, _LONGEST), self.limits, self._reference), True
        try:
            self._streaming.send(following.set_point.copy())
        except OutOfReach:
            following, taken = Stream.at_rest(stream.set_point), False
        if stops != self._stops:
            self._stream = None
            self._streaming.stop()
            return None
        self._stream = following
        return following.set_point.copy() if taken else None

    def _count_refusal(self, event: SafetyEvent) -> None:
        """Keeps the event of a refused set-point; one too many in a row stops the arm."""
        self._note(event)
        self._refusals += 1
        if self._refusals >= self.limits.hold_limit:
            self._refusals = 0
            self._refuse(f"{self.limits.hold_limit} set-points in a row were refused, the last: {event.reasons[-1]}")

    def _note(self, event: SafetyEvent) -> None:
        """Keeps an event, and logs it where the reasons are others than just before."""
        before = () if self.latest is None else self.latest.reasons
        self.latest = event
        if event.reasons and event.reasons != before:
            self._keep(event)

    def _keep(self, event: SafetyEvent) -> None:
        """Logs an event."""
        self.events.append(event)
        logger.info("commanded %s, sent %s: %s", event.commanded, event.sent, "; ".join(event.reasons))

    def _send_way(self, target: Float[np.ndarray, "7"], duration: float) -> Float[np.ndarray, "7"]:
        """Streams a straight way to a target, for up to twice the duration if need be, and returns where that led."""
        begin = now = self._clock.monotonic()
        start = place = cast(np.ndarray, self.place)  # the caller has observed
        while now - begin < (duration if is_same(place, target) else 2.0 * duration):
            if self._seen is None or now - self._seen.time > self.limits.observation_age / 2:
                self.observe()
            self.send(interpolate(start, target, min(1.0, (now - begin) / (_RAMP * duration))))
            self._clock.sleep(_STREAM_PERIOD)
            now, place = self._clock.monotonic(), cast(np.ndarray, self.place)
        return place

    def _refuse(self, why: str) -> NoReturn:
        self.stop()
        raise SafetyStop(f"{why}. The arm holds where it is")
