"""A training run of a critic, from a checkpoint and recordings to the checkpoint with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from envs.bar import progress
from envs.episodes.open import open_dataset
from world_model.checkpoints.checkpoint import Manifest, read_manifest
from world_model.data.batches import WindowBatches, join_batches
from world_model.data.latents import build_latents, latent_layout
from world_model.data.store_layout import cache_beside
from world_model.heads.goal_policy.config import TrainCriticConfig
from world_model.heads.goal_policy.training import train_critic
from world_model.training.progress import origin, reporting
from world_model.training.run_folders import run_to_end
from world_model.vjepa2_ac import VJEPA2AC, load_vjepa2_ac


def run(config: TrainCriticConfig) -> int:
    """Trains, prints where the checkpoint is and returns the exit status.

    Raises:
        ValueError: If the checkpoint, the recordings or what an earlier run left behind does not do.
    """
    made = f"checkpoint: {config.checkpoint_directory}"
    return run_to_end(config, "train_critic", made, lambda: learn(config))


def open_windows(data: Path, cache: Path, model: VJEPA2AC) -> WindowBatches:
    """Returns the windows of recordings' latents, encoding what is not in the cache yet.

    Raises:
        ValueError: If the recorded actions are not the checkpoint's.
    """
    dataset = open_dataset(data)
    layout = latent_layout(dataset, model.encoder)
    with progress(total=sum(dataset.lengths), desc="encode", unit="frame") as bar:
        latents = build_latents(dataset, model.encoder, cache, layout=layout, report=bar.update)
    stride = round(dataset.spec.rate / model.action_spec.rate)
    batches = WindowBatches(dataset, latents, max(1, stride))
    model.action_spec.check_same_meaning(batches.action_spec)
    return batches


def learn(config: TrainCriticConfig) -> Manifest | None:
    """Returns the manifest of the finished checkpoint, or None if interrupted; encodes the episodes first."""
    model = load_vjepa2_ac(config.parent)
    batches = open_windows(config.data, config.cache_directory, model)
    if config.more:
        batches = join_batches([batches, *(open_windows(data, cache_beside(data), model) for data in config.more)])
    provenance = {**origin(), "parent_files": read_manifest(config.parent).files}
    with reporting(config, format_errors) as report:
        return train_critic(config, model, batches, report, provenance)


def format_errors(errors: Mapping[str, float]) -> str:
    """Returns the held-out errors in one line."""
    said = []
    if "count_error" in errors:
        said += [
            f"{errors['count_error']:.2f} actions off (the mean: {errors['count_error_of_the_mean']:.2f})",
            f"first action {errors['action_error']:.3f} std off (the mean: {errors['action_error_of_the_mean']:.3f})",
        ]
    said += [
        f"{name} {1000 * errors[f'{name}_error']:.0f} mm off" for name in ("place", "pose") if f"{name}_error" in errors
    ]
    if "held_error" in errors:
        said.append(f"held or not wrong in {errors['held_error']:.1%}")
    return f"held out: {', '.join(said)}"
