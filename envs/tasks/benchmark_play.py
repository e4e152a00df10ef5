"""What play in a public benchmark is like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BenchmarkPlay:
    """What an episode of a benchmark's play is like.

    Attributes:
        frames: Frames in an episode; one action fewer.
        wander: How often random motion comes before an expert does the next thing.
        slips: Share of an expert's actions that go astray, by half of the longest (standard deviation).
        shaky: Noise on an expert's actions, as a share of the longest: each thing it does draws one of these.

    Raises:
        ValueError: If a number is out of its range.
    """

    frames: int = 33
    wander: float = 0.2
    slips: float = 0.1
    shaky: tuple[float, ...] = (0.0, 0.05, 0.2)

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise ValueError(f"an episode needs at least 2 frames, got {self.frames}")
        if not (0 <= self.wander <= 1 and 0 <= self.slips <= 1 and self.shaky and min(self.shaky) >= 0):
            raise ValueError(
                "wander and slips are shares, in [0, 1], and shaky at least one share, none below 0, got "
                f"{self.wander}, {self.slips} and {self.shaky}"
            )

    def draw_noise(self, generator: np.random.Generator) -> float:
        """Returns the noise on what an expert does next, as a share of the longest action."""
        return float(generator.choice(self.shaky))
