"""What every planner keeps while it searches: bounds, the best sequence so far, its costs and the clock."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.base import Plan, Score, check_guesses, cost_or_worst
from planner.search.sampling_config import SearchConfig

Settings = TypeVar("Settings", bound=SearchConfig)


class Search:
    """The bookkeeping of one call of `Planner.plan`.

    A planner asks `goes_on` before each iteration, proposes sequences within `low` and `high`, and has them scored by
    `score` or `score_with_gradient`, which keep the best one ever. So no plan is worse than a candidate, and the best
    one so far is at hand at any moment.

    With a deadline the guesses are scored at the start. That gives a plan before anything else and the time that a
    sequence takes, from which `affordable` tells how many more can be scored in time. Without one the planner scores
    them with its first candidates. So all guesses are either in `scored` or in `unscored`.

    Attributes:
        low: Lower bounds, (A,).
        high: Upper bounds, (A,).
        range: high - low, (A,); 0 where a dimension is fixed.
        guesses: The guesses, clipped to the bounds, (G, H, A).
        scored: The guesses with a deadline, none without, (K, H, A).
        scored_costs: Their costs, (K,).
        unscored: None with a deadline, the guesses without, (U, H, A).
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
        self.scored, self.scored_costs, self.unscored = self.guesses[:0], guesses.new_empty(0), self.guesses
        self.best = self.guesses[0]
        self.best_cost = guesses.new_tensor(float("inf"))
        self.evaluations = 0
        self.iterations = 0
        self._score = score
        self._deadline = deadline
        self._tolerance = tolerance
        self._trace: list[Tensor] = []  # the best cost at the end of each iteration
        self._start = self._began = time.monotonic()  # of the search, of the iteration that is running
        self._seconds_each = {False: float("inf"), True: float("inf")}  # with gradient or not, the best rate so far
        if deadline is not None:
            self.scored, self.scored_costs, self.unscored = self.guesses, self.score(self.guesses), self.guesses[:0]

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

    def progress(self, iterations: int) -> float:
        """Returns how far the search was when the running iteration began, in [0, 1): by iterations or by time."""
        done = (self.iterations - 1) / iterations
        if self._deadline is None:
            return done
        return min(1.0, max(done, (self._began - self._start) / (self._deadline - self._start)))

    def affordable(self, count: int, gradient: bool = False) -> int:
        """Returns how many of `count` sequences can be scored before the deadline, by choice with their gradients.

        It is all of them without a deadline. A gradient counts as three scores until one has been measured: a backward
        pass takes about as long as two forward passes.
        """
        if self._deadline is None:
            return count
        seconds_each = self._seconds_each[gradient]
        if gradient and seconds_each == float("inf"):
            seconds_each = 3 * self._seconds_each[False]
        return int(max(0, min(count, (self._deadline - time.monotonic()) / seconds_each)))

    def draw(
        self, known: Float[Tensor, "K H A"], mean: Float[Tensor, "H A"], std: Float[Tensor, "H A"], samples: int
    ) -> Float[Tensor, "S H A"]:
        """Returns `known` and, to make up `samples`, normal draws clipped to the bounds, as many as are affordable."""
        noise = self.noise(self.affordable(max(0, samples - len(known))))
        return torch.cat([known, (mean + std * noise).clamp(self.low, self.high)])

    def score(self, actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S"]:
        """Returns the costs, infinite where they are not finite, and keeps the best sequence."""
        if not len(actions):
            return actions.new_empty(0)
        began = time.monotonic()
        costs = cost_or_worst(self._score(actions).detach())
        self._keep(actions, costs, began)
        return costs

    def score_with_gradient(self, actions: Float[Tensor, "S H A"]) -> tuple[Float[Tensor, "S"], Float[Tensor, "S H A"]]:
        """Returns the costs and each cost's gradient with respect to its own sequence, 0 where it is not a number.

        Raises:
            ValueError: If the costs do not depend differentiably on the actions.
        """
        began = time.monotonic()
        actions = actions.detach().requires_grad_()
        with torch.enable_grad():
            costs = self._score(actions)
            if not costs.requires_grad:
                raise ValueError("the score has no gradient with respect to the actions: choose a planner by sampling")
            (gradient,) = torch.autograd.grad(costs.sum(), actions)
        costs = cost_or_worst(costs.detach())
        self._keep(actions.detach(), costs, began, gradient=True)
        return costs, gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)

    def noise(self, count: int) -> Float[Tensor, "S H A"]:
        """Returns standard normal noise for `count` sequences."""
        shape, dtype, source = (count, *self.best.shape), self.best.dtype, self.generator.device
        return torch.randn(shape, generator=self.generator, device=source, dtype=dtype).to(self.best.device)

    def uniform(self, count: int) -> Float[Tensor, "S H A"]:
        """Returns `count` sequences drawn uniformly within the bounds."""
        shape, dtype, source = (count, *self.best.shape), self.best.dtype, self.generator.device
        shares = torch.rand(shape, generator=self.generator, device=source, dtype=dtype).to(self.best.device)
        return (self.low + self.range * shares).clamp(self.low, self.high)

    def plan(self, runners_up: Float[Tensor, "K H A"] | None = None) -> Plan:
        """Returns the best sequence so far; `runners_up`, best first, go with it but for the plan itself."""
        trace = [*self._trace[: max(0, self.iterations - 1)], self.best_cost]  # what came last is the last iteration's
        if runners_up is not None:
            runners_up = runners_up[(runners_up != self.best).any(dim=2).any(dim=1)]
        return Plan(self.best.clone(), float(self.best_cost), torch.stack(trace), self.evaluations, runners_up)

    def _keep(
        self, actions: Float[Tensor, "S H A"], costs: Float[Tensor, "S"], began: float, gradient: bool = False
    ) -> None:
        self.evaluations += len(actions)
        cost, index = costs.min(dim=0)
        self.best = torch.where(cost < self.best_cost, actions[index], self.best)
        self.best_cost = torch.minimum(cost, self.best_cost)
        if self._deadline is not None:
            self.best_cost.item()  # waits for the device, so that the clock means something
            seconds_each = (time.monotonic() - began) / len(actions)
            self._seconds_each[gradient] = min(self._seconds_each[gradient], seconds_each)

    def _late(self) -> bool:
        if self._deadline is None:
            return False
        now = time.monotonic()
        last = now - self._began if self.iterations else self._seconds_each[False]
        self._began = now
        return now + last >= self._deadline

    def _converged(self) -> bool:
        if self._tolerance == 0.0 or len(self._trace) < 3:
            return False
        before, now = self._trace[-3], self._trace[-1]
        return bool(before - now <= self._tolerance * before.abs())


class SearchPlanner(ABC, Generic[Settings]):
    """A `Planner` that keeps a `Search` while it plans.

    Attributes:
        Config: The dataclass of its settings.
        config: Its settings.
        horizon: Planned steps, H.
    """

    Config: ClassVar[type[SearchConfig]]

    def __init__(self, config: Settings | None = None) -> None:
        """Takes the settings; None for the defaults."""
        self.config: Settings = config or self.Config()  # type: ignore[assignment]; a subclass has its own
        self.horizon: int = self.config.horizon

    def plan(
        self,
        score: Score,
        spec: ActionSpec,
        guesses: Float[Tensor, "G H A"],
        generator: torch.Generator,
        deadline: float | None = None,
    ) -> Plan:
        """See `Planner.plan`."""
        return self.find(Search(score, spec, guesses, generator, self.horizon, deadline, self.tolerance))

    @property
    def tolerance(self) -> float:
        """When the search ends, see `Search`."""
        return self.config.tolerance

    @abstractmethod
    def find(self, search: Search) -> Plan:
        """Returns the plan of a search that has just begun."""
