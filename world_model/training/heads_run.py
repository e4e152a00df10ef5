"""A training run of a compact world model's heads, from recordings to its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from envs.bar import progress
from envs.episodes.open import load_reading, open_dataset
from envs.folders import writing
from world_model.checkpoints.checkpoint import Manifest, find_checkpoint, read_manifest
from world_model.compact import CompactModel
from world_model.data.batches import RecordedWindows, join_recorded
from world_model.data.store import FrameStore
from world_model.data.store_layout import cache_beside
from world_model.device import find_device
from world_model.load import load_world_model
from world_model.training.compact import encode_episode
from world_model.training.compact_run import decode, run_to_end
from world_model.training.heads import train_heads
from world_model.training.heads_config import HeadsConfig
from world_model.training.loop import RunLog
from world_model.training.progress import make_report, origin


def run(config: HeadsConfig) -> int:
    """Trains, prints where the checkpoint is and returns the exit status.

    Raises:
        ValueError: If a setting, the parent, the recordings or what an earlier run left behind does not do.
    """
    return run_to_end(config, "train-heads", config.checkpoint_directory, lambda: learn(config))


def learn(config: HeadsConfig) -> Manifest | None:
    """Returns the manifest of the finished checkpoint, or None if interrupted; encodes the episodes first."""
    model = load_world_model(config.parent, find_device(config.device))
    if not isinstance(model, CompactModel):
        raise ValueError(f"{config.parent} is a {model.kind} world model: heads are learnt on compact ones")
    reading, folders = load_reading(config.reading), (config.data, *config.more)
    datasets = [open_dataset(folder, reading) for folder in folders]
    for dataset in datasets:
        model.action_spec.check_same_meaning(dataset.spec)
    recorded = join_recorded([RecordedWindows(dataset, told=True) for dataset in datasets])
    caches = (config.cache_directory, *(cache_beside(folder) for folder in config.more))
    latents = []
    for dataset, cache in zip(datasets, caches, strict=True):
        latents += encode(model, decode(cache, config.decoding_processes, dataset))
    parent = read_manifest(find_checkpoint(config.parent))
    fingerprint = " ".join([str(sorted(parent.files.items())), *(dataset.fingerprint for dataset in datasets)])
    data = [
        {"folder": str(folder), "fingerprint": dataset.fingerprint, "episodes": len(dataset)}
        for folder, dataset in zip(folders, datasets, strict=True)
    ]
    provenance = {**origin(), "data": data, "steps": config.steps, "seed": config.seed}
    bar = progress(total=config.steps, desc="train")
    with writing(config.output), RunLog(config.output, config.log) as log, bar:
        report = make_report(log, bar, format_errors)
        return train_heads(config, model, latents, recorded, fingerprint, report, provenance)


def encode(model: CompactModel, frames: FrameStore) -> list[Float[Tensor, "T Z"]]:
    """Returns the latents of every episode's frames, with progress."""
    lengths = frames.layout.lengths
    with progress(total=sum(lengths), desc="encode", unit="frame") as bar:
        latents = []
        for episode, length in enumerate(lengths):
            latents.append(encode_episode(model, frames, episode, length))
            bar.update(length)
    return latents


def format_errors(errors: Mapping[str, float]) -> str:
    """Returns held-out errors as two lines."""
    return (
        f"inverse dynamics: count {errors['count']:.3f}, mode {errors['mode']:.3f}, offset {errors['offset']:.3f}\n"
        f"distance: {errors['distance']:.2f} actions off, the middle one for all {errors['distance_middle']:.2f}"
    )
