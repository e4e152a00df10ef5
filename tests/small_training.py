"""Training runs of seconds on the moving square, in this process or as a program under torchrun.

`torchrun --nproc-per-node 2 -m tests.small_training FOLDER JOBS`: JOBS is a JSON list of configuration changes, each
with an "output" in FOLDER and perhaps "stop_after", the steps after which the first process is told to stop.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from envs.config import load_config
from tests.moving_square import MovingSquare
from world_model.checkpoints.checkpoint import Manifest
from world_model.data.batches import WindowBatches
from world_model.data.latents import build_latents
from world_model.encoders.vjepa2 import Encoder, EncoderConfig
from world_model.training.loop import LOG_FILE, Report, RunLog, read_log
from world_model.training.processes import find_processes, leave_processes
from world_model.training.train import PredictorSize, TrainConfig, train

SHAPE = EncoderConfig(image_size=32, patch_size=8, width=24, depth=1, heads=2)
DATA = MovingSquare((6,) * 24)


def make_encoder(seed: int = 0) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(SHAPE).requires_grad_(False).eval()


def make_batches(encoder: Encoder, folder: Path) -> WindowBatches:
    return WindowBatches(DATA, build_latents(DATA, encoder, folder / "latents"))


def make_config(output: Path, **changes: Any) -> TrainConfig:
    config = TrainConfig(
        data=Path("nowhere"), output=output, encoder=Path("nowhere"), frames=3, steps=12, batch=8, warmup=3,
        predictor=PredictorSize(24, 1, 2, 2.0, 8), context=1, evaluate_every=6, evaluate_horizon=3, save_every=5,
        device="cpu", precision="fp32",
    )  # fmt: skip
    return replace(config, **changes)


def measured_steps(train: Callable[[Report], Manifest | None], stop_after: int | None = None) -> list[dict[str, float]]:
    """What a run's steps measured; the run is finished, or Ctrl-C is pressed after so many steps."""
    measured: list[dict[str, float]] = []

    def report(step: int, values: Mapping[str, float]) -> None:
        measured.append(dict(values))
        if stop_after is not None and step + 1 == stop_after:
            raise KeyboardInterrupt

    if stop_after is None:
        assert train(report) is not None
    else:
        with pytest.raises(KeyboardInterrupt):
            train(report)
    return measured


def run(
    config: TrainConfig, encoder: Encoder, batches: WindowBatches, stop_after: int | None = None
) -> Manifest | None:
    """Trains with a log, as the program does."""
    with RunLog(config.output, config.log) as log:

        def report(step: int, measured: Mapping[str, float]) -> None:
            log(step, measured)
            if step + 1 == stop_after:
                signal.raise_signal(signal.SIGINT)

        return train(config, encoder, batches, report, {"command": "a test"})


def log_of(output: Path) -> list[dict[str, float]]:
    return read_log(output / LOG_FILE)


def from_job(folder: Path, job: Mapping[str, Any]) -> TrainConfig:
    """The configuration of a job, plain values as JSON has them."""
    from envs.config import dump_config

    base = make_config(folder / job["output"])
    changes = {name: value for name, value in job.items() if name not in {"output", "stop_after"}}
    return load_config(TrainConfig, {**dump_config(base), **changes})


def main() -> None:
    torch.set_num_threads(1)
    folder, jobs = Path(sys.argv[1]), json.loads(sys.argv[2])
    encoder, processes = make_encoder(), find_processes("cpu")
    with processes.main_first():
        batches = make_batches(encoder, folder)
    for job in jobs:
        run(from_job(folder, job), encoder, batches, job.get("stop_after") if processes.main else None)
    leave_processes()


if __name__ == "__main__":
    main()
