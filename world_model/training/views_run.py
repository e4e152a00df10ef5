"""A training run of a compact world model's eyes, from recordings of several views to its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.episodes.open import load_reading, open_dataset
from world_model.checkpoints.checkpoint import Manifest
from world_model.data.batches import RecordedWindows
from world_model.data.joined import JoinedFrames
from world_model.data.store_layout import cache_beside
from world_model.training.compact_run import decode, provenance
from world_model.training.heads_run import encode, fingerprint_of, open_parent
from world_model.training.progress import reporting
from world_model.training.run_folders import run_to_end
from world_model.training.views import train_views
from world_model.training.views_config import ViewsConfig

_SAME_POSE = 1e-4  # m, rad: two views of one episode differ by nothing but their pictures


def run(config: ViewsConfig) -> int:
    """Trains, prints where the checkpoint is and returns the exit status.

    Raises:
        ValueError: If a setting, the parent, the recordings or what an earlier run left behind does not do.
    """
    return run_to_end(config, "train-views", f"checkpoint: {config.checkpoint_directory}", lambda: learn(config))


def learn(config: ViewsConfig) -> Manifest | None:
    """Returns the manifest of the finished checkpoint, or None if interrupted; decodes the views first."""
    parent = open_parent(config.parent, config.device, "views are learnt by compact ones")
    folders = (config.data, *config.views)
    readings = (config.reading, *(config.view_readings or (config.reading,) * len(config.views)))
    datasets = [open_dataset(folder, load_reading(read)) for folder, read in zip(folders, readings, strict=True)]
    for dataset in datasets:
        parent.action_spec.check_same_meaning(dataset.spec)
    first, *others = (RecordedWindows(dataset) for dataset in datasets)
    for folder, view in zip(config.views, others, strict=True):
        check_view(first, view, str(folder))
    caches = (config.cache_directory, *(cache_beside(folder) for folder in config.views))
    settings = config.decoding_processes, config.encoder.image_size
    frames = [
        JoinedFrames([decode(cache, dataset, *settings)]) for dataset, cache in zip(datasets, caches, strict=True)
    ]
    targets = encode(parent, frames[0])
    fingerprint = fingerprint_of(config.parent, datasets)
    described = provenance(config, dict(zip(folders, datasets, strict=True)))
    with reporting(config, format_errors, config.log) as report:
        return train_views(config, parent, targets, frames, fingerprint, report, described)


def check_view(recorded: RecordedWindows, view: RecordedWindows, folder: str) -> None:
    """Returns if a view holds the same episodes.

    Raises:
        ValueError: Naming the first episode that differs.
    """
    if len(view.lengths) != len(recorded.lengths):
        raise ValueError(f"the view {folder} has {len(view.lengths)} episodes, the data {len(recorded.lengths)}")
    for episode, (own, other) in enumerate(zip(recorded.poses, view.poses, strict=True)):
        if own.shape != other.shape or not np.allclose(own, other, atol=_SAME_POSE):
            raise ValueError(
                f"episode {episode} of the view {folder} is another one than in the data: a view holds the same "
                "episodes, frame by frame, as another camera saw them"
            )


def format_errors(errors: Mapping[str, float]) -> str:
    """Returns held-out errors as a small table: a row for each view."""
    lines = [f"{'held-out error^2':<18}{'model':>9}{'parent':>9}"]
    names = [name for name in errors if not name.endswith("_parent")]
    lines += [f"{name.replace('_', ' '):<18}{errors[name]:>9.4f}{errors[f'{name}_parent']:>9.4f}" for name in names]
    return "\n".join(lines)
