"""Measured poses of the last seconds, so that an image finds the pose of its own time."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from envs.arms.base import ArmError


class PoseHistory:
    """A ring of timed poses (7,), filled by one thread and read by any."""

    def __init__(self, seconds: float = 5.0) -> None:
        self._seconds = seconds
        self._entries: deque[tuple[float, Float[np.ndarray, "7"]]] = deque()
        self._changed = threading.Condition()
        self._failure: ArmError | None = None

    def add(self, time: float, pose: Float[np.ndarray, "7"]) -> None:
        """Remembers a pose measured at a time [monotonic s]; one that is not newer than the last is known already."""
        with self._changed:
            if self._entries and time <= self._entries[-1][0]:
                return
            self._entries.append((time, np.array(pose, dtype=np.float64)))
            while self._entries[0][0] < time - self._seconds:
                self._entries.popleft()
            self._changed.notify_all()

    def fail(self, why: ArmError) -> None:
        """Says that no more poses come; whoever waits for one is told why."""
        with self._changed:
            self._failure = why
            self._changed.notify_all()

    def at(self, time: float, timeout: float = 1.0) -> Float[np.ndarray, "7"]:
        """Returns the pose (7,) at a time, interpolated between the two poses measured around it.

        Args:
            time: When [monotonic s].
            timeout: How long to wait for a pose measured at or after that time [s].

        Raises:
            ArmError: If no pose came in time, none will come or the time is before all that is remembered.
        """
        with self._changed:
            came = self._changed.wait_for(lambda: self._failure or self._covers(time), timeout)
            if self._failure is not None:
                raise ArmError(str(self._failure)) from self._failure
            if not came:
                raise ArmError(f"no pose was measured within {timeout} s of the image: is the robot still connected?")
            entries = list(self._entries)
        if time < entries[0][0]:
            raise ArmError(
                f"the newest image is {entries[-1][0] - time:.1f} s old, poses are remembered for {self._seconds} s: "
                "is the camera still delivering images?"
            )
        later = next(index for index, (measured, _) in enumerate(entries) if measured >= time)
        return entries[0][1] if later == 0 else _between(entries[later - 1], entries[later], time)

    def _covers(self, time: float) -> bool:
        return bool(self._entries) and self._entries[-1][0] >= time


def _between(
    before: tuple[float, Float[np.ndarray, "7"]], after: tuple[float, Float[np.ndarray, "7"]], time: float
) -> Float[np.ndarray, "7"]:
    """Returns the pose on the way from one timed pose to another: straight, the shortest turn."""
    (start, first), (end, last) = before, after
    pose = first + (last - first) * (time - start) / (end - start)
    turns = Slerp([start, end], Rotation.from_euler("xyz", np.stack([first[3:6], last[3:6]])))
    pose[3:6] = turns(time).as_euler("xyz")
    return pose
