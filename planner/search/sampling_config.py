"""Settings of the planners that draw samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class CEMConfig:
    """Settings of `CEM`.

    Attributes:
        algorithm: Names this planner in YAML.
        horizon: Planned steps, H.
        samples: Action sequences scored in each iteration.
        iterations: Times the distribution is refitted.
        elites: Best sequences it is refitted to.
        kept_elites: Best sequences that stay candidates in the next iteration; they are not scored again.
        initial_std: Standard deviation at first, as a fraction of each dimension's range (high - low).
        minimum_std: The deviation never falls below this fraction of the range.
        momentum_mean: Share of the old mean in the new one, [0, 1).
        momentum_std: Share of the old deviation in the new one, [0, 1).
        tolerance: Stop when two iterations in a row lowered the best cost by less than this share; 0 for never.

    Raises:
        ValueError: If a setting is out of its range.
    """

    makes: ClassVar = "planner.search.cem:CEM"
    algorithm: Literal["cem"] = "cem"
    horizon: int = 1
    samples: int = 32
    iterations: int = 4
    elites: int = 4
    kept_elites: int = 2
    initial_std: float = 0.4
    minimum_std: float = 0.01
    momentum_mean: float = 0.0
    momentum_std: float = 0.0
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        for name in ("horizon", "iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"CEM's {name} must be at least 1, got {getattr(self, name)}")
        if not 2 <= self.elites <= self.samples:
            raise ValueError(
                f"CEM's elites must be from 2 to its samples, got {self.elites} elites of {self.samples} samples"
            )
        if not 0 <= self.kept_elites <= self.elites:
            raise ValueError(
                f"CEM's kept_elites must be from 0 to its elites, got {self.kept_elites} of {self.elites} elites"
            )
        if not (self.initial_std > 0 and 0 <= self.minimum_std <= self.initial_std):
            raise ValueError(
                "CEM needs 0 <= minimum_std <= initial_std and initial_std > 0 (fractions of the range), got "
                f"minimum_std {self.minimum_std} and initial_std {self.initial_std}"
            )
        for name in ("momentum_mean", "momentum_std", "tolerance"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"CEM's {name} must be in [0, 1), got {getattr(self, name)}")


@dataclass(frozen=True)
class ICEMConfig:
    """Settings of `ICEM`.

    Attributes:
        algorithm: Names this planner in YAML.
        horizon: Planned steps, H.
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
        tolerance: Stop when two iterations in a row lowered the best cost by less than this share; 0 for never.

    Raises:
        ValueError: If a setting is out of its range.
    """

    makes: ClassVar = "planner.search.icem:ICEM"
    algorithm: Literal["icem"] = "icem"
    horizon: int = 1
    samples: int = 32
    iterations: int = 4
    elites: int = 4
    kept_elites: int = 2
    samples_decay: float = 1.25
    noise_exponent: float = 2.0
    initial_std: float = 0.4
    minimum_std: float = 0.01
    momentum: float = 0.1
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        for name in ("horizon", "iterations", "samples_decay"):
            if getattr(self, name) < 1:
                raise ValueError(f"iCEM's {name} must be at least 1, got {getattr(self, name)}")
        if not 2 <= self.elites <= self.samples // 2:
            raise ValueError(
                f"iCEM's elites must be from 2 to half its samples, got {self.elites} elites of {self.samples} samples"
            )
        if not 0 <= self.kept_elites <= self.elites:
            raise ValueError(
                f"iCEM's kept_elites must be from 0 to its elites, got {self.kept_elites} of {self.elites} elites"
            )
        if self.noise_exponent < 0:
            raise ValueError(f"iCEM's noise_exponent must be at least 0, got {self.noise_exponent}")
        if not (self.initial_std > 0 and 0 <= self.minimum_std <= self.initial_std):
            raise ValueError(
                "iCEM needs 0 <= minimum_std <= initial_std and initial_std > 0 (fractions of the range), got "
                f"minimum_std {self.minimum_std} and initial_std {self.initial_std}"
            )
        for name in ("momentum", "tolerance"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"iCEM's {name} must be in [0, 1), got {getattr(self, name)}")


@dataclass(frozen=True)
class MPPIConfig:
    """Settings of `MPPI`.

    Attributes:
        algorithm: Names this planner in YAML.
        horizon: Planned steps, H.
        samples: Action sequences scored in each iteration.
        iterations: Times the mean is moved.
        temperature: How much worse a sample may be and still count, as a fraction of how much worse the median one is.
        initial_std: Standard deviation of the noise at first, as a fraction of each dimension's range (high - low).
        minimum_std: The deviation never falls below this fraction of the range.
        std_decay: The deviation is multiplied by this after each iteration, (0, 1]; 1 for the same noise throughout.
            The default suits few iterations; a long search wants it nearer to 1.
        adapt_std: Whether what is multiplied is the weighted deviation of the samples rather than the old one.
        tolerance: Stop when two iterations in a row lowered the best cost by less than this share; 0 for never.

    Raises:
        ValueError: If a setting is out of its range.
    """

    makes: ClassVar = "planner.search.mppi:MPPI"
    algorithm: Literal["mppi"] = "mppi"
    horizon: int = 1
    samples: int = 32
    iterations: int = 4
    temperature: float = 0.2
    initial_std: float = 0.4
    minimum_std: float = 0.01
    std_decay: float = 0.5
    adapt_std: bool = False
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("horizon", 1), ("iterations", 1), ("samples", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"MPPI's {name} must be at least {least}, got {getattr(self, name)}")
        if self.temperature <= 0:
            raise ValueError(f"MPPI's temperature must be above 0, got {self.temperature}")
        if not (self.initial_std > 0 and 0 <= self.minimum_std <= self.initial_std):
            raise ValueError(
                "MPPI needs 0 <= minimum_std <= initial_std and initial_std > 0 (fractions of the range), got "
                f"minimum_std {self.minimum_std} and initial_std {self.initial_std}"
            )
        if not 0 < self.std_decay <= 1:
            raise ValueError(f"MPPI's std_decay must be in (0, 1], got {self.std_decay}")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"MPPI's tolerance must be in [0, 1), got {self.tolerance}")


@dataclass(frozen=True)
class PredictiveSamplingConfig:
    """Settings of `PredictiveSampling`.

    Attributes:
        algorithm: Names this planner in YAML.
        horizon: Planned steps, H.
        samples: Action sequences scored in each iteration.
        iterations: Times new samples are drawn about the best so far; 1 in the source.
        std: Standard deviation of the noise at first, as a fraction of each dimension's range (high - low).
        minimum_std: The deviation never falls below this fraction of the range.
        std_decay: The deviation is multiplied by this after each iteration, (0, 1]; 1 for the same noise throughout.
            The default suits few iterations; a long search wants it nearer to 1.
        tolerance: Stop when two iterations in a row lowered the best cost by less than this share; 0 for never.

    Raises:
        ValueError: If a setting is out of its range.
    """

    makes: ClassVar = "planner.search.predictive_sampling:PredictiveSampling"
    algorithm: Literal["predictive_sampling"] = "predictive_sampling"
    horizon: int = 1
    samples: int = 32
    iterations: int = 4
    std: float = 0.2
    minimum_std: float = 0.01
    std_decay: float = 0.5
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        for name in ("horizon", "samples", "iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"predictive sampling's {name} must be at least 1, got {getattr(self, name)}")
        if not (self.std > 0 and 0 <= self.minimum_std <= self.std):
            raise ValueError(
                "predictive sampling needs 0 <= minimum_std <= std and std > 0 (fractions of the range), got "
                f"minimum_std {self.minimum_std} and std {self.std}"
            )
        if not 0 < self.std_decay <= 1:
            raise ValueError(f"predictive sampling's std_decay must be in (0, 1], got {self.std_decay}")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"predictive sampling's tolerance must be in [0, 1), got {self.tolerance}")


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
        if min(self.horizon, self.iterations) < 1:
            raise ValueError(
                f"the official CEM's horizon and iterations must be at least 1, got {self.horizon} and "
                f"{self.iterations}"
            )
        if not 2 <= self.elites <= self.samples:
            raise ValueError(
                f"the official CEM's elites must be from 2 to its samples, got {self.elites} elites of {self.samples} "
                "samples"
            )
        for name in ("momentum_mean", "momentum_std", "gripper_momentum_mean", "gripper_momentum_std"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"the official CEM's {name} must be in [0, 1), got {getattr(self, name)}")
        if not (self.gripper_std > 0 and self.gripper_dead_zone >= 0):
            raise ValueError("the official CEM needs gripper_std > 0 and gripper_dead_zone >= 0")
