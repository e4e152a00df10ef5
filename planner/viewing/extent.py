"""From where to where a curve is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Extent:
    """From where to where a curve's picture goes: zero is in it, whatever the values.

    Attributes:
        low: Its lower end, 0 unless a value is below.
        high: Its upper end, 0 unless a value is above.
    """

    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Returns that of values; those that are not finite do not count."""
        known = [value for value in values if math.isfinite(value)]
        low, high = min([0.0, *known]), max([0.0, *known])
        return cls(low, high if high > low else low + 1e-9)

    def share(self, value: float) -> float:
        """Returns how far up a value is, 0 to 1; zero's place for one that is not finite."""
        return ((value if math.isfinite(value) else 0.0) - self.low) / (self.high - self.low)

    def __str__(self) -> str:
        return f"{self.low:.3g} to {self.high:.3g}" if self.low else f"top {self.high:.3g}"
