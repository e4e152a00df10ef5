"""A training run of a compact world model's heads, from recordings to its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from envs.bar import progress
from envs.episodes import EpisodeSource
from world_model.checkpoints.checkpoint import Manifest, read_manifest
from world_model.compact import CompactModel
from world_model.data.batches import RecordedWindows, join_recorded
from world_model.data.joined import JoinedFrames
from world_model.device import find_device
from world_model.load import load_world_model
from world_model.training.compact import encode_episode
from world_model.training.compact_run import decode_all, open_recordings, provenance
from world_model.training.heads import train_heads
from world_model.training.heads_config import HeadsConfig
from world_model.training.progress import reporting
from world_model.training.run_folders import run_to_end


def run(config: HeadsConfig) -> int:
    """Trains, prints where the checkpoint is and returns the exit status.

    Raises:
        ValueError: If a setting, the parent, the recordings or what an earlier run left behind does not do.
    """
    return run_to_end(config, "train-heads", f"checkpoint: {config.checkpoint_directory}", lambda: learn(config))


def learn(config: HeadsConfig) -> Manifest | None:
    """Returns the manifest of the finished checkpoint, or None if interrupted; encodes the episodes first."""
    model = open_parent(config.parent, config.device, "heads are learnt on compact ones")
    folders = (config.data, *config.more)
    datasets = open_recordings(folders, config.reading)
    model.action_spec.check_same_meaning(datasets[0].spec)
    recorded = join_recorded([RecordedWindows(dataset, told=True) for dataset in datasets])
    latents = encode(model, JoinedFrames(decode_all(config, datasets, model.image_size)))
    fingerprint = fingerprint_of(config.parent, datasets)
    described = provenance(config, dict(zip(folders, datasets, strict=True)))
    with reporting(config, format_errors, config.log) as report:
        return train_heads(config, model, latents, recorded, fingerprint, report, described)


def open_parent(name: str, device: str, otherwise: str) -> CompactModel:
    """Returns the compact model of a checkpoint on a device.

    Raises:
        ValueError: If it is another kind of model, with what to say of that.
    """
    model = load_world_model(name, find_device(device))
    if not isinstance(model, CompactModel):
        raise ValueError(f"{name} is a {model.kind} world model: {otherwise}")
    return model


def fingerprint_of(parent: str, datasets: Sequence[EpisodeSource]) -> str:
    """Returns what identifies all that a run learns from: its parent's files and its recordings."""
    files = read_manifest(parent).files
    return " ".join([str(sorted(files.items())), *(dataset.fingerprint for dataset in datasets)])


def encode(model: CompactModel, frames: JoinedFrames) -> list[Float[Tensor, "T Z"]]:
    """Returns the latents of every episode's frames, with progress."""
    with progress(total=sum(frames.lengths), desc="encode", unit="frame") as bar:
        latents = []
        for episode, length in enumerate(frames.lengths):
            latents.append(encode_episode(model, frames, episode, length))
            bar.update(length)
    return latents


def format_errors(errors: Mapping[str, float]) -> str:
    """Returns held-out errors as a few lines."""
    lines = []
    if "count" in errors:
        shown = (f"{name} {errors[name]:.3f}" for name in ("count", "mode", "offset"))
        lines.append(f"inverse dynamics: {', '.join(shown)}")
    if "mistaken" in errors:
        lines.append(f"another episode's goal taken for near: {100 * errors['mistaken']:.0f} %")
    if "distance" in errors:
        middle = errors["distance_middle"]
        lines.append(f"distance: {errors['distance']:.2f} actions off, the middle one for all {middle:.2f}")
    if "flow" in errors:
        lines.append(f"subgoals: error^2 of the flow {errors['flow']:.3f}")
    if "told" in errors:
        told = f"recorded actions told from others in {100 * errors['told']:.0f} %"
        lines.append(f"energy: {told}, cross-entropy {errors['contrast']:.3f}")
    if "macro" in errors:
        lines.append(f"two macros: error^2 {errors['macro']:.4f}, of copying {errors['macro_copy']:.4f}")
    if "rollout" in errors:
        lines.append(f"dynamics: error^2 {errors['rollout']:.4f}, of copying {errors['rollout_copy']:.4f}")
    return "\n".join(lines)
