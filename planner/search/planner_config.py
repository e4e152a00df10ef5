"""Settings of a planner, and of those that draw no samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from envs.config import Choice
from envs.ranges import check_range
from envs.registry import Registry
from planner.search.sampling_config import CEMConfig, SearchConfig

if TYPE_CHECKING:
    from planner.base import Planner  # needs torch, which settings do not

_SAMPLING = {
    "cem": "planner.search.sampling_config:CEMConfig",
    "icem": "planner.search.sampling_config:ICEMConfig",
    "mppi": "planner.search.sampling_config:MPPIConfig",
    "predictive_sampling": "planner.search.sampling_config:PredictiveSamplingConfig",
}

PLANNERS: Registry[type] = Registry(
    "planner",
    {
        **_SAMPLING,
        "official_cem": "planner.search.sampling_config:OfficialCEMConfig",
        "gradient": "planner.search.planner_config:GradientConfig",
        "hybrid": "planner.search.planner_config:HybridConfig",
        "first_guess": "planner.search.planner_config:FirstGuessConfig",
    },
)
"""Every planner by its name."""

SAMPLING: Registry[type] = Registry("planner by sampling", _SAMPLING)
"""Those that `HybridConfig.sampling` may be."""


class PlannerSettings(Protocol):
    """Settings of a planner: a frozen dataclass, see `envs.config.Choice`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def algorithm(self) -> str:
        """Its name."""
        ...

    @property
    def horizon(self) -> int:
        """Planned steps, H."""
        ...


SamplingConfig = Annotated[PlannerSettings, Choice("algorithm", SAMPLING)]
"""Settings of a planner by sampling; ``algorithm`` in YAML says which."""

PlannerConfig = Annotated[PlannerSettings, Choice("algorithm", PLANNERS)]
"""Settings of a planner; ``algorithm`` in YAML says which."""


def make_planner(settings: PlannerSettings) -> Planner:
    """Returns the planner that settings describe."""
    return Choice("algorithm", PLANNERS).make(settings)


@dataclass(frozen=True)
class GradientConfig(SearchConfig):
    """Settings of `Gradient`.

    Attributes:
        optimizer: adam, which moves all starts at once, or lbfgs, which takes one after another, the best first.
        starts: Sequences to descend from: the guesses, all of them, and random ones to make up this number.
        iterations: Calls of the score with its gradient, one after another: with adam each is a step of all starts,
            with lbfgs an evaluation of one sequence.
        learning_rate: Size of a first step, as a fraction of each dimension's range (high - low); with adam it falls
            linearly to 0, over the iterations or over the time until a deadline, whichever ends first.
        momentum: Share of the old mean gradient in the new one, [0, 1), with adam. The source's 0.9 is meant for
            thousands of steps.
        tolerance: Stop when two iterations in a row lowered the best cost by less than this share; with lbfgs, when two
            steps of one start did, and go on to the next start. 0 for never.
    """

    makes: ClassVar = "planner.search.gradient:Gradient"
    called: ClassVar = "the gradient planner"
    algorithm: Literal["gradient"] = "gradient"
    optimizer: Literal["adam", "lbfgs"] = "adam"
    starts: int = 4
    iterations: int = 10
    learning_rate: float = 0.1
    momentum: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("[1, inf)", "starts")
        if self.optimizer not in {"adam", "lbfgs"}:
            raise ValueError(f"the gradient planner's optimizer must be adam or lbfgs, got {self.optimizer!r}")
        self.check("(0, 1]", "learning_rate")
        self.check("[0, 1)", "momentum")


@dataclass(frozen=True)
class HybridConfig:
    """Settings of `Hybrid`.

    Attributes:
        algorithm: Names this planner in YAML.
        horizon: Planned steps, H, of both parts; theirs may only be the same or left out.
        sampling: Settings of the first part.
        gradient: Settings of the second part. Its starts are the first part's plan and runners-up, and random ones only
            if it asks for more.
        sampling_share: Share of the time until a deadline that the first part may take, (0, 1).
        tolerance: That of a part which has none of its own; see there. 0 for never.

    Raises:
        ValueError: If a setting is out of its range or a part has another horizon.
    """

    makes: ClassVar = "planner.search.hybrid:Hybrid"
    algorithm: Literal["hybrid"] = "hybrid"
    horizon: int = 1
    sampling: SamplingConfig = field(default_factory=CEMConfig)
    gradient: GradientConfig = field(default_factory=lambda: GradientConfig(starts=1))
    sampling_share: float = 0.5
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "horizon", of="the hybrid planner's ")
        for part in ("sampling", "gradient"):
            horizon = getattr(self, part).horizon
            if horizon not in {1, self.horizon}:
                raise ValueError(f"the hybrid planner's horizon is {self.horizon}, but that of its {part} is {horizon}")
        check_range(self, "(0, 1)", "sampling_share", of="the hybrid planner's ")
        check_range(self, "[0, 1)", "tolerance", of="the hybrid planner's ")


@dataclass(frozen=True)
class FirstGuessConfig:
    """Settings of `FirstGuess`.

    Attributes:
        algorithm: Names this planner in YAML.
        horizon: Planned steps, H.

    Raises:
        ValueError: If the horizon is not positive.
    """

    makes: ClassVar = "planner.search.first_guess:FirstGuess"
    algorithm: Literal["first_guess"] = "first_guess"
    horizon: int = 1

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "horizon", of="first_guess's ")
