"""A training run of LeWM, from recordings to its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from planner.benchmarks.peers.lewm import make_lewm
from planner.benchmarks.peers.lewm_config import TrainLeWMConfig
from planner.benchmarks.peers.lewm_training import train_lewm
from world_model.checkpoints.checkpoint import Manifest
from world_model.data.batches import RecordedWindows, join_recorded
from world_model.data.joined import JoinedFrames
from world_model.training.compact import ImageBatches
from world_model.training.compact_run import decode_all, format_errors, open_recordings
from world_model.training.progress import origin, reporting
from world_model.training.run_folders import run_to_end


def run(config: TrainLeWMConfig) -> int:
    """Trains, prints where the checkpoint is and returns the exit status.

    Raises:
        PeerMissingError: If the peer's code is not there.
        ValueError: If a setting, the recordings or what an earlier run left behind does not do.
    """
    return run_to_end(config, "train-lewm", f"checkpoint: {config.checkpoint_directory}", lambda: learn(config))


def learn(config: TrainLeWMConfig) -> Manifest | None:
    """Returns the manifest of the finished checkpoint, or None if interrupted; decodes the episodes first."""
    datasets = open_recordings((config.data, *config.more), config.reading)
    make_lewm(config.shape, datasets[0].spec.size)  # a peer that is missing is better told before frames are decoded
    stores = decode_all(config, datasets, config.decoded)
    recorded = join_recorded([RecordedWindows(dataset, told=True) for dataset in datasets])
    data = [{"fingerprint": each.fingerprint, "episodes": len(each), "frames": sum(each.lengths)} for each in datasets]
    provenance = {**origin(), "data": data, "seed": config.seed}
    with reporting(config, told, config.log) as report:
        return train_lewm(config, ImageBatches(recorded, JoinedFrames(stores)), report, provenance)


def told(errors: Mapping[str, float]) -> str:
    """Returns held-out errors in words and a small table."""
    losses = ", ".join(f"{name.removeprefix('loss_')} {errors[name]:.4f}" for name in errors if name.startswith("loss"))
    return f"held-out loss: {losses}\n{format_errors(errors)}"
