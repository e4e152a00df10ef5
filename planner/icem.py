"""The cross-entropy method with colored noise and memory: iCEM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.base import Plan, Score
from planner.elites import EliteGaussian
from planner.search import Search


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


class ICEM:
    """Fits a Gaussian over smooth action sequences to the best of its own samples.

    Solves what `CEM` solves, and as it does but for this:

    - The noise is colored along the horizon, so that a sample pushes one way for several steps and gets somewhere.
    - Later iterations, whose distribution is narrower, draw fewer samples: max(samples / gamma^i, 2 elites).
    - The elites that are kept are returned as runners-up. Shifted, they are guesses of the next search.
    - The mean is a candidate in the last iteration only, and after it.

    All guesses are candidates in the first iteration, the first one is the first mean, and the plan is the best
    sequence ever scored. At horizon 1 noise has no color.

    Source: Pinneri et al., Sample-efficient Cross-Entropy Method for Real-time Planning (arXiv 2008.06389), section 3.
    """

    def __init__(self, config: ICEMConfig | None = None) -> None:
        """Takes the settings; None for the defaults."""
        self.config = config or ICEMConfig()
        self.horizon = self.config.horizon
        self._noise_filter = noise_filter(self.horizon, self.config.noise_exponent)

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
        gaussian = EliteGaussian(search, config.elites, config.kept_elites, config.initial_std, config.minimum_std)
        while search.goes_on(config.iterations):
            gaussian.refit(self._draw(search, gaussian.mean, gaussian.std), config.momentum, config.momentum)
        if search.affordable(1):
            search.score(gaussian.mean[None])
        return search.plan(runners_up=gaussian.kept)

    def _draw(self, search: Search, mean: Float[Tensor, "H A"], std: Float[Tensor, "H A"]) -> Float[Tensor, "S H A"]:
        """Returns an iteration's candidates: the guesses in the first, the mean in the last, and fresh samples."""
        config = self.config
        known = search.guesses[:0]
        if search.iterations == 1:
            known = search.unscored
        elif search.iterations == config.iterations:
            known = mean[None]
        samples = max(int(config.samples / config.samples_decay ** (search.iterations - 1)), 2 * config.elites)
        white = search.noise(search.affordable(max(0, samples - len(known))))
        noise = torch.einsum("ht,sta->sha", self._noise_filter.to(white), white)
        return torch.cat([known, (mean + std * noise).clamp(search.low, search.high)])


def noise_filter(horizon: int, exponent: float) -> Float[Tensor, "H H"]:
    """Returns the matrix that colors white noise along the horizon: power ~ frequency^-exponent, variance 1.

    ::

        x = F^-1 (s * F white)      s_f = max(|f|, 1 / H)^(-exponent / 2) / c      c^2 = mean of s^2 over H frequencies

    The filter is circular, so each step's variance is exactly the mean of s^2, which is 1, for every H. The slowest
    frequency's power stands for that of frequency 0, which would be infinite.
    """
    frequencies = torch.fft.fftfreq(horizon, dtype=torch.float64).abs().clamp(min=1 / horizon)
    amplitudes = frequencies ** (-exponent / 2)
    amplitudes = amplitudes / amplitudes.square().mean().sqrt()
    spectra = torch.fft.fft(torch.eye(horizon, dtype=torch.float64), dim=0)
    return torch.fft.ifft(spectra * amplitudes[:, None], dim=0).real
