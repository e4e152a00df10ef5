"""The cross-entropy method with colored noise and memory: iCEM."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from planner.base import Plan
from planner.search.elites import EliteGaussian
from planner.search.sampling import Search, SearchPlanner
from planner.search.sampling_config import ICEMConfig


class ICEM(SearchPlanner[ICEMConfig]):
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

    Config = ICEMConfig

    def __init__(self, config: ICEMConfig | None = None) -> None:
        """Takes the settings; None for the defaults."""
        super().__init__(config)
        self._noise_filter = noise_filter(self.horizon, self.config.noise_exponent)

    def find(self, search: Search) -> Plan:
        """See `SearchPlanner.find`."""
        config = self.config
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
