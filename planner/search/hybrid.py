"""A search by sampling, finished by descent along the gradient."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from envs.config import Choice
from envs.spec import ActionSpec
from planner.base import Plan, Planner, Score
from planner.search.gradient import Gradient
from planner.search.planner_config import SAMPLING, HybridConfig


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
        self._sampling: Planner = Choice("algorithm", SAMPLING).make(
            replace(sampling, horizon=self.horizon, tolerance=getattr(sampling, "tolerance", 0.0) or tolerance)
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
