"""The keyboard beside an arm: answers, confirmations and a key that must be held."""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable
from typing import Any

RELEASED = 0.3
"""So long after the last repetition a key counts as let go [s]; keyboards repeat 20 to 40 times a second."""

_LOOK = 0.05  # s between two looks at the keyboard


def ask(prompt: str, given_up: Callable[[], bool] = lambda: False) -> str | None:
    """Returns the line that a person types, without its end; None if the input is over or the question given up.

    On a terminal, what was typed before the question is no answer to it.

    Args:
        prompt: The question.
        given_up: Asked all the time; True ends the waiting.
    """
    if sys.stdin.isatty():
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
    print(prompt, end="", flush=True)
    keyboard, typed = sys.stdin.fileno(), b""
    while not given_up():
        if select.select([keyboard], [], [], _LOOK)[0]:
            key = os.read(keyboard, 1)  # one at a time: what follows is the next answer
            if key in (b"", b"\n"):
                return None if key == b"" else typed.decode(errors="replace")
            typed += key
    return None


class Deadman:
    """The space bar as a key that must be held for the arm to move, for the length of a ``with`` statement.

    A terminal tells only that a key was pressed or repeated. The first repetition comes half a second after the
    pressing, so that the arm begins, holds and goes on when the bar is pressed; when it is let go the arm holds within
    `RELEASED`.
    """

    def __init__(self) -> None:
        self._pressed = -float("inf")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="deadman", daemon=True)
        self._before: list[Any] = []

    def held(self) -> bool:
        """Returns whether the space bar is held."""
        return time.monotonic() - self._pressed < RELEASED

    def __enter__(self) -> Deadman:
        if not sys.stdin.isatty():
            raise ValueError("--deadman needs a terminal: its space bar must be held for the arm to move")
        self._before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)  # keys come at once and are not shown; Ctrl-C is still a signal
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, self._before)

    def _watch(self) -> None:
        keyboard = sys.stdin.fileno()
        while not self._over.is_set():
            if select.select([keyboard], [], [], _LOOK)[0]:
                keys = os.read(keyboard, 1024)
                if not keys:
                    return
                if b" " in keys:
                    self._pressed = time.monotonic()
