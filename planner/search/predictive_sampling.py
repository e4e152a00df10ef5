"""Predictive sampling: the best of noisy copies of the best."""

from __future__ import annotations

import torch

from planner.base import Plan
from planner.search.sampling import Search, SearchPlanner
from planner.search.sampling_config import PredictiveSamplingConfig


class PredictiveSampling(SearchPlanner[PredictiveSamplingConfig]):
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

    Config = PredictiveSamplingConfig

    def find(self, search: Search) -> Plan:
        """See `SearchPlanner.find`."""
        config = self.config
        least_std = config.minimum_std * search.range
        std = (config.std * search.range).expand_as(search.best)
        while search.goes_on(config.iterations):
            known = search.unscored if search.iterations == 1 else search.guesses[:0]
            search.score(search.draw(known, search.best, std, config.samples))
            std = torch.maximum(config.std_decay * std, least_std)
        return search.plan()
