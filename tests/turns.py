"""Simulated time for programs with threads: a driver runs with all of its own, in the order that a test decides."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.fake_arms import TestClock


class Turns(TestClock):
    """Lets one thread run at a time, until it waits; then the next whose time has come or who waits no longer.

    Stands in for the modules `time` and `threading` wherever a program uses them. Time passes only when all wait.
    """

    def __init__(self, lateness: Callable[[], float] = lambda: 0.0) -> None:
        super().__init__(lateness)
        self.threads: list[_Thread] = []
        self.Thread, self.Event, self.Lock = partial(_Thread, self), partial(_Event, self), partial(_Lock, self)
        self.Condition = self.RLock = partial(_Lock, self, reentrant=True)
        self.current_thread = threading.current_thread
        self._own = threading.local()
        self._own.turn = _Turn()
        self._waiting: list[_Turn] = []  # since when, first come first

    def time_ns(self) -> int:
        """Returns the time of day, which no jump of the monotonic clock changes."""
        return int(1e9 * (self.now + 1e9))

    def sleep(self, seconds: float, /) -> None:
        self.wait_for(lambda: False, seconds)

    def wait_for(self, condition: Callable[[], Any], timeout: float | None = None) -> bool:
        """Lets others run until a condition holds or the time is over, and returns whether it holds."""
        if condition():
            return True
        turn = self._own.turn
        turn.condition = condition
        turn.until = math.inf if timeout is None else self.now + max(0.0, timeout) + self._lateness()
        self._waiting.append(turn)
        self.give(turn)
        return bool(condition())

    def give(self, mine: _Turn | None) -> None:
        """Hands the turn to who is next; returns when it is the caller's again, at once for one that is over."""
        while (chosen := next((turn for turn in self._waiting if turn.is_due(self.now)), None)) is None:
            moment = min(turn.until for turn in self._waiting)
            assert moment < math.inf, "every thread waits for ever"
            self._pass(min(moment, *(due for due, _ in self._alarms[:1]), math.inf))
        self._waiting.remove(chosen)
        if chosen is not mine:
            chosen.go.release()
            if mine is not None:
                mine.go.acquire()

    def enter(self, turn: _Turn) -> None:
        """Begins a thread: lines up, called by who starts it."""
        turn.until = self.now
        self._waiting.append(turn)

    def begin(self, turn: _Turn) -> None:
        """Returns when it is a new thread's turn."""
        turn.go.acquire()
        self._own.turn = turn

    def end_of_all(self, seconds: float) -> list[str]:
        """Returns which threads are still not over after a time."""
        self.wait_for(lambda: not any(thread.is_alive() for thread in self.threads), seconds)
        return [thread.name for thread in self.threads if thread.is_alive()]


class _Turn:
    """What a thread waits for."""

    def __init__(self) -> None:
        self.go = threading.Lock()
        self.go.acquire()
        self.until = 0.0
        self.condition: Callable[[], Any] = lambda: False

    def is_due(self, now: float) -> bool:
        return self.until <= now or bool(self.condition())


class _Thread:
    def __init__(self, clock: Turns, target: Callable[..., None], args=(), name: str = "", daemon: bool = True) -> None:
        self.name = name
        self._clock, self._target, self._args, self._turn = clock, target, args, _Turn()
        self._alive = False

    def start(self) -> None:
        self._alive = True
        self._clock.threads.append(self)
        self._clock.enter(self._turn)
        threading.Thread(target=self._run, name=self.name, daemon=True).start()

    def _run(self) -> None:
        self._clock.begin(self._turn)
        try:
            self._target(*self._args)
        except Exception as error:
            self._clock.broken.append(error)
        finally:
            self._alive = False
            self._clock.give(None)

    def is_alive(self) -> bool:
        return self._alive

    def join(self, timeout: float | None = None) -> None:
        self._clock.wait_for(lambda: not self._alive, timeout)


class _Event:
    def __init__(self, clock: Turns) -> None:
        self._clock, self._set = clock, False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        return self._clock.wait_for(self.is_set, timeout)


class _Lock:
    """A lock, reentrant or not, or a condition with its lock."""

    def __init__(self, clock: Turns, reentrant: bool = False) -> None:
        self._clock, self._reentrant, self._owner, self._depth = clock, reentrant, 0, 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = threading.get_ident()

        def free() -> bool:
            return self._owner == 0 or (self._reentrant and self._owner == me)

        if not free() and not (blocking and self._clock.wait_for(free, None if timeout < 0 else timeout)):
            return False
        self._owner, self._depth = me, self._depth + 1
        return True

    def release(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._owner = 0

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()

    def wait_for(self, condition: Callable[[], Any], timeout: float | None = None) -> Any:
        self.release()
        try:
            self._clock.wait_for(condition, timeout)
        finally:
            self.acquire()
        return condition()

    def notify_all(self) -> None:
        """Conditions are looked at whenever somebody waits."""

    notify = notify_all
