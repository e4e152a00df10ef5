"""Descent along the gradient of the score, from several starts."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor

from planner.base import Plan
from planner.search.planner_config import GradientConfig
from planner.search.sampling import Search, SearchPlanner

SQUARE_MOMENTUM = 0.9  # Adam's, of the squared gradient; 0.999 in the source, for thousands of steps
LINE_SEARCH_STEPS = 10  # L-BFGS has converged where so many tries along a line find nothing better


class Gradient(SearchPlanner[GradientConfig]):
    """Descends the score's gradient from the guesses and from random starts.

    Solves::

        minimise score(a)   over a (H, A)   with low <= a_h <= high

    in the variables u = (a - low) / (high - low), so that every dimension counts alike whatever its unit; fixed
    dimensions are none. With g the gradient with respect to u, Adam repeats for all starts at once

        m <- momentum m + (1 - momentum) g      v <- 0.9 v + 0.1 g^2      u <- clip(u - rate * m / sqrt(v), 0, 1)

    with m and v corrected for their start at 0. L-BFGS-B treats the bounds exactly and needs no rate but for its first
    step. It takes the starts one after another, the best first, until it has converged in each or the iterations are
    used up. It needs the fewest evaluations where the score is smooth; kinks, such as those of an L1 distance, are
    better left to Adam.

    Every point is a candidate, so the plan is never worse than a guess. A gradient that is not a number counts as 0 and
    a cost that is none as infinite. It finds the bottom of the basins it starts in and no other: for a score with many
    basins see `Hybrid`.

    Source: Kingma and Ba, Adam (arXiv 1412.6980), algorithm 1; Byrd, Lu, Nocedal and Zhu, A Limited Memory Algorithm
    for Bound Constrained Optimization (1995), as in SciPy.
    """

    Config = GradientConfig

    @property
    def tolerance(self) -> float:
        """See `SearchPlanner.tolerance`; with L-BFGS each start has its own end."""
        return self.config.tolerance if self.config.optimizer == "adam" else 0.0

    def find(self, search: Search) -> Plan:
        """See `SearchPlanner.find`. L-BFGS notices the deadline between evaluations of a single sequence.

        Raises:
            ValueError: If the score has no gradient.
        """
        random = search.uniform(max(0, self.config.starts - len(search.guesses)))
        if self.config.optimizer == "adam":
            self._adam(search, torch.cat([search.scored[search.scored_costs.argsort()], search.unscored, random]))
        else:
            fresh = torch.cat([search.unscored, random])
            fresh = fresh[: search.affordable(2 * len(fresh)) // 2]  # half the time is for the descent
            costs = torch.cat([search.scored_costs, search.score(fresh)])
            self._lbfgs(search, torch.cat([search.scored, fresh])[costs.argsort()])
        return search.plan()

    def _adam(self, search: Search, points: Float[Tensor, "S H A"]) -> None:
        """Descends from all points at once, or from as many of the first ones as there is time for."""
        points = points[: max(1, search.affordable(len(points), gradient=True))]
        momentum = self.config.momentum
        mean = square = torch.zeros_like(points)
        while search.goes_on(self.config.iterations):
            _, gradient = search.score_with_gradient(points)
            gradient = gradient * search.range  # with respect to u
            mean = momentum * mean + (1 - momentum) * gradient
            square = SQUARE_MOMENTUM * square + (1 - SQUARE_MOMENTUM) * gradient.square()
            size = (square / (1 - SQUARE_MOMENTUM**search.iterations)).sqrt()
            step = mean / (1 - momentum**search.iterations) / (size + 1e-12)
            rate = self.config.learning_rate * (1 - search.progress(self.config.iterations))
            points = (points - rate * search.range * step).clamp(search.low, search.high)
        search.score(points[: search.affordable(len(points))])

    def _lbfgs(self, search: Search, points: Float[Tensor, "S H A"]) -> None:
        """Descends from one point after another, unless all dimensions are fixed."""
        options = {"ftol": 0.0, "gtol": 0.0, "maxls": LINE_SEARCH_STEPS, "maxfun": self.config.iterations}
        for point in points if search.range.any() else points[:0]:
            descent = _Descent(search, point, self.config)
            bounds = [(0.0, 1.0)] * len(descent.start)
            try:
                minimize(
                    descent.evaluate,
                    descent.start,
                    jac=True,
                    method="L-BFGS-B",
                    bounds=bounds,
                    callback=descent.check_progress,
                    options=options,
                )
            except _SearchOverError:
                return


class _SearchOverError(Exception):
    """The iterations are used up or the deadline is near: the way out of SciPy's loop."""


class _Descent:
    """One start of L-BFGS: what SciPy calls, in the variables u of the dimensions that are not fixed.

    Attributes:
        start: Where it begins, (H * free dimensions,).
    """

    def __init__(self, search: Search, point: Float[Tensor, "H A"], config: GradientConfig) -> None:
        self._search = search
        self._config = config
        self._point = point
        self._free = search.range > 0
        share = ((point - search.low) / search.range)[:, self._free]
        self.start = share.double().cpu().numpy().ravel().clip(0.0, 1.0)
        self._scale: float | None = None  # of the cost, so that the first step is as long as the learning rate says
        self._worst = 0.0
        self._steps: list[float] = []  # the scaled cost after each step

    def evaluate(self, u: Float[np.ndarray, "n"]) -> tuple[float, Float[np.ndarray, "n"]]:
        """Returns the scaled cost and its gradient with respect to u, one iteration of the search.

        A cost that is not finite becomes the worst one so far, without a slope: the line search takes a shorter step.

        Raises:
            _SearchOverError: If the search has no iteration left.
        """
        search = self._search
        if not search.goes_on(self._config.iterations):
            raise _SearchOverError
        free_u = torch.from_numpy(u).to(self._point).reshape(len(self._point), -1)  # (H, free)
        actions = self._point.clone()
        actions[:, self._free] = search.low[self._free] + search.range[self._free] * free_u
        costs, gradient = search.score_with_gradient(actions.clamp(search.low, search.high)[None])
        cost = float(costs[0])  # SciPy runs on the CPU
        slope = (gradient[0] * search.range)[:, self._free].double().cpu().numpy().ravel()
        if not np.isfinite(cost):
            return self._worst, np.zeros_like(slope)
        if self._scale is None:
            steepest = float(np.abs(slope).max())
            self._scale = self._config.learning_rate / steepest if steepest > 0 else 1.0
            self._worst = cost * self._scale
        self._worst = max(self._worst, cost * self._scale)
        return cost * self._scale, slope * self._scale

    def check_progress(self, intermediate_result: OptimizeResult) -> None:
        """Returns if the last two steps have lowered the cost by more than the tolerance and by more than rounding.

        Raises:
            StopIteration: If not; SciPy then ends the descent.
        """
        self._steps.append(float(intermediate_result.fun))
        least = max(self._config.tolerance, torch.finfo(self._point.dtype).eps)
        if len(self._steps) > 2 and self._steps[-3] - self._steps[-1] <= least * abs(self._steps[-3]):
            raise StopIteration
