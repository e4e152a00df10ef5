"""How far a program is: a bar on a terminal, a plain line now and then in a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

EVERY = 10.0
"""Seconds between two lines of a program that no terminal watches."""

_LINE = "{desc}: {n_fmt}/{total_fmt} {unit}, {elapsed} so far, {remaining} to go{postfix}"


def progress(
    iterable: Iterable[Any] | None = None, desc: str = "", total: int | None = None, unit: str = "step", **settings: Any
) -> tqdm:
    """Returns a bar over something, or one that is moved by hand, on standard error; see tqdm for its settings."""
    if sys.stderr.isatty():
        return tqdm(iterable, desc, total, file=sys.stderr, unit=unit, **settings)
    plain = {"mininterval": EVERY, "maxinterval": EVERY, "bar_format": _LINE}
    units = unit if unit == "B" else f"{unit}s"
    return tqdm(iterable, desc, total, file=_Lines(sys.stderr), unit=units, **plain, **settings)


class _Lines:
    """A file for a bar, that makes a line of each state of it."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._last = file, ""

    def write(self, text: str) -> None:
        """Writes a line unless it is empty, moves the cursor or is the one before."""
        line = text.strip()
        if line and not line.startswith("\x1b") and line != self._last:
            self._file.write(f"{line}\n")
            self._last = line

    def flush(self) -> None:
        """Writes what is in the file's buffer."""
        self._file.flush()
