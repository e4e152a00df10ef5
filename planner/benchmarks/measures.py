"""The benchmarks, their files and their tables."""

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
from planner.benchmarks.energy import time_to_energy
from planner.benchmarks.figures import draw_energy, draw_jitter, draw_pareto, draw_plans, draw_training
from planner.benchmarks.jitter import jitter_text, time_set_points
from planner.benchmarks.pareto import success_and_seconds
from planner.benchmarks.plan import time_plans
from planner.benchmarks.train import time_training, train_rows
from planner.evaluation.report import markdown


def run(part: Part, folder: Path | None) -> None:
    """Measures, writes the results and prints them.

    Raises:
        ValueError: If a setting, the checkpoint or the official code is not there.
    """
    name = type(part).__name__.removesuffix("Benchmark").lower()
    output = folder or Path("results") / f"benchmark-{name}"
    with results_folder(output, f"benchmark-{name}"):
        results, text, draw = measure(part, output)
        found = {"config": dump_config(part), "machine": machine(part.device), **results}
        print(text)
        write_text(output / "results.json", json.dumps(found, indent=1) + "\n")
        write_text(output / "results.md", text + "\n")
        draw(results, output / "benchmark.png")
    print(f"{json.dumps(found['machine'])}\nwrote results.json, results.md and benchmark.png to {output}")


def measure(part: Part, output: Path) -> tuple[dict[str, Any], str, Callable[[dict[str, Any], Path], None]]:
    """Returns a part's results, their text and what draws them."""
    match part:
        case PlanBenchmark():
            results = time_plans(part)
            return results, plan_text(part, results), draw_plans
        case EnergyBenchmark():
            results = time_to_energy(part)
            return results, energy_text(results), draw_energy
        case TrainBenchmark():
            results = time_training(part)
            return results, train_text(part, results), draw_training
        case JitterBenchmark():
            results = time_set_points(part)
            return results, jitter_text(results), draw_jitter
        case _:
            results = success_and_seconds(part, output / "results.json")
            return results, pareto_text(part, results), draw_pareto


def machine(device: str) -> dict[str, Any]:
    """Returns what the figures depend on."""
    return {
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "torch": torch.__version__,
    }


def plan_text(config: PlanBenchmark, results: dict[str, Any]) -> str:
    """Returns the table of one plan's times."""
    header = [
        "predictor", "type", "H", "ours", "official", "times faster", "action difference", "first call", "memory",
        "of matrix rate",
    ]  # fmt: skip
    rows = []
    for row in results["rows"]:
        low, high = row.get("ratio_range", (0, 0))
        rows.append(
            [
                f"{row['size']} ({row['parameters'] / 1e6:.1f} M)",
                row["precision"],
                str(row["horizon"]),
                f"{row['seconds']:.2f} s",
                f"{row['official_seconds']:.2f} s" if "ratio" in row else "-",
                f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})" if "ratio" in row else "-",
                f"{row['largest_action_difference']:.1e}" if "ratio" in row else "-",
                f"{row['first_seconds']:.2f} s" + (f" / {row['official_first_seconds']:.2f} s" * ("ratio" in row)),
                gigabytes(row["peak_bytes"]) + (f" / {gigabytes(row['official_peak_bytes'])}" * ("ratio" in row)),
                f"{row['share_of_matrix_rate']:.0%}",
            ]
        )
    rates = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in results["matrix_rates"].items())
    return (
        f"{markdown(header, rows)}\n\n{config.samples} samples x {config.iterations} iterations, median of "
        f"{config.repeats} in turns (range). Pairs are ours / official. Measured matrix rate: {rates}."
    )


def gigabytes(count: int | None) -> str:
    """Returns a number of bytes to read."""
    return "?" if count is None else f"{count / 1e9:.2f} GB"


def energy_text(results: dict[str, Any]) -> str:
    """Returns the tables of time to the official energy and of energies at equal time."""
    rows = [
        [
            row["planner"],
            f"{row['reached']:.0%}",
            f"{1000 * row['median_seconds']:.0f} ms",
            f"{row['median_evaluations']:.0f}",
            f"{row['median_times_faster']:.0f}",
            f"{row['worst_decile_times_faster']:.0f}",
        ]
        for row in results["rows"]
    ]
    budgets = sorted({row["budget_seconds"] for row in results["equal_time"]})
    by_case = {(row["planner"], row["budget_seconds"]): row for row in results["equal_time"]}
    equal = [
        [
            row["planner"],
            *(
                f"{by_case[row['planner'], budget]['median_energy_over_cem']:.4f} "
                f"({by_case[row['planner'], budget]['lower_than_cem']:.0%})"
                for budget in budgets
            ),
        ]
        for row in results["rows"]
    ]
    header = ["planner", "steps reached", "time", "evaluations", "times faster", "worst tenth"]
    return "\n\n".join(
        (
            f"Time to the official planner's energy, median of {results['steps']} held-out steps. Official: "
            f"{results['official_median_seconds']:.2f} s, {results['official_evaluations']} evaluations, energy "
            f"{results['median_official_energy']:.5f} (of the true action {results['median_true_action_energy']:.5f}); "
            + ("its own code." if results["official_code"] else "our code of it."),
            markdown(header, rows),
            "Energy at equal time over CEM's, median (steps on which it is lower):",
            markdown(["planner", *(f"{1000 * budget:.0f} ms" for budget in budgets)], equal),
        )
    )


def pareto_text(config: ParetoBenchmark, results: dict[str, Any]) -> str:
    """Returns the table of success and time."""
    rows = [
        [
            row["planner"],
            f"{row['at_the_end']}/{row['n']}",
            f"{row['interval'][0]:.0%} to {row['interval'][1]:.0%}",
            f"{1000 * row['median_error']:.1f} mm",
            f"{row['median_seconds']:.3f} s",
            f"{row['p90_seconds']:.3f} s",
        ]
        for row in results["rows"]
    ]
    header = ["planner", "success at the end", "95 % interval", "median error", "median an action", "90th percentile"]
    return (
        f"{markdown(header, rows)}\n\n{results['task']}, {results['checkpoint']}, seeds {config.seed}.."
        f"{config.seed + config.episodes - 1}, the goal as an image alone, encoding included."
    )


def train_text(config: TrainBenchmark, results: dict[str, Any]) -> str:
    """Returns the table of training steps."""
    header = [
        "recordings", "cached", "official recipe", "decode", "encode", "learn", "times faster", "loss difference",
        "cache, a frame",
    ]  # fmt: skip
    code = "its own encoder and predictor" if config.official else "our modules"
    return (
        f"{markdown(header, train_rows(results))}\n\nOne optimiser step of {config.batch} windows of {config.frames} "
        f"frames, {config.rollout_steps} rollout steps, {config.checkpoint}, float32, median of {config.turns} "
        f"turns of {config.steps} steps (range). The official recipe decodes and encodes every window in every step "
        f"({code}); the cache is made once, at the cost in the last column, decoding included."
    )
