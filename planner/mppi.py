"""Model predictive path integral control, iterated."""

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


class MPPI:
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

    def __init__(self, config: MPPIConfig | None = None) -> None:
        """Takes the settings; None for the defaults."""
        self.config = config or MPPIConfig()
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
