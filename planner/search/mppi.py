"""Model predictive path integral control, iterated."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from planner.base import Plan
from planner.search.sampling import Search, SearchPlanner
from planner.search.sampling_config import MPPIConfig


class MPPI(SearchPlanner[MPPIConfig]):
    """Moves a mean to the average of its samples, weighted by how good each is.

    Solves::

        minimise score(a)   over a (H, A)   with low <= a_h <= high

    by repeating: draw a_s = clip(mean + std * noise_s), score, and with c_s the costs

        w_s ~ exp(-(c_s - min c) / (temperature * (median c - min c)))        mean <- sum_s w_s a_s

    then narrow the noise. The temperature has no unit: the median sample weighs exp(-1 / temperature) times as much as
    the best. So the weights stay the same when costs are shifted or scaled, at the start of a search as near its end,
    and the median, unlike the standard deviation, is not moved by a few huge costs. Costs that are not finite weigh
    nothing, and do not count for the median. The term of the source that charges for control effort is left out: effort
    belongs to the score.

    The first guess is the first mean. All guesses are samples of the first iteration, and the current mean is one of
    each later iteration. The plan is the sequence of the lowest cost ever scored, the last mean included.

    Source: Williams et al., Information Theoretic MPC for Model-Based Reinforcement Learning (2017), algorithm 2;
    several iterations a plan as in TD-MPC (arXiv 2203.04955).
    """

    Config = MPPIConfig

    def find(self, search: Search) -> Plan:
        """See `SearchPlanner.find`."""
        config = self.config
        mean, least_std = search.guesses[0], config.minimum_std * search.range
        std = (config.initial_std * search.range).expand_as(mean)
        while search.goes_on(config.iterations):
            first = search.iterations == 1
            drawn = search.draw(search.unscored if first else mean[None], mean, std, config.samples)
            costs = search.score(drawn)
            if first:
                drawn, costs = torch.cat([drawn, search.scored]), torch.cat([costs, search.scored_costs])
            weights = path_weights(costs, config.temperature)
            mean = (mean + torch.einsum("s,sha->ha", weights, drawn - mean)).clamp(search.low, search.high)
            if config.adapt_std:
                std = torch.einsum("s,sha->ha", weights, (drawn - mean).square()).sqrt()
            std = torch.maximum(config.std_decay * std, least_std)
        if search.affordable(1):
            search.score(mean[None])
        return search.plan()


def path_weights(costs: Float[Tensor, "S"], temperature: float) -> Float[Tensor, "S"]:
    """Returns each sample's weight as `MPPI` defines it; they add up to 1, or to 0 where no cost is finite."""
    finite = costs.isfinite()
    excess = torch.where(finite, costs - costs.min(), torch.nan)
    spread = excess.nanmedian().clamp(min=torch.finfo(costs.dtype).tiny)
    weights = torch.where(finite, torch.exp(-excess / (temperature * spread)), 0.0)
    return weights / weights.sum().clamp(min=1.0)  # the best one alone weighs 1
