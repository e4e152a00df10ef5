"""One plan, ours beside the official planner's: same weights, same noise, same machine, in turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from envs.bar import progress
from planner.benchmarks.config import PlanBenchmark
from planner.benchmarks.official_repository import OfficialRepository
from planner.objectives.objective import GoalDistance, GoalDistanceConfig, rollout_score
from planner.reporting import figure, table
from planner.search.chunks import Chunks
from planner.search.official_cem import OfficialCEM, OfficialCEMConfig
from world_model.base import LatentState
from world_model.device import find_device
from world_model.encoders.vjepa2 import Encoder, EncoderConfig, layer_norm
from world_model.importing.official import OFFICIAL_ACTIONS
from world_model.memory import measure_peak
from world_model.predictors.vjepa2_ac import Predictor, PredictorConfig
from world_model.statistics import Statistics
from world_model.vjepa2_ac import VJEPA2AC

SIZES = {
    "tiny": PredictorConfig(192, 128, 4, 4, 4.0, 6, 6),  # that of checkpoints/franka-tiny
    "100m": PredictorConfig(1024, 1024, 8, 16, 4.0, 16, 16),
    "vitl": PredictorConfig(1024, 1024, 24, 16, 4.0, 16, 16),
    "released": PredictorConfig(1408, 1024, 24, 16, 4.0, 16, 16),
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def time_plans(config: PlanBenchmark, output: Path) -> dict[str, Any]:
    """Returns the measurements of all sizes, horizons and precisions, and of the device."""
    device = find_device(config.device)
    repository = OfficialRepository(config.official) if config.official else None
    cases = [(s, p, h) for s in config.sizes for p in config.precisions for h in config.horizons]
    rows = []
    rates = {name: matrix_rate(device, DTYPES[name]) for name in config.precisions}
    for size, precision, horizon in progress(cases, desc="plans"):
        rows.append(time_case(config, repository, device, size, precision, horizon))
        gc.collect()
        rates[precision] = max(rates[precision], matrix_rate(device, DTYPES[precision]))  # others may be at work
    for row in rows:
        row["share_of_matrix_rate"] = row["flop"] / row["seconds"] / rates[row["precision"]]
    return {"rows": rows, "matrix_rates": rates}


def time_case(
    config: PlanBenchmark,
    repository: OfficialRepository | None,
    device: torch.device,
    size: str,
    precision: str,
    horizon: int,
) -> dict[str, Any]:
    """Returns the times of one size, precision and horizon."""
    model = make_model(SIZES[size], device, DTYPES[precision])
    state, goal = random_frames(model, device)
    settings = OfficialCEMConfig(
        horizon=horizon, samples=config.samples, iterations=config.iterations, elites=config.elites
    )
    cost = GoalDistance(goal.as_goal(), GoalDistanceConfig(frames="last"))
    chunks, score = Chunks(config.chunk), rollout_score(model, cost, state)
    guess = state.poses.new_zeros(1, horizon, 7)

    def score_samples(actions: Tensor) -> Tensor:
        if len(actions) == 1:  # the official planner does not score its answer, so ours is not timed for it
            return actions.new_zeros(1)
        return chunks.score(score, actions)

    def ours() -> Tensor:
        noise = torch.Generator(device).manual_seed(7)
        return OfficialCEM(settings).plan(score_samples, OFFICIAL_ACTIONS, guess, noise).actions

    planners: dict[str, Callable[[], Tensor]] = {"ours": ours}
    if repository is not None:
        step, bound = repository.world_step(model), OFFICIAL_ACTIONS.high[0]

        def official() -> Tensor:
            torch.manual_seed(7)
            return repository.plan(step, state.tokens, state.poses, goal.tokens, settings, bound)

        planners["official"] = official
    return case_row(config, planners, device) | {
        "size": size,
        "parameters": sum(p.numel() for p in model.predictor.parameters()),
        "precision": precision,
        "horizon": horizon,
        "flop": model_flop(model.predictor.config, horizon) * config.samples * config.iterations,
    }


def case_row(config: PlanBenchmark, planners: dict[str, Callable[[], Tensor]], device: torch.device) -> dict[str, Any]:
    """Returns first-call time, memory, times in turns and whether the actions are the same."""
    first, peaks, actions = {}, {}, {}
    for name, plan in planners.items():
        with measure_peak(device) as peak:
            first[name], actions[name] = timed(plan)
        peaks[name] = peak.bytes
    seconds: dict[str, list[float]] = {name: [] for name in planners}
    for _ in range(config.repeats):
        for name, plan in planners.items():
            seconds[name].append(timed(plan)[0])
    row: dict[str, Any] = {
        "seconds": median(seconds["ours"]),
        "first_seconds": first["ours"],
        "peak_bytes": peaks["ours"],
    }
    if "official" in planners:
        ratios = [theirs / ours for ours, theirs in zip(seconds["ours"], seconds["official"], strict=True)]
        row |= {
            "official_seconds": median(seconds["official"]),
            "official_first_seconds": first["official"],
            "official_peak_bytes": peaks["official"],
            "ratio": median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
            "largest_action_difference": float((actions["ours"] - actions["official"]).abs().max()),
        }
    return row


def make_model(config: PredictorConfig, device: torch.device, dtype: torch.dtype) -> VJEPA2AC:
    """Returns a random model of a predictor's shape; its encoder, which no plan needs, has one layer."""
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(image_size=16 * config.grid_height, width=config.token_width, depth=1, heads=1))
    predictor = Predictor(config)
    with torch.no_grad():
        predictor.action_encoder.weight.mul_(20)  # so that no two samples are as good as each other
    model = VJEPA2AC(encoder, predictor.to(dtype), OFFICIAL_ACTIONS, Statistics.identity(), context=1)
    return model.to(device).requires_grad_(False).eval()


