"""Success against seconds an action: the planners in a simulated task."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from envs.config import dump_config, load_config
from envs.folders import write_text
from planner.benchmarks.config import ParetoBenchmark
from planner.evaluation.config import EvaluateConfig
from planner.evaluation.episodes import evaluate, workplace
from planner.evaluation.report import summarise
from planner.reporting import figure, table
from planner.search.cem import CEMConfig
from planner.search.gradient import GradientConfig
from planner.search.hybrid import HybridConfig
from planner.search.icem import ICEMConfig
from planner.search.mppi import MPPIConfig
from planner.search.official_cem import OfficialCEMConfig
from planner.search.planner_config import PlannerConfig
from planner.search.predictive_sampling import PredictiveSamplingConfig

PLANNERS: dict[str, PlannerConfig] = {
    "CEM 8 x 2": CEMConfig(samples=8, iterations=2, elites=2, kept_elites=1),
    "CEM 16 x 2": CEMConfig(samples=16, iterations=2),
    "CEM 32 x 4": CEMConfig(),
    "iCEM 16 x 2": ICEMConfig(samples=16, iterations=2),
    "iCEM 32 x 4": ICEMConfig(),
    "MPPI 16 x 2": MPPIConfig(samples=16, iterations=2),
    "MPPI 32 x 4": MPPIConfig(),
    "predictive sampling 16 x 2": PredictiveSamplingConfig(samples=16, iterations=2),
    "predictive sampling 32 x 4": PredictiveSamplingConfig(),
    "Adam, 2 starts x 5": GradientConfig(starts=2, iterations=5),
    "Adam, 4 starts x 10": GradientConfig(),
    "CEM 16 x 2, then Adam 5": HybridConfig(
        sampling=CEMConfig(samples=16, iterations=2), gradient=GradientConfig(starts=1, iterations=5)
    ),
    "official CEM 100 x 10": OfficialCEMConfig(samples=100),
}


def success_and_seconds(config: ParetoBenchmark, output: Path) -> dict[str, Any]:
    """Returns each planner's rate of success and time an action.

    Args:
        config: What to run.
        output: Folder where the results are kept after every planner; those found there of the same benchmark stand.
    """
    path = output / "results.json"
    base = load_config(EvaluateConfig, config.config)
    identity = {"task": base.task, "checkpoint": base.checkpoint, "settings": dump_config(_settings(base, config))}
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    same = all(before.get(name) == value for name, value in identity.items())
    done = {row["planner"]: row for row in before["rows"]} if same else {}
    results: dict[str, Any] = {**identity, "rows": []}
    for name, planner in PLANNERS.items():
        described = dump_config(planner)
        row = done.get(name)
        if row is None or row["settings"] != described:
            settings = replace(_settings(base, config), planner=planner)
            row = {"planner": name, "settings": described, **asdict(summarise(evaluate(settings)["planner"]))}
            workplace.cache_clear()
        results["rows"].append(json.loads(json.dumps(row)))
        write_text(path, json.dumps(results, indent=1) + "\n")
    return results


def _settings(base: EvaluateConfig, config: ParetoBenchmark) -> EvaluateConfig:
    """Returns the evaluation's settings, the planner aside."""
    return replace(
        base,
        episodes=config.episodes,
        seed=config.seed,
        device=config.device,
        baselines=False,
        video_episodes=0,
        processes=1,
    )


def pareto_text(config: ParetoBenchmark, results: dict[str, Any]) -> str:
    """Returns the table of success and time."""
    text = table(
        results["rows"],
        {
            "planner": lambda row: row["planner"],
            "success at the end": lambda row: f"{row['at_the_end']}/{row['n']}",
            "95 % interval": lambda row: f"{row['interval'][0]:.0%} to {row['interval'][1]:.0%}",
            "median error": lambda row: f"{1000 * row['median_error']:.1f} mm",
            "median an action": lambda row: f"{row['median_seconds']:.3f} s",
            "90th percentile": lambda row: f"{row['p90_seconds']:.3f} s",
        },
    )
    return (
        f"{text}\n\n{results['task']}, {results['checkpoint']}, seeds {config.seed}.."
        f"{config.seed + config.episodes - 1}, the goal as an image alone, encoding included."
    )


def draw_pareto(results: dict[str, Any], path: Path) -> None:
    """Draws each planner's success, with its interval, beside its time, the quickest on top."""
    rows = sorted(results["rows"], key=lambda row: -row["median_seconds"])
    size = (8, 1 + 0.3 * len(rows))
    with figure(path, columns=2, size=size, legends=False, sharey=True) as (_, (success, seconds)):
        for height, row in enumerate(rows):
            share, (low, high) = row["at_the_end"] / row["n"], row["interval"]
            spread = [[max(0, share - low)], [max(0, high - share)]]
            success.errorbar(share, height, xerr=spread, marker="o", capsize=3, color="C0")
            seconds.barh(height, 1000 * row["median_seconds"], height=0.6, color="C0")
        success.set_yticks(range(len(rows)), [row["planner"] for row in rows])
        success.set(xlabel=f"success at the end (n = {rows[0]['n']})", xlim=(None, 1.01))
        seconds.set(xlabel="median time of an action [ms]")
        for axes in (success, seconds):
            axes.grid(alpha=0.3)
