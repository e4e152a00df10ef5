"""What tells the time to everything that moves an arm."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The module `time`, or a test's own."""

    def monotonic(self) -> float:
        """Returns the time [s]; it never goes back."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Returns so many seconds later."""
        ...
