"""A training run of the predictor, from recordings to its report."""

from __future__ import annotations

import logging
import sys

from envs.config import dump_config
from envs.episodes import EpisodeSource
from envs.episodes.open import load_reading
from envs.program import FAILED, INTERRUPTED
from planner.training.report import write_report
from planner.training.run import open_windows
from world_model.checkpoints.checkpoint import Manifest
from world_model.checkpoints.folder import find_checkpoint
from world_model.encoders.folder import load_encoder
from world_model.finite import DivergedError
from world_model.training.dataset import check_actions, open_episodes
from world_model.training.held_out import format_errors
from world_model.training.processes import Processes, find_processes, leave_processes
from world_model.training.progress import origin, reporting
from world_model.training.run_folders import run_folders
from world_model.training.train import train
from world_model.training.train_config import TrainConfig


def run(config: TrainConfig) -> int:
    """Trains, prints where the checkpoint and the report are, and returns the exit status.

    Raises:
        ValueError: If a setting, the recordings or what an earlier run left behind does not do.
    """
    processes = find_processes(config.device)
    logging.basicConfig(level=logging.INFO if processes.main else logging.ERROR, format="%(message)s")
    try:
        with run_folders(config, "train", processes.main):
            manifest = learn(config, processes)
            if processes.main and manifest is not None:
                print(f"checkpoint: {config.checkpoint_directory}")
                print(f"report: {write_report(config.output)} (scripts/report.py adds success in simulation)")
    except DivergedError as error:  # the same in all processes, and the first that leaves ends the others
        with processes.main_first():
            if processes.main:
                print(f"error: {error}", file=sys.stderr, flush=True)
        leave_processes()
        return FAILED
    leave_processes()
    if processes.main and manifest is None:
        print("stopped; the same command goes on")
    return 0 if manifest else INTERRUPTED


def learn(config: TrainConfig, processes: Processes) -> Manifest | None:
    """Returns the manifest of the finished checkpoint, or None if interrupted; encodes the episodes first."""
    with processes.main_first():
        dataset = open_episodes(config, show=processes.main)
    check_actions(config, dataset.spec)
    folder = config.encoder if config.parent is None else find_checkpoint(config.parent) / "encoder"
    assert folder is not None, "TrainConfig has one of the two"
    encoder = load_encoder(folder).to(processes.device)
    batches = open_windows(config, dataset, encoder, config.encoding_processes, show=processes.main)
    with reporting(config, format_errors, config.log, processes.main) as report:
        return train(config, encoder, batches, report, provenance(config, dataset))


def provenance(config: TrainConfig, dataset: EpisodeSource) -> dict[str, object]:
    """Returns where the checkpoint comes from, for its manifest."""
    return {
        **origin(),
        "data": {
            "folder": str(config.data),
            "reading": None if config.reading is None else dump_config(load_reading(config.reading)),
            "fingerprint": dataset.fingerprint,
            "episodes": len(dataset),
            "frames": sum(dataset.lengths),
        },
        "steps": config.steps,
        "seed": config.seed,
    }
