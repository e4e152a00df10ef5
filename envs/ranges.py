"""Numbers of settings are within their ranges."""

from __future__ import annotations

from typing import Any


def check_range(settings: Any, interval: str, *names: str, of: str = "") -> None:
    """Returns if the named settings are within an interval; one that is None is not asked.

    Args:
        settings: A dataclass, while it is made.
        interval: As mathematics writes it: "[0, 1)" has 0 and not 1; "(0, inf)" is what is positive.
        names: Of the settings.
        of: Whose settings they are, for the error, such as "a readout's ".

    Raises:
        ValueError: Naming the first that is not.
    """
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    for name in names:
        value = getattr(settings, name)
        if value is None:
            continue
        over = value >= low if interval[0] == "[" else value > low
        under = value <= high if interval[-1] == "]" else value < high
        if not (over and under):
            raise ValueError(f"{of}{name} must be {_told(interval)}, got {value}")


def _told(interval: str) -> str:
    """Returns an interval in words where there are shorter ones."""
    if not interval.endswith(", inf)"):
        return f"in {interval}"
    low = interval[1:].partition(",")[0]
    return f"at least {low}" if interval[0] == "[" else "positive" if low == "0" else f"over {low}"
