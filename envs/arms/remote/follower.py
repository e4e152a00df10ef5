"""Watches an arm whose set-points come over a network: follows them, and holds and stops when they stay away."""

from __future__ import annotations

import logging
import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from envs.arms.base import StreamingArm

logger = logging.getLogger(__name__)
_PERIOD = 0.01  # seconds between two looks, and between two set-points while it holds
_SHORTEST = 0.001  # seconds between two set-points, however many come
_DRIFT = 0.001  # of a network's delay: how fast what counts as the usual one may grow [s/s]


@dataclass(frozen=True)
class FollowerConfig:
    """When an arm is held and stopped.

    Attributes:
        timeout: A set-point that was under way for so much longer than the quickest is too old to be followed [s].
        stop_after: Without a set-point for so long the arm is stopped [s].

    Raises:
        ValueError: If the times are not positive or the arm would be stopped before it is held.
    """

    timeout: float = 0.2
    stop_after: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.timeout <= self.stop_after:
            raise ValueError(
                f"the follower's timeout must be positive and at most stop_after, got {self.timeout} s and "
                f"{self.stop_after} s"
            )


class Follower:
    """A thread that is the only one to move an arm, for as long as one client is connected.

    It follows nothing until the first set-point, and nothing more after a `fault`: then the arm is stopped and the
    client has to connect again. When the client is gone (`finish`) it holds and stops the arm all the same.

    Attributes:
        fault: Why the arm was stopped, in one line; None while all is well.
    """

    def __init__(self, arm: StreamingArm, config: FollowerConfig) -> None:
        """Starts the thread."""
        self.fault: str | None = None
        self._arm, self._config = arm, config
        self._changed = threading.Condition()
        self._target: Float[np.ndarray, "7"] | None = None
        self._fresh = False  # the target was not sent to the arm yet
        self._arrived = 0.0
        self._delay = math.inf  # of the quickest set-point: this clock minus the client's, and the way here
        self._timed = 0.0  # when that was looked at
        self._stops = 0
        self._finished = False
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def follow(self, set_point: Float[np.ndarray, "7"], sent: float) -> None:
        """Takes the newest set-point, unless it is too old.

        Args:
            set_point: Position [m], extrinsic-xyz Euler angles [rad], gripper closedness.
            sent: When it was sent, on the client's clock [s].
        """
        now = time.monotonic()
        with self._changed:
            self._delay = min(now - sent, self._delay + _DRIFT * (now - self._timed))
            self._timed = now
            if now - sent > self._delay + self._config.timeout:
                return
            self._target, self._fresh, self._arrived = set_point, True, now
            self._changed.notify()

    def stop(self) -> None:
        """Holds the arm where it is, at once; the next set-point moves it again."""
        with self._changed:
            self._target, self._fresh = None, False
            self._stops += 1
        self._arm.stop()

    def finish(self) -> None:
        """Returns when the arm is stopped and the thread is over; no more set-points will come."""
        with self._changed:
            self._finished = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        """Follows until there is nothing left to follow; stops the arm, whatever happens."""
        try:
            while self._step():
                time.sleep(_SHORTEST)
        except (RuntimeError, ValueError, OSError) as error:  # the driver's, and the safety filter's
            self.fault = " ".join(str(error).split())
        finally:
            self.fault = self.fault or "the arm is no longer followed"
            try:
                self._arm.stop()
            except (RuntimeError, OSError) as error:
                logger.error("the arm could not be stopped: %s", error)

    def _step(self) -> bool:
        """Waits for a set-point, sends or holds what is due and returns whether to go on."""
        with self._changed:
            self._changed.wait_for(lambda: self._fresh or self._finished, timeout=_PERIOD)
            target, stops, finished = self._target, self._stops, self._finished
            self._fresh = False
        if target is None:
            return not finished
        age = time.monotonic() - self._arrived
        if age > self._config.stop_after:
            raise RuntimeError(f"no set-point came for {self._config.stop_after:g} s: the arm was stopped")
        self._arm.send(target)  # again where no new one came: a stream that pauses would begin anew from rest
        if stops != self._stops:  # stop() came while the set-point was being sent
            self._arm.stop()
        if finished:
            time.sleep(_PERIOD)
        return True
