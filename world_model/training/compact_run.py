"""A training run of a compact world model, from recordings to its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from envs.bar import progress
from envs.episodes import EpisodeSource
from envs.episodes.open import load_reading, open_dataset
from world_model.checkpoints.checkpoint import Manifest
from world_model.data.batches import RecordedWindows, join_recorded
from world_model.data.joined import JoinedFrames
from world_model.data.store import FrameStore, build_frames
from world_model.data.store_layout import cache_beside
from world_model.training.compact import ImageBatches, train_compact
from world_model.training.compact_config import CompactConfig
from world_model.training.progress import origin, reporting
from world_model.training.run_config import DecodedRunConfig, ModelRunConfig
from world_model.training.run_folders import run_to_end


def run(config: CompactConfig) -> int:
    """Trains, prints where the checkpoint is and returns the exit status.

    Raises:
        ValueError: If a setting, the recordings or what an earlier run left behind does not do.
    """
    return run_to_end(config, "train-compact", f"checkpoint: {config.checkpoint_directory}", lambda: learn(config))


def learn(config: CompactConfig) -> Manifest | None:
    """Returns the manifest of the finished checkpoint, or None if interrupted; decodes the episodes first."""
    datasets = open_recordings((config.data, *config.more), config.reading)
    parts = [RecordedWindows(dataset, config.stride, told=True) for dataset in datasets]
    frames = JoinedFrames(decode_all(config, datasets, config.encoder.image_size))
    batches = ImageBatches(join_recorded(parts), frames)
    folders = dict(zip((config.data, *config.more), datasets, strict=True))
    with reporting(config, format_errors, config.log) as report:
        return train_compact(config, batches, report, provenance(config, folders))


def open_recordings(folders: Sequence[Path], reading: Path | None) -> list[EpisodeSource]:
    """Returns the datasets of some folders.

    Raises:
        ValueError: If one can't be read, or the actions of two do not mean the same.
    """
    read = load_reading(reading)
    datasets = [open_dataset(folder, read) for folder in folders]
    for dataset in datasets[1:]:
        datasets[0].spec.check_same_meaning(dataset.spec)
    return datasets


def decode_all(config: DecodedRunConfig, datasets: Sequence[EpisodeSource], size: int) -> list[FrameStore]:
    """Returns what an encoder of images of some size sees of a run's recordings, each kept beside what it is of."""
    caches = (config.cache_directory, *(cache_beside(folder) for folder in config.more))
    processes = config.decoding_processes
    return [decode(cache, dataset, processes, size) for cache, dataset in zip(caches, datasets, strict=True)]


def decode(cache: Path, dataset: EpisodeSource, processes: int, size: int) -> FrameStore:
    """Returns what an encoder of images of some size sees of all frames of a dataset, decoded to disk once."""
    with progress(total=sum(dataset.lengths), desc="decode", unit="frame") as bar:
        return build_frames(dataset, cache, bar.update, processes, size)


def format_errors(errors: Mapping[str, float]) -> str:
    """Returns held-out errors as a small table: a row for the first, the middle and the last step."""
    last = max(int(name.rpartition("_")[2]) for name in errors if name.startswith("rollout_copy_"))
    lines = [f"{'held-out error^2':<18}{'model':>9}{'copy':>9}{'shuffled':>10}"]
    for step in sorted({1, (last + 1) // 2, last}):
        values = [errors[f"rollout{kind}_{step}"] for kind in ("", "_copy", "_shuffled")]
        lines.append(f"{f'rollout step {step}':<18}{values[0]:>9.4f}{values[1]:>9.4f}{values[2]:>10.4f}")
    return "\n".join([*lines, f"latents: variance {errors['variance']:.2f}, effective rank {errors['rank']:.1f}"])


def provenance(config: ModelRunConfig, folders: Mapping[Path, EpisodeSource]) -> dict[str, object]:
    """Returns where a checkpoint comes from, for its manifest."""
    data = [
        {
            "folder": str(folder),
            "fingerprint": dataset.fingerprint,
            "episodes": len(dataset),
            "frames": sum(dataset.lengths),
        }
        for folder, dataset in folders.items()
    ]
    return {**origin(), "data": data, "steps": config.steps, "seed": config.seed}
