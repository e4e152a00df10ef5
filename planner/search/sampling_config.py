"""Settings of the planners that draw samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from envs.ranges import check_range


@dataclass(frozen=True)
class SearchConfig:
    """What the planners that keep a `planner.search.sampling.Search` have in common.

    Attributes:
        called: How errors call the planner.
        algorithm: Names the planner in YAML.
        horizon: Planned steps, H.
        iterations: Rounds of the search at most.
        tolerance: Stop when two iterations in a row lowered the best cost by less than this share; 0 for never.

    Raises:
        ValueError: If a setting is out of its range.
    """

    called: ClassVar[str]
    algorithm: str = ""
    horizon: int = 1
    iterations: int = 4
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        self.check("[1, inf)", "horizon", "iterations")
        self.check("[0, 1)", "tolerance")

    def check(self, interval: str, *names: str) -> None:
        """See `check_range`."""
        check_range(self, interval, *names, of=f"{self.called}'s ")


def _check_std(planner: str, minimum: float, initial: float, initial_name: str) -> None:
    """Raises a ValueError if deviations, fractions of the range, are not in order."""
    if not (initial > 0 and 0 <= minimum <= initial):
        raise ValueError(
            f"{planner} needs 0 <= minimum_std <= {initial_name} and {initial_name} > 0 (fractions of the range), got "
            f"minimum_std {minimum} and {initial_name} {initial}"
        )


def _check_kept(planner: str, kept: int, elites: int) -> None:
    """Raises a ValueError if more sequences would be kept than there are elites."""
    if not 0 <= kept <= elites:
        raise ValueError(f"{planner}'s kept_elites must be from 0 to its elites, got {kept} of {elites} elites")


@dataclass(frozen=True)
class CEMConfig(SearchConfig):
    """Settings of `CEM`.

    Attributes:
        samples: Action sequences scored in each iteration.
        iterations: Times the distribution is refitted.
        elites: Best sequences it is refitted to.
        kept_elites: Best sequences that stay candidates in the next iteration; they are not scored again.
        initial_std: Standard deviation at first, as a fraction of each dimension's range (high - low).
        minimum_std: The deviation never falls below this fraction of the range.
        momentum_mean: Share of the old mean in the new one, [0, 1).
        momentum_std: Share of the old deviation in the new one, [0, 1).
    """

    makes: ClassVar = "planner.search.cem:CEM"
    called: ClassVar = "CEM"
    algorithm: Literal["cem"] = "cem"
    samples: int = 32
    elites: int = 4
    kept_elites: int = 2
    initial_std: float = 0.4
    minimum_std: float = 0.01
    momentum_mean: float = 0.0
    momentum_std: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.elites <= self.samples:
            raise ValueError(
                f"CEM's elites must be from 2 to its samples, got {self.elites} elites of {self.samples} samples"
            )
        _check_kept("CEM", self.kept_elites, self.elites)
        _check_std("CEM", self.minimum_std, self.initial_std, "initial_std")
        self.check("[0, 1)", "momentum_mean", "momentum_std")


@dataclass(frozen=True)
class ICEMConfig(SearchConfig):
    """Settings of `ICEM`.

    Attributes:
        samples: Action sequences scored in the first iteration, the guesses among them.
        iterations: Times the distribution is refitted.
        elites: Best sequences it is refitted to.
        kept_elites: Best sequences that stay candidates in the next iteration, and the most runners-up of the plan.
        samples_decay: Each iteration draws this many times fewer samples than the one before (gamma, at least 1), but
            never fewer than twice the elites.
        noise_exponent: How much of the noise is slow along the horizon: its power falls as frequency^-exponent (beta);
            0 for noise that differs from step to step.
        initial_std: Standard deviation at first, as a fraction of each dimension's range (high - low).
        minimum_std: The deviation never falls below this fraction of the range.
        momentum: Share of the old mean and deviation in the new ones, [0, 1).
    """

    makes: ClassVar = "planner.search.icem:ICEM"
    called: ClassVar = "iCEM"
    algorithm: Literal["icem"] = "icem"
    samples: int = 32
    elites: int = 4
    kept_elites: int = 2
    samples_decay: float = 1.25
    noise_exponent: float = 2.0
    initial_std: float = 0.4
    minimum_std: float = 0.01
    momentum: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("[1, inf)", "samples_decay")
        if not 2 <= self.elites <= self.samples // 2:
            raise ValueError(
                f"iCEM's elites must be from 2 to half its samples, got {self.elites} elites of {self.samples} samples"
            )
        _check_kept("iCEM", self.kept_elites, self.elites)
        self.check("[0, inf)", "noise_exponent")
        _check_std("iCEM", self.minimum_std, self.initial_std, "initial_std")
        self.check("[0, 1)", "momentum")


@dataclass(frozen=True)
class MPPIConfig(SearchConfig):
    """Settings of `MPPI`.

    Attributes:
        samples: Action sequences scored in each iteration.
        iterations: Times the mean is moved.
        temperature: How much worse a sample may be and still count, as a fraction of how much worse the median one is.
        initial_std: Standard deviation of the noise at first, as a fraction of each dimension's range (high - low).
        minimum_std: The deviation never falls below this fraction of the range.
        std_decay: The deviation is multiplied by this after each iteration, (0, 1]; 1 for the same noise throughout.
            The default suits few iterations; a long search wants it nearer to 1.
        adapt_std: Whether what is multiplied is the weighted deviation of the samples rather than the old one.
    """

    makes: ClassVar = "planner.search.mppi:MPPI"
    called: ClassVar = "MPPI"
    algorithm: Literal["mppi"] = "mppi"
    samples: int = 32
    temperature: float = 0.2
    initial_std: float = 0.4
    minimum_std: float = 0.01
    std_decay: float = 0.5
    adapt_std: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("[2, inf)", "samples")
        self.check("(0, inf)", "temperature")
        _check_std("MPPI", self.minimum_std, self.initial_std, "initial_std")
        self.check("(0, 1]", "std_decay")


@dataclass(frozen=True)
class PredictiveSamplingConfig(SearchConfig):
    """Settings of `PredictiveSampling`.

    Attributes:
        samples: Action sequences scored in each iteration.
        iterations: Times new samples are drawn about the best so far; 1 in the source.
        std: Standard deviation of the noise at first, as a fraction of each dimension's range (high - low).
        minimum_std: The deviation never falls below this fraction of the range.
        std_decay: The deviation is multiplied by this after each iteration, (0, 1]; 1 for the same noise throughout.
            The default suits few iterations; a long search wants it nearer to 1.
    """

    makes: ClassVar = "planner.search.predictive_sampling:PredictiveSampling"
    called: ClassVar = "predictive sampling"
    algorithm: Literal["predictive_sampling"] = "predictive_sampling"
    samples: int = 32
    std: float = 0.2
    minimum_std: float = 0.01
    std_decay: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("[1, inf)", "samples")
        _check_std("predictive sampling", self.minimum_std, self.std, "std")
        self.check("(0, 1]", "std_decay")


@dataclass(frozen=True)
class OfficialCEMConfig:
    """Settings of `OfficialCEM`; the defaults are the paper's.

    Attributes:
        algorithm: Names this planner in YAML.
        horizon: Planned steps, H.
        samples: Action sequences scored in each iteration.
        iterations: Times the distribution is refitted.
        elites: Best sequences it is refitted to.
        momentum_mean: Share of the old mean in the new one, [0, 1).
        momentum_std: Share of the old deviation in the new one, [0, 1).
        gripper_momentum_mean: The same for the gripper.
        gripper_momentum_std: The same for the gripper.
        gripper_std: The gripper's deviation at first; the others' is their upper bound.
        gripper_dead_zone: Changes of the gripper that are smaller than this become none.

    Raises:
        ValueError: If a setting is out of its range.
    """

    makes: ClassVar = "planner.search.official_cem:OfficialCEM"
    algorithm: Literal["official_cem"] = "official_cem"
    horizon: int = 1
    samples: int = 800
    iterations: int = 10
    elites: int = 10
    momentum_mean: float = 0.15
    momentum_std: float = 0.15
    gripper_momentum_mean: float = 0.15
    gripper_momentum_std: float = 0.15
    gripper_std: float = 1.0
    gripper_dead_zone: float = 0.25

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "horizon", "iterations", of="the official CEM's ")
        if not 2 <= self.elites <= self.samples:
            raise ValueError(
                f"the official CEM's elites must be from 2 to its samples, got {self.elites} elites of {self.samples} "
                "samples"
            )
        momenta = ("momentum_mean", "momentum_std", "gripper_momentum_mean", "gripper_momentum_std")
        check_range(self, "[0, 1)", *momenta, of="the official CEM's ")
        check_range(self, "(0, inf)", "gripper_std", of="the official CEM's ")
        check_range(self, "[0, inf)", "gripper_dead_zone", of="the official CEM's ")
