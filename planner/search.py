"""What every planner keeps while it searches: bounds, the best sequence so far, its costs and the clock."""

from __future__ import annotations

import time

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.base import Plan, Score, check_guesses


class Search:
    """The bookkeeping of one call of `Planner.plan`.

    A planner asks `goes_on` before each iteration, proposes sequences within `low` and `high`, and has them scored by
    `score` or `score_with_gradient`, which keep the best one ever. So no plan is worse than a candidate, and the best
    one so far is at hand at any moment.

    With a deadline the guesses are scored at the start. That gives a plan before anything else and the time that a
    sequence takes, from which `affordable` tells how many more can be scored in time.

    Attributes:
        low: Lower bounds, (A,).
        high: Upper bounds, (A,).
        range: high - low, (A,); 0 where a dimension is fixed.
        guesses: The guesses, clipped to the bounds, (G, H, A).
        guess_costs: Their costs, (G,), with a deadline; None without, where the planner scores them with its first
            samples.
        generator: Source of all randomness.
        best: The best sequence so far, (H, A).
        best_cost: Its cost; infinite before the first score.
        evaluations: Sequences scored.
        iterations: Iterations begun.
    """

    def __init__(
        self,
        score: Score,
        spec: ActionSpec,
        guesses: Float[Tensor, "G H A"],
        generator: torch.Generator,
        horizon: int,
        deadline: float | None = None,
        tolerance: float = 0.0,
    ) -> None:
        """Begins a search.

        Args:
            score: See `Planner.plan`.
            spec: See `Planner.plan`.
            guesses: See `Planner.plan`.
            generator: See `Planner.plan`.
            horizon: The planner's horizon.
            deadline: See `Planner.plan`.
            tolerance: The search has converged when two iterations in a row lowered the best cost by less than this
                share of it; 0 never stops early.

        Raises:
            ValueError: If the guesses do not fit the horizon and the spec.
        """
        check_guesses(guesses, horizon, spec)
        self.low = guesses.new_tensor(spec.low)
        self.high = guesses.new_tensor(spec.high)
        self.range = self.high - self.low
        self.generator = generator
        self.guesses = guesses.detach().clamp(self.low, self.high)
        self.guess_costs: Tensor | None = None
        self.best = self.guesses[0]
        self.best_cost = guesses.new_tensor(float("inf"))
        self.evaluations = 0
        self.iterations = 0
        self._score = score
        self._deadline = deadline
        self._tolerance = tolerance
        self._trace: list[Tensor] = []  # the best cost at the end of each iteration
        self._began = time.monotonic()  # the iteration that is running
        self._seconds_each = float("inf")  # per sequence, the best rate so far
        if deadline is not None:
            self.guess_costs = self.score(self.guesses)

    def goes_on(self, iterations: int) -> bool:
        """Ends the iteration that has been running and returns whether another is to begin.

        It is not if there were as many as are asked for, if it would end after the deadline should it last as long as
        the one before, or if the search has converged. The first begins if there is time for a single sequence.
        """
        if self.iterations:
            self._trace.append(self.best_cost)
        if self.iterations == iterations or self._converged() or self._late():
            return False
        self.iterations += 1
        return True

    def affordable(self, count: int) -> int:
        """Returns how many of `count` sequences can be scored before the deadline; all without one."""
        if self._deadline is None:
            return count
        fitting = (self._deadline - time.monotonic()) / self._seconds_each
        return int(max(0, min(count, fitting)))

    def score(self, actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S"]:
        """Returns the costs, infinite where they are not numbers, and keeps the best sequence."""
        if not len(actions):
            return actions.new_empty(0)
        began = time.monotonic()
        costs = self._score(actions).detach().nan_to_num(nan=float("inf"), posinf=float("inf"))
        self._keep(actions, costs, began)
        return costs

    def score_with_gradient(
        self, actions: Float[Tensor, "S H A"]
    ) -> tuple[Float[Tensor, "S"], Float[Tensor, "S H A"]]:
        """Returns the costs and each cost's gradient with respect to its own sequence, 0 where it is not a number."""
        began = time.monotonic()
        actions = actions.detach().requires_grad_()
        with torch.enable_grad():
            costs = self._score(actions)
            (gradient,) = torch.autograd.grad(costs.sum(), actions)
        costs = costs.detach().nan_to_num(nan=float("inf"), posinf=float("inf"))
        self._keep(actions.detach(), costs, began)
        return costs, gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)

    def noise(self, count: int) -> Float[Tensor, "S H A"]:
        """Returns standard normal noise for `count` sequences."""
        like = self.best
        return torch.randn((count, *like.shape), generator=self.generator, device=like.device, dtype=like.dtype)

    def plan(self) -> Plan:
        """Returns the best sequence so far."""
        trace = [*self._trace[: self.iterations - 1], self.best_cost]  # what came last belongs to the last iteration
        return Plan(self.best.clone(), float(self.best_cost), torch.stack(trace), self.evaluations)

    def _keep(self, actions: Float[Tensor, "S H A"], costs: Float[Tensor, "S"], began: float) -> None:
        self.evaluations += len(actions)
        cost, index = costs.min(dim=0)
        self.best = torch.where(cost < self.best_cost, actions[index], self.best)
        self.best_cost = torch.minimum(cost, self.best_cost)
        if self._deadline is not None:
            self.best_cost.item()  # waits for the device, so that the clock means something
            self._seconds_each = min(self._seconds_each, (time.monotonic() - began) / len(actions))

    def _late(self) -> bool:
        if self._deadline is None:
            return False
        now = time.monotonic()
        last = now - self._began if self.iterations else self._seconds_each
        self._began = now
        return now + last >= self._deadline

    def _converged(self) -> bool:
        if self._tolerance == 0.0 or len(self._trace) < 3:
            return False
        before, now = self._trace[-3], self._trace[-1]
        return bool(before - now <= self._tolerance * before.abs())
