"""Two planners on the same seeds: which is better, and how surely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from planner.evaluation.report import EpisodeRecord


@dataclass(frozen=True)
class Comparison:
    """Success at the end of two actors on the same seeds.

    Attributes:
        n: Seeds that both ran.
        gained: Seeds that the first solved and the second did not.
        lost: Seeds that the second solved and the first did not.
        difference: The first's share of successes minus the second's.
        interval: 95 % interval of it for paired shares.
        p: Of McNemar's exact test that neither is better.
    """

    n: int
    gained: int
    lost: int
    difference: float
    interval: tuple[float, float]
    p: float

    def __str__(self) -> str:
        """Returns it for people."""
        low, high = (100 * bound for bound in self.interval)
        return (
            f"{100 * self.difference:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}; of {self.n} seeds "
            f"{self.gained} gained, {self.lost} lost, McNemar's exact p = {self.p:.2g})"
        )


def compare(records: Sequence[EpisodeRecord], others: Sequence[EpisodeRecord]) -> Comparison:
    """Returns how much more often the first records end in success than the others, on the seeds that both have.

    Raises:
        ValueError: If they have no seed in common.
    """
    ours, theirs = ({record.seed: record.successes[-1] for record in found} for found in (records, others))
    pairs = [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
    if not pairs:
        raise ValueError(f"no seed in common: {sorted(ours)} and {sorted(theirs)}")
    gained, lost = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    p = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    interval = paired_interval(gained, lost, len(pairs))
    return Comparison(len(pairs), gained, lost, (gained - lost) / len(pairs), interval, p)


def paired_interval(gained: int, lost: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Returns the adjusted Wald interval of the difference of two paired shares, 95 % by default.

    Half a pair is added to each of the four cells, so with m = n + 2::

        ((b - c)  -+  z sqrt(b + c + 1 - (b - c)^2 / m)) / m        b gained, c lost

    Source: Agresti and Min (2005), Simple improved confidence intervals for comparing matched proportions.
    """
    m, difference = n + 2, gained - lost
    spread = z * math.sqrt(gained + lost + 1 - difference**2 / m)
    return max(-1.0, (difference - spread) / m), min(1.0, (difference + spread) / m)