def random_frames(model: VJEPA2AC, device: torch.device) -> tuple[LatentState, LatentState]:
    """Returns a present frame and a goal."""
    generator = torch.Generator().manual_seed(1)
    shape = (1, 1, model.predictor.config.tokens, model.predictor.config.token_width)

    def frames() -> Iterator[LatentState]:
        for _ in range(2):
            tokens = layer_norm(torch.randn(shape, generator=generator))
            yield LatentState(tokens.to(device), torch.rand(1, 1, 7, generator=generator).to(device))

    state, goal = frames()
    return state, goal


def timed(plan: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Returns how long a plan took [s] and its actions."""
    begin = time.perf_counter()
    actions = plan().cpu()  # waits for the device
    return time.perf_counter() - begin, actions


def model_flop(config: PredictorConfig, horizon: int) -> float:
    """Returns the floating-point operations of one rollout with every frame computed once."""
    tokens, width = config.tokens + config.conditions, config.width
    weights = config.depth * (4 + 2 * config.mlp_ratio) * width**2
    ends = 2 * config.tokens * config.token_width * width
    attention = [4 * config.depth * tokens * (frame * tokens) * width for frame in range(1, horizon + 1)]
    return horizon * (2 * tokens * weights + 2 * ends) + sum(attention)


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Returns the device's measured rate of large matrix products [flop/s], the best of many."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def corner() -> Tensor:
        return (a @ b)[:1, :1].float()

    return 2 * size**3 / min(timed(corner)[0] for _ in range(20))


def plan_text(config: PlanBenchmark, results: dict[str, Any]) -> str:
    """Returns the table of one plan's times."""
    compared = config.official is not None
    text = table(
        results["rows"],
        {
            "predictor": lambda row: f"{row['size']} ({row['parameters'] / 1e6:.1f} M)",
            "type": lambda row: row["precision"],
            "H": lambda row: str(row["horizon"]),
            "ours": lambda row: f"{row['seconds']:.2f} s",
            "official": lambda row: f"{row['official_seconds']:.2f} s" if compared else "-",
            "times faster": lambda row: ratio_text(row, 2) if compared else "-",
            "action difference": lambda row: f"{row['largest_action_difference']:.1e}" if compared else "-",
            "first call": lambda row: (
                f"{row['first_seconds']:.2f} s" + (f" / {row['official_first_seconds']:.2f} s" if compared else "")
            ),
            "memory": lambda row: (
                _gigabytes(row["peak_bytes"]) + (f" / {_gigabytes(row['official_peak_bytes'])}" if compared else "")
            ),
            "of matrix rate": lambda row: f"{row['share_of_matrix_rate']:.0%}",
        },
    )
    rates = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in results["matrix_rates"].items())
    return (
        f"{text}\n\n{config.samples} samples x {config.iterations} iterations, median of {config.repeats} in turns "
        f"(range). Pairs are ours / official. Measured matrix rate: {rates}."
    )


def ratio_text(row: dict[str, Any], digits: int) -> str:
    """Returns how many times faster ours is, with the range over turns."""
    return "{:.{n}f} ({:.{n}f} to {:.{n}f})".format(row["ratio"], *row["ratio_range"], n=digits)


def _gigabytes(count: int | None) -> str:
    """Returns a number of bytes to read."""
    return "?" if count is None else f"{count / 1e9:.2f} GB"


def draw_plans(results: dict[str, Any], path: Path) -> None:
    """Draws how many times faster ours is, over the horizon."""
    with figure(path) as (_, (axes,)):
        for size, precision in sorted({(row["size"], row["precision"]) for row in results["rows"]}):
            rows = [row for row in results["rows"] if (row["size"], row["precision"]) == (size, precision)]
            horizons, label = [row["horizon"] for row in rows], f"{size}, {precision}"
            if "ratio" in rows[0]:
                spread = [[abs(row["ratio"] - row["ratio_range"][i]) for row in rows] for i in (0, 1)]
                axes.errorbar(horizons, [row["ratio"] for row in rows], spread, marker="o", label=label)
                axes.set(ylabel="times faster than the official planner")
            else:
                axes.plot(horizons, [row["seconds"] for row in rows], marker="o", label=label)
                axes.set(ylabel="seconds a plan")
        axes.axhline(1, color="gray", linewidth=0.8)
        axes.set(xlabel="horizon", ylim=(0, None))
