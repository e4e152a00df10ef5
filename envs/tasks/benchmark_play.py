"""What is recorded of public benchmarks: play in each of them, by its kind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from envs.episodes import Episode
from envs.registry import Registry

PLAYS: Registry[type] = Registry(
    "play",
    {
        "fetch": "envs.tasks.fetch_play:FetchPlay",
        "pusht": "envs.tasks.pusht_play:PushTPlay",
        "ogbench": "envs.tasks.ogbench_play:OgbenchPlay",
    },
)
"""Play in every benchmark by its kind: what an episode is like, a frozen dataclass that is a `BenchmarkPlay`."""


class BenchmarkPlay(Protocol):
    """What an episode of play in a benchmark is like, and what records it: one benchmark a file.

    Attributes:
        robot_type: The arm's name, as datasets have it.
    """

    robot_type: ClassVar[str]

    @property
    def kind(self) -> str:
        """Names the benchmark; its field, see `envs.config.Choice`."""
        ...

    def recorder(self, image_size: int) -> AbstractContextManager[Callable[[int], Episode]]:
        """Returns what opens the benchmark, and closes it, and between records an episode by its seed.

        The same seed gives the same episode. Actions are the differences of the measured poses.

        Args:
            image_size: Edge of the square images [pixels].
        """
        ...


@dataclass(frozen=True)
class ShakyPlay:
    """How an expert plays that brings things to random places, one after another.

    Attributes:
        kind: See `BenchmarkPlay`.
        frames: Frames in an episode; one action fewer.
        wander: How often random motion comes before the expert does the next thing.
        slips: Share of the expert's actions that go astray, by half of the longest (standard deviation).
        shaky: Noise on the expert's actions, as a share of the longest: each thing it does draws one of these.

    Raises:
        ValueError: If a number is out of its range.
    """

    kind: str
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
