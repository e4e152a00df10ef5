"""A Gaussian over action sequences that is fitted to the best candidates: what CEM and its relatives share."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from planner.search.sampling import Search


class EliteGaussian:
    """A diagonal Gaussian over sequences, refitted to the elites of each iteration.

    Attributes:
        mean: (H, A), the first guess at first.
        std: (H, A), never below the minimum.
        kept: Best sequences so far, which stay candidates and are not scored again, best first, (K, H, A). With a
            deadline the scored guesses at first.
    """

    def __init__(self, search: Search, elites: int, kept_elites: int, initial_std: float, minimum_std: float) -> None:
        """Begins around the first guess; deviations are fractions of each dimension's range."""
        self.mean = search.guesses[0]
        self.std = (initial_std * search.range).expand_as(self.mean)
        self.kept = search.scored
        self._kept_costs = search.scored_costs
        self._search = search
        self._elites, self._kept_elites = elites, kept_elites
        self._least_std = minimum_std * search.range

    def refit(self, drawn: Float[Tensor, "S H A"], momentum_mean: float, momentum_std: float) -> None:
        """Scores candidates and moves the distribution to the elites among them and the kept ones.

        Args:
            drawn: Candidates.
            momentum_mean: Share of the old mean in the new one.
            momentum_std: Share of the old deviation in the new one.
        """
        search = self._search
        costs, drawn = torch.cat([search.score(drawn), self._kept_costs]), torch.cat([drawn, self.kept])
        elite_costs, order = costs.topk(min(self._elites, len(costs)), largest=False)
        elites = drawn[order]
        self.kept, self._kept_costs = elites[: self._kept_elites], elite_costs[: self._kept_elites]
        mean = (1 - momentum_mean) * elites.mean(dim=0) + momentum_mean * self.mean
        self.mean = mean.clamp(search.low, search.high)
        spread = elites.std(dim=0, correction=min(1, len(elites) - 1))
        self.std = torch.maximum((1 - momentum_std) * spread + momentum_std * self.std, self._least_std)
