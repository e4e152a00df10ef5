"""Predictive sampling: the best of noisy copies of the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.base import Plan, Score
from planner.search import Search


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


class PredictiveSampling:
    """Keeps the best of noisy copies of the best sequence so far: the simplest search there is.

    Solves::

        minimise score(a)   over a (H, A)   with low <= a_h <= high

    by repeating: draw a_s = clip(best + std * noise_s), score, and

        best <- the best of best, a_1, ..., a_S        std <- max(decay * std, minimum)

    The first guess is the first best, and all guesses are candidates in the first iteration. It has no model of where
    good sequences lie, so it needs no more than one sample, and one good sample is enough to move it.

    Source: Howell et al., Predictive Sampling: Real-time Behaviour Synthesis with MuJoCo (arXiv 2212.00541), section
    3.3, with noise at every step rather than at the knots of a spline.
    """

    def __init__(self, config: PredictiveSamplingConfig | None = None) -> None:
        """Takes the settings; None for the defaults."""
        self.config = config or PredictiveSamplingConfig()
        self.horizon = self.config.horizon

    def plan(
        self,
        score: Score,
        spec: ActionSpec,
        guesses: Float[Tensor, "G H A"],
        generator: torch.Generator,
        deadline: float | None = None,
    ) -> Plan:
        """See `Planner.plan`."""
        config = self.config
        search = Search(score, spec, guesses, generator, self.horizon, deadline, config.tolerance)
        least_std = config.minimum_std * search.range
        std = (config.std * search.range).expand_as(search.best)
        while search.goes_on(config.iterations):
            known = search.unscored if search.iterations == 1 else search.guesses[:0]
            search.score(search.draw(known, search.best, std, config.samples))
            std = torch.maximum(config.std_decay * std, least_std)
        return search.plan()
