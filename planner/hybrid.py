"""A search by sampling, finished by descent along the gradient."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.base import Plan, Planner, Score
from planner.cem import CEM, CEMConfig
from planner.gradient import Gradient, GradientConfig
from planner.icem import ICEM, ICEMConfig
from planner.mppi import MPPI, MPPIConfig
from planner.predictive_sampling import PredictiveSampling, PredictiveSamplingConfig

SamplingConfig = CEMConfig | ICEMConfig | MPPIConfig | PredictiveSamplingConfig
"""Settings of a planner by sampling; ``algorithm`` in YAML says which."""


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

    algorithm: Literal["hybrid"] = "hybrid"
    horizon: int = 1
    sampling: SamplingConfig = field(default_factory=CEMConfig)
    gradient: GradientConfig = field(default_factory=lambda: GradientConfig(starts=1))
    sampling_share: float = 0.5
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(f"the hybrid planner's horizon must be at least 1, got {self.horizon}")
        for part in ("sampling", "gradient"):
            horizon = getattr(self, part).horizon
            if horizon not in {1, self.horizon}:
                raise ValueError(f"the hybrid planner's horizon is {self.horizon}, but that of its {part} is {horizon}")
        if not 0 < self.sampling_share < 1:
            raise ValueError(f"the hybrid planner's sampling_share must be in (0, 1), got {self.sampling_share}")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"the hybrid planner's tolerance must be in [0, 1), got {self.tolerance}")


class Hybrid:
    """Finds a basin by sampling and its bottom by descent.

    Solves what `CEM` solves: a planner by sampling first, then `Gradient`, whose guesses are the plan and the
    runners-up of the first. So it leaves basins that a gradient stays in, and is at the bottom sooner than samples are.

    The plan is the better one of the two, the trace of costs goes through both, and of the time until a deadline the
    first takes its share at most.

    Source: Bharadhwaj, Xie and Shkurti, Model-Predictive Control via Cross-Entropy and Gradient-Based Optimization
    (arXiv 2004.08763), which alternates the two.
    """

    def __init__(self, config: HybridConfig | None = None) -> None:
        """Takes the settings; None for the defaults."""
        self.config = config or HybridConfig()
        self.horizon = self.config.horizon
        sampling, gradient, tolerance = self.config.sampling, self.config.gradient, self.config.tolerance
        self._sampling = make_sampling_planner(
            replace(sampling, horizon=self.horizon, tolerance=sampling.tolerance or tolerance)
        )
        self._gradient = Gradient(replace(gradient, horizon=self.horizon, tolerance=gradient.tolerance or tolerance))

    def plan(
        self,
        score: Score,
        spec: ActionSpec,
        guesses: Float[Tensor, "G H A"],
        generator: torch.Generator,
        deadline: float | None = None,
    ) -> Plan:
        """See `Planner.plan`."""
        now, share = time.monotonic(), self.config.sampling_share
        first_deadline = None if deadline is None else now + share * (deadline - now)
        first = self._sampling.plan(score, spec, guesses, generator, first_deadline)
        if deadline is not None and time.monotonic() >= deadline:
            return first
        starts = first.actions[None]
        if first.runners_up is not None:
            starts = torch.cat([starts, first.runners_up])
        second = self._gradient.plan(score, spec, starts, generator, deadline)
        better = second if second.cost < first.cost else first
        return Plan(
            better.actions,
            better.cost,
            torch.cat([first.costs, second.costs.clamp(max=first.cost)]),
            first.evaluations + second.evaluations,
            first.runners_up,
        )


def make_sampling_planner(config: SamplingConfig) -> Planner:
    """Returns the planner by sampling that a configuration describes."""
    match config:
        case CEMConfig():
            return CEM(config)
        case ICEMConfig():
            return ICEM(config)
        case MPPIConfig():
            return MPPI(config)
        case PredictiveSamplingConfig():
            return PredictiveSampling(config)
