"""Settings of those that propose actions before a search begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from envs.config import Choice, KindSettings
from envs.ranges import check_range
from envs.registry import Registry

PROPOSERS: Registry[type] = Registry(
    "proposer",
    {
        "inverse_dynamics": "planner.proposals.config:InverseDynamicsConfig",
        "retrieval": "planner.proposals.config:RetrievalConfig",
    },
)
"""Every proposer by its kind."""


ProposerConfig = Annotated[KindSettings, Choice("kind", PROPOSERS)]
"""Settings of a proposer; ``kind`` in YAML says which."""


@dataclass(frozen=True)
class RetrievalConfig:
    """Settings of `Retrieval`.

    Attributes:
        kind: Names this proposer in YAML.
        longest: Actions, at most, from a recorded frame to what looks like the goal.
        leading: Recorded frames that are looked at, those that led nearest to the goal.
        neighbours: Of these, the nearest to a frame, among which all ways but the first draw.

    Raises:
        ValueError: If a number is not positive.
    """

    makes: ClassVar = "planner.proposals.retrieval:Retrieval"
    kind: Literal["retrieval"] = "retrieval"
    longest: int = 20
    leading: int = 8192
    neighbours: int = 4

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "longest", "leading", "neighbours", of="retrieval's ")


@dataclass(frozen=True)
class PaceConfig:
    """How many actions a way is asked to have, see `planner.proposals.pace.Pace`.

    Attributes:
        pace: How quick a way is asked for, in (0, 1]: 0.1 goes as fast as the fastest tenth of such ways in the
            recordings, as far as what was seen before allows.
        forget: How likely each action makes void what the frames before it said of the way, in (0, 1]; 1 judges each
            frame by itself, which is for those who look less often than after each action.
        doubt: From how many actions on, that the checkpoint's temporal distance expects, it is not believed that the
            goal is near; a way as slow as `detour` says is asked for then. None: it is believed.
        detour: How slow, in (0, 1], as `pace`.

    Raises:
        ValueError: If a number is out of its range.
    """

    pace: float = 0.05
    forget: float = 0.3
    doubt: float | None = None
    detour: float = 0.5

    def __post_init__(self) -> None:
        check_range(self, "(0, 1]", "pace", "forget", "detour", of="a way's ")
        check_range(self, "[0, inf)", "doubt", of="a way's ")


@dataclass(frozen=True, kw_only=True)
class InverseDynamicsConfig(PaceConfig):
    """Settings of `InverseDynamicsProposer`: those of `PaceConfig`, and how ways differ.

    Attributes:
        kind: Names this proposer in YAML.
        temperature: Of what all ways but the first draw their actions by; under 1 keeps to the likeliest.

    Raises:
        ValueError: If a number is out of its range.
    """

    makes: ClassVar = "planner.proposals.inverse_dynamics:InverseDynamicsProposer"
    kind: Literal["inverse_dynamics"] = "inverse_dynamics"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "(0, inf)", "temperature", of="the inverse dynamics' ")
