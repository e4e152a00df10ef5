"""How fast each planner reaches the official planner's energy, and whose energy is lowest at equal time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from envs.bar import progress
from envs.spec import ActionSpec
from planner.base import Score
from planner.benchmarks.config import EnergyBenchmark
from planner.benchmarks.official_repository import OfficialRepository
from planner.diagnostics.landscape_program import LandscapeConfig
from planner.diagnostics.landscape_steps import find_pairs
from planner.objectives.objective import GoalDistance, GoalDistanceConfig, rollout_score
from planner.reporting import figure, table
from planner.search.cem import CEMConfig
from planner.search.chunks import Chunks
from planner.search.gradient import GradientConfig
from planner.search.hybrid import HybridConfig
from planner.search.icem import ICEMConfig
from planner.search.mppi import MPPIConfig
from planner.search.official_cem import OfficialCEM
from planner.search.planner_config import PlannerConfig, make_planner
from planner.search.predictive_sampling import PredictiveSamplingConfig
from world_model.vjepa2_ac import VJEPA2AC, load_vjepa2_ac

FINE: dict[str, PlannerConfig] = {  # searches that end near the optimum; settings chosen on episodes 5000..
    "CEM": CEMConfig(samples=64, elites=6, iterations=30, minimum_std=0.0),
    "iCEM": ICEMConfig(samples=64, elites=8, iterations=60, minimum_std=0.0),
    "MPPI": MPPIConfig(samples=64, iterations=40, adapt_std=True, std_decay=1.0, minimum_std=0.0),
    "predictive sampling": PredictiveSamplingConfig(samples=64, iterations=40, std_decay=0.75, minimum_std=0.0),
    "gradient, Adam": GradientConfig(starts=2, iterations=30),
    "gradient, L-BFGS": GradientConfig(optimizer="lbfgs", starts=4, iterations=100),
    "hybrid, CEM and Adam": HybridConfig(
        sampling=CEMConfig(iterations=2), gradient=GradientConfig(starts=2, iterations=30)
    ),
    "hybrid, CEM and L-BFGS": HybridConfig(
        sampling=CEMConfig(iterations=2), gradient=GradientConfig(optimizer="lbfgs", starts=3, iterations=60)
    ),
}
ANYTIME: dict[str, PlannerConfig] = {  # the same planners when the clock alone ends them
    "CEM": CEMConfig(iterations=1000),
    "iCEM": ICEMConfig(iterations=1000),
    "MPPI": MPPIConfig(samples=64, iterations=1000, adapt_std=True, std_decay=1.0, minimum_std=0.0),
    "predictive sampling": PredictiveSamplingConfig(iterations=1000),
    "gradient, Adam": GradientConfig(starts=1, iterations=1000),
    "gradient, L-BFGS": GradientConfig(optimizer="lbfgs", starts=3, iterations=1000),
    "hybrid, CEM and Adam": HybridConfig(
        sampling=CEMConfig(iterations=1000), gradient=GradientConfig(starts=1, iterations=1000), sampling_share=0.3
    ),
    "hybrid, CEM and L-BFGS": HybridConfig(
        sampling=CEMConfig(iterations=1000),
        gradient=GradientConfig(optimizer="lbfgs", starts=1, iterations=1000),
        sampling_share=0.3,
    ),
}


@dataclass(frozen=True, eq=False)
class Problem:
    """One held-out step: what to minimise, and what the official planner makes of it."""

    score: Score
    guess: Float[Tensor, "1 H A"]
    spec: ActionSpec
    official_seconds: float
    official_energy: float
    true_energy: float


class ReachedError(Exception):
    """The target is reached."""


class Watch:
    """A score that knows when the best cost first fell to a target, and ends the search there."""

    def __init__(self, score: Score, target: float) -> None:
        self.inner, self.target = score, target
        self.evaluations = 0
        self.begin = time.perf_counter()
        self.seconds: float | None = None

    def __call__(self, actions: Tensor) -> Tensor:
        """Returns the costs; raises ReachedError when one of them is at the target."""
        costs = self.inner(actions)
        self.evaluations += len(actions)
        if float(costs.detach().min()) <= self.target:
            self.seconds = time.perf_counter() - self.begin
            raise ReachedError
        return costs


def time_to_energy(config: EnergyBenchmark, output: Path) -> dict[str, Any]:
    """Returns, for each planner, the time and evaluations to the official energy, and the energies at equal time."""
    model = load_vjepa2_ac(config.checkpoint, config.device)
    problems = list(progress(make_problems(config, model), total=config.steps, desc="official"))
    official = np.array([problem.official_seconds for problem in problems])
    rows = []
    for name, settings in progress(FINE.items(), desc="to the official energy"):
        search = replace(settings, horizon=config.ahead)
        found = [reach(search, problem, config.tolerance, seed) for seed, problem in enumerate(problems)]
        seconds = np.array([np.inf if watch.seconds is None else watch.seconds for watch in found])
        reached = np.isfinite(seconds)
        rows.append(
            {
                "planner": name,
                "reached": float(reached.mean()),
                "median_seconds": float(np.median(seconds)),
                "median_evaluations": float(np.median([watch.evaluations for watch in found])),
                "median_times_faster": float(np.median(official / seconds)),
                "worst_decile_times_faster": float(np.quantile(official / seconds, 0.1)),
            }
        )
    return {
        "steps": len(problems),
        "official_median_seconds": float(np.median(official)),
        "official_evaluations": config.search.samples * config.search.iterations,
        "official_code": config.official is not None,
        "median_official_energy": float(np.median([problem.official_energy for problem in problems])),
        "median_true_action_energy": float(np.median([problem.true_energy for problem in problems])),
        "rows": rows,
        "equal_time": equal_time(config, problems),
    }


def make_problems(config: EnergyBenchmark, model: VJEPA2AC) -> Iterator[Problem]:
    """Yields held-out steps, each solved by the official planner: its bounds, no rotation, last-frame L1."""
    repository = OfficialRepository(config.official) if config.official else None
    step = repository.world_step(model) if repository else None
    low, high = np.array(model.action_spec.low), np.array(model.action_spec.high)
    low[3:6], high[3:6], low[6], high[6] = 0.0, 0.0, -0.75, 0.75
    spec = replace(model.action_spec, low=tuple(low), high=tuple(high))
    pairs = find_pairs(LandscapeConfig(seed=config.seed, steps=config.steps, ahead=config.ahead), model.action_spec)
    search, chunks = replace(config.search, horizon=config.ahead), Chunks()
    for number, pair in enumerate(pairs):
        state, goal = model.encode([pair.now]), model.encode([pair.after])
        cost = GoalDistance(goal.as_goal(), GoalDistanceConfig(frames="last"))
        score = partial(chunks.score, rollout_score(model, cost, state))
        guess = state.poses.new_zeros(1, config.ahead, spec.size)
        score(guess)  # what is measured once is no planner's time
        begin = time.perf_counter()
        if repository is not None and step is not None:
            torch.manual_seed(number)
            actions = repository.plan(step, state.tokens, state.poses, goal.tokens, search, float(high[0]))
        else:
            noise = torch.Generator().manual_seed(number)
            actions = OfficialCEM(search).plan(score, spec, guess, noise).actions
        seconds = time.perf_counter() - begin
        true = guess[0] + guess.new_tensor(pair.action) / config.ahead  # the measured motion in equal parts
        energies = [float(score(sequence[None])[0]) for sequence in (actions, true)]
        yield Problem(score, guess, spec, seconds, *energies)


def reach(search: PlannerConfig, problem: Problem, tolerance: float, seed: int) -> Watch:
    """Searches until the official energy is reached, or the search ends."""
    planner, noise = make_planner(search), torch.Generator().manual_seed(seed)
    watch = Watch(problem.score, problem.official_energy * (1 + tolerance))
    try:
        planner.plan(watch, problem.spec, problem.guess, noise)
    except ReachedError:
        pass
    return watch


def equal_time(config: EnergyBenchmark, problems: list[Problem]) -> list[dict[str, Any]]:
    """Returns each planner's energies with each budget of time, beside those of CEM with the same."""
    energies: dict[tuple[str, float], np.ndarray] = {}
    cases = [(name, budget) for budget in config.budgets for name in ANYTIME]
    for name, budget in progress(cases, desc="equal time"):
        planner = make_planner(replace(ANYTIME[name], horizon=config.ahead))
        found = []
        for seed, problem in enumerate(problems):
            noise = torch.Generator().manual_seed(seed)
            deadline = time.monotonic() + budget
            found.append(planner.plan(problem.score, problem.spec, problem.guess, noise, deadline).cost)
        energies[name, budget] = np.array(found)
    official = np.array([problem.official_energy for problem in problems])
    return [
        {
            "planner": name,
            "budget_seconds": budget,
            "median_energy_over_official": float(np.median(found / official)),
            "lower_than_cem": float((found < energies["CEM", budget]).mean()),
            "median_energy_over_cem": float(np.median(found / energies["CEM", budget])),
        }
        for (name, budget), found in energies.items()
    ]


