"""stable-worldmodel's own CEM and MPPI as planners of ours, with any world model and objective."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Literal

import gymnasium
import torch
from jaxtyping import Float
from torch import Tensor

from envs.ranges import check_range
from envs.spec import ActionSpec
from planner.base import Plan, Score, check_guesses, cost_or_worst
from planner.benchmarks.peers.code import peer_module
from world_model.checkpoints.checkpoint import read_manifest
from world_model.statistics import Statistics

_SOLVERS = {"cem": "CEMSolver", "mppi": "MPPISolver"}  # the peer's classes, each in a module of our name for it
_PLACES = ("stable_worldmodel.planning.solver", "stable_worldmodel.solver")


@dataclass(frozen=True)
class PeerSolverConfig:
    """Settings of `PeerSolver`; the defaults are those of the peer's configuration.

    Attributes:
        algorithm: Names this planner in YAML.
        solver: Which of the peer's.
        statistics: Checkpoint whose mean and deviation of the training actions the search is in, by name or path.
        horizon: Planned steps, H; the peer's are blocks of five control steps.
        executed: Steps of a plan that are carried out before the next is made.
        samples: Action sequences scored in each iteration.
        iterations: Times the distribution is refitted; 10 in the paper.
        elites: Best sequences it is refitted to; of MPPI those that are weighted.
        initial_std: Standard deviation at first, in deviations of the training actions; of MPPI throughout.
        temperature: Of MPPI: a cost higher by this weighs e times less.

    Raises:
        ValueError: If a setting is out of its range.
    """

    algorithm: str = "planner.benchmarks.peers.solver:PeerSolver"
    solver: Literal["cem", "mppi"] = "cem"
    statistics: str = ""
    horizon: int = 5
    executed: int = 5
    samples: int = 300
    iterations: int = 30
    elites: int = 30
    initial_std: float = 1.0
    temperature: float = 0.5

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "horizon", "samples", "iterations", of="the peer's solver's ")
        check_range(self, f"[1, {self.horizon}]", "executed", of="the peer's solver's ")
        check_range(self, f"[2, {self.samples}]", "elites", of="the peer's solver's ")
        check_range(self, "(0, inf)", "initial_std", "temperature", of="the peer's solver's ")


class PeerSolver:
    """Lets a solver of the peer's search, and carries out several steps of what it found, as the peer does.

    Both draw about zero in normalised actions and return the last mean. CEM refits mean and deviation to the elites
    alone; MPPI weighs the elites by their costs and keeps its deviation. Differences from the peer's own use of them:
    sequences are clipped to the spec's bounds before they are scored, and dimensions that the spec fixes are not
    searched. Guesses are ignored, but for telling whether the controller goes on with the last plan
    (`ControllerConfig.warm_start`, the default): then its next step is returned until `executed` are done, and nothing
    is scored.

    Source: stable_worldmodel/planning/solver/cem.py and mppi.py of galilai-group/stable-worldmodel, commit addbab4.
    """

    Config = PeerSolverConfig

    def __init__(self, config: PeerSolverConfig) -> None:
        self.config, self.horizon = config, config.horizon
        self._last: Plan | None = None
        self._done = 0  # steps of the last plan that were returned

    @cached_property
    def _statistics(self) -> Statistics:
        """What actions are normalised with."""
        if not self.config.statistics:
            raise ValueError(
                "the peer's solver needs planner.statistics: a checkpoint, for its training actions' deviation"
            )
        return read_manifest(self.config.statistics).statistics

    def plan(
        self,
        score: Score,
        spec: ActionSpec,
        guesses: Float[Tensor, "G H A"],
        generator: torch.Generator,
        deadline: float | None = None,
    ) -> Plan:
        """See `Planner.plan`; the solver knows no deadline.

        Raises:
            PeerMissingError: If the peer's code is not there.
        """
        check_guesses(guesses, self.horizon, spec)
        if self._last is not None and self._done < self.config.executed and self._goes_on(guesses, self._last):
            rest = self._last.actions[1:]
            staying = rest.new_zeros(1, spec.size).clamp(rest.new_tensor(spec.low), rest.new_tensor(spec.high))
            self._last = Plan(torch.cat([rest, staying]), self._last.cost, self._last.costs[-1:], 0)
            self._done += 1
        else:
            self._last, self._done = self._search(score, spec, guesses, generator), 1
        return self._last

    def _goes_on(self, guesses: Float[Tensor, "G H A"], last: Plan) -> bool:
        """Returns whether the last plan, shifted by a step, is among the guesses: the episode is the same."""
        rest = last.actions[1:].to(guesses)
        return bool((guesses[:, : len(rest)] == rest).flatten(1).all(dim=1).any())

    def _search(
        self, score: Score, spec: ActionSpec, guesses: Float[Tensor, "G H A"], generator: torch.Generator
    ) -> Plan:
        """Returns what the peer's solver finds."""
        config, cost = self.config, _Cost(score, spec, self._statistics, guesses)
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        module = peer_module(*(f"{place}.{config.solver}" for place in _PLACES))
        solver: Any = getattr(module, _SOLVERS[config.solver])(
            cost,
            batch_size=1,
            num_samples=config.samples,
            var_scale=config.initial_std,
            n_steps=config.iterations,
            topk=config.elites,
            device=str(guesses.device),
            seed=seed,
            **({"temperature": config.temperature} if config.solver == "mppi" else {}),
        )
        space = gymnasium.spaces.Box(-torch.inf, torch.inf, (1, cost.size))
        solver.configure(action_space=space, n_envs=1, config=SimpleNamespace(horizon=config.horizon, action_block=1))
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its time
            found = solver.solve({"state": torch.zeros(1, 1)})["actions"]
        actions = cost.physical(found.clone().to(guesses))[0]
        value = float(cost_or_worst(score(actions[None]).detach())[0])
        return Plan(actions, value, torch.stack(cost.best), config.samples * len(cost.best) + 1)


class _Cost:
    """What the peer's solver minimises: a score of ours, in normalised actions of the dimensions that are free."""

    def __init__(self, score: Score, spec: ActionSpec, statistics: Statistics, like: Tensor) -> None:
        self._score = score
        self._low, self._high = like.new_tensor(spec.low), like.new_tensor(spec.high)
        self._mean, self._std = like.new_tensor(statistics.action_mean), like.new_tensor(statistics.action_std)
        if len(self._mean) != spec.size:
            raise ValueError(f"planner.statistics are of actions of {len(self._mean)} numbers, these have {spec.size}")
        self._free = self._low < self._high
        self.best: list[Tensor] = []

    @property
    def size(self) -> int:
        """Numbers of an action that are searched."""
        return int(self._free.sum())

    def physical(self, candidates: Float[Tensor, "1 S H F"] | Float[Tensor, "1 H F"]) -> Tensor:
        """Returns candidates as actions within the bounds."""
        normalised = candidates.new_zeros(*candidates.shape[:-1], len(self._low))
        normalised[..., self._free] = candidates
        return (self._mean + self._std * normalised).clamp(self._low, self._high)

    def get_cost(self, info: dict[str, Any], candidates: Float[Tensor, "1 S H F"]) -> Float[Tensor, "1 S"]:
        """Returns the cost of each candidate, as the peer's solver asks for it."""
        costs = cost_or_worst(self._score(self.physical(candidates)[0]))
        lowest = costs.min().clone()
        self.best.append(torch.minimum(lowest, self.best[-1]) if self.best else lowest)
        return costs[None]
