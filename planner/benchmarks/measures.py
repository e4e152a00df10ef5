"""The benchmarks and their files."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from envs.config import dump_config
from envs.folders import results_folder, write_text
from planner.benchmarks.config import (
    EnergyBenchmark,
    JitterBenchmark,
    ParetoBenchmark,
    Part,
    PlanBenchmark,
    TrainBenchmark,
)
from planner.benchmarks.energy import draw_energy, energy_text, time_to_energy
from planner.benchmarks.jitter import draw_jitter, jitter_text, time_set_points
from planner.benchmarks.pareto import draw_pareto, pareto_text, success_and_seconds
from planner.benchmarks.plan import draw_plans, plan_text, time_plans
from planner.benchmarks.train import draw_training, time_training, train_text

MEASURES: dict[type, tuple[Callable[..., dict[str, Any]], Callable[..., str], Callable[..., None]]] = {
    PlanBenchmark: (time_plans, plan_text, draw_plans),
    EnergyBenchmark: (time_to_energy, energy_text, draw_energy),
    ParetoBenchmark: (success_and_seconds, pareto_text, draw_pareto),
    TrainBenchmark: (time_training, train_text, draw_training),
    JitterBenchmark: (time_set_points, jitter_text, draw_jitter),
}
"""Of each benchmark what measures (settings, output folder), tells (settings, results) and draws (results, path)."""


def run(part: Part, folder: Path | None) -> None:
    """Measures, writes the results and prints them.

    Raises:
        ValueError: If a setting, the checkpoint or the official code is not there.
    """
    name = type(part).__name__.removesuffix("Benchmark").lower()
    output = folder or Path("results") / f"benchmark-{name}"
    measure, tell, draw = MEASURES[type(part)]
    with results_folder(output, f"benchmark-{name}"):
        results = measure(part, output)
        found = {"config": dump_config(part), "machine": machine(part.device), **results}
        text = tell(part, results)
        print(text)
        write_text(output / "results.json", json.dumps(found, indent=1) + "\n")
        write_text(output / "results.md", text + "\n")
        draw(results, output / "benchmark.png")
    print(f"{json.dumps(found['machine'])}\nwrote results.json, results.md and benchmark.png to {output}")


def machine(device: str) -> dict[str, Any]:
    """Returns what the figures depend on."""
    return {
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "torch": torch.__version__,
    }