def energy_text(config: EnergyBenchmark, results: dict[str, Any]) -> str:
    """Returns the tables of time to the official energy and of energies at equal time."""
    reached = table(
        results["rows"],
        {
            "planner": lambda row: row["planner"],
            "steps reached": lambda row: f"{row['reached']:.0%}",
            "time": lambda row: f"{1000 * row['median_seconds']:.0f} ms",
            "evaluations": lambda row: f"{row['median_evaluations']:.0f}",
            "times faster": lambda row: f"{row['median_times_faster']:.0f}",
            "worst tenth": lambda row: f"{row['worst_decile_times_faster']:.0f}",
        },
    )
    cases = {(row["planner"], row["budget_seconds"]): row for row in results["equal_time"]}

    def against_cem(budget: float) -> Callable[[str], str]:
        return lambda name: "{median_energy_over_cem:.4f} ({lower_than_cem:.0%})".format(**cases[name, budget])

    budgets = {f"{1000 * budget:.0f} ms": against_cem(budget) for budget in sorted({case[1] for case in cases})}
    return "\n\n".join(
        (
            f"Time to the official planner's energy, median of {results['steps']} held-out steps. Official: "
            f"{results['official_median_seconds']:.2f} s, {results['official_evaluations']} evaluations, energy "
            f"{results['median_official_energy']:.5f} (of the true action {results['median_true_action_energy']:.5f}); "
            + ("its own code." if results["official_code"] else "our code of it."),
            reached,
            "Energy at equal time over CEM's, median (steps on which it is lower):",
            table([row["planner"] for row in results["rows"]], {"planner": str, **budgets}),
        )
    )


def draw_energy(results: dict[str, Any], path: Path) -> None:
    """Draws the energies at equal time."""
    with figure(path) as (_, (axes,)):
        for name in [row["planner"] for row in results["rows"]]:
            rows = [row for row in results["equal_time"] if row["planner"] == name]
            above = [100 * (row["median_energy_over_official"] - 1) for row in rows]
            budgets = [1000 * row["budget_seconds"] for row in rows]
            axes.plot(budgets, above, marker="o", label=name)
            axes.set_xscale("log")
            axes.set_xticks(budgets, [f"{budget:g}" for budget in budgets], minor=False)
        axes.minorticks_off()
        axes.set_yscale("symlog", linthresh=0.01)
        axes.set_ylim(bottom=min(-0.01, 1.1 * axes.dataLim.y0))
        axes.set(
            xlabel="time for planning [ms]",
            ylabel="median energy above the official planner's [%]",
            title=f"official planner: {results['official_evaluations']} evaluations in "
            f"{results['official_median_seconds']:.1f} s",
        )
