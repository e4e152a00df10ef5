"""Success against seconds an action: the planners in a simulated task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from _report import summarise
from evaluate import EvaluateConfig, evaluate, workplace

from envs.config import load_config
from planner.cem import CEMConfig
from planner.choice import PlannerConfig
from planner.gradient import GradientConfig
from planner.hybrid import HybridConfig
from planner.icem import ICEMConfig
from planner.mppi import MPPIConfig
from planner.official_cem import OfficialCEMConfig
from planner.predictive_sampling import PredictiveSamplingConfig

PLANNERS: dict[str, PlannerConfig] = {
    "CEM 16 x 2": CEMConfig(samples=16, iterations=2),
    "CEM 32 x 4": CEMConfig(),
    "CEM 64 x 6": CEMConfig(samples=64, iterations=6, elites=6),
    "iCEM 32 x 4": ICEMConfig(),
    "MPPI 32 x 4": MPPIConfig(),
    "predictive sampling 32 x 4": PredictiveSamplingConfig(),
    "gradient, Adam 4 x 10": GradientConfig(),
    "gradient, L-BFGS 30": GradientConfig(optimizer="lbfgs", starts=3, iterations=30),
    "hybrid, CEM 32 x 2 and L-BFGS 15": HybridConfig(
        sampling=CEMConfig(iterations=2), gradient=GradientConfig(optimizer="lbfgs", starts=1, iterations=15)
    ),
    "official CEM 100 x 10": OfficialCEMConfig(samples=100),
}


@dataclass(frozen=True)
class ParetoBenchmark:
    """Runs a simulated task with each planner, one after another.

    Attributes:
        config: Settings of the evaluation but the planner, as scripts/evaluate.py takes them.
        episodes: Of each planner.
        seed: Of the first episode.
        device: cpu, cuda, mps or auto.
    """

    config: Path = Path("scripts/configs/plan/reach.yaml")
    episodes: int = 20
    seed: int = 10000
    device: str = "cpu"


def success_and_seconds(config: ParetoBenchmark) -> dict[str, Any]:
    """Returns each planner's rate of success and time an action."""
    base = load_config(EvaluateConfig, config.config)
    rows = []
    for name, planner in PLANNERS.items():
        settings = replace(
            base,
            planner=planner,
            episodes=config.episodes,
            seed=config.seed,
            device=config.device,
            baselines=False,
            video_episodes=0,
            processes=1,
        )
        summary = summarise(evaluate(settings)["planner"])
        workplace.cache_clear()
        rows.append({"planner": name, **vars(summary)})
    return {"task": base.task, "checkpoint": base.checkpoint, "rows": rows}
