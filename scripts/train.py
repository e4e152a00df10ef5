"""Trains an action-conditioned predictor on a dataset and a frozen encoder; its latents are cached on disk first.

python scripts/train.py --config scripts/configs/franka-tiny/train.yaml

Ctrl-C saves and stops; the same command goes on where it stopped. The output directory gets config.yaml, losses.jsonl,
tensorboard/, state.pt and, at the end, checkpoint/ (or what --checkpoint names), ready to plan with.
"""

from __future__ import annotations

import logging
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tqdm import tqdm

from envs.config import config_from_command_line
from envs.episodes.lerobot import EpisodeDataset, read_dataset
from world_model.batches import WindowBatches
from world_model.checkpoint import Manifest
from world_model.encoder import Encoder
from world_model.held_out import format_errors
from world_model.latents import LatentCache, build_latents, latent_layout
from world_model.loop import RunLog, choose_device
from world_model.pretrain import load_encoder
from world_model.train import TrainConfig, train


def main() -> int:
    """Runs the program and returns its exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    config = config_from_command_line(TrainConfig, "Train an action-conditioned predictor on cached latents.")
    try:
        dataset = read_dataset(config.data)
        encoder = load_encoder(config.encoder).eval().to(choose_device(config.device))
        batches = WindowBatches(dataset, encode(config, dataset, encoder), config.stride)
        manifest = run(config, encoder, batches, provenance(dataset))
    except ValueError as error:  # DatasetError, CacheError, StateError, CheckpointError: what a user can get wrong
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"checkpoint: {config.checkpoint_directory}" if manifest else "stopped; the same command goes on from here")
    return 0 if manifest else 130


def encode(config: TrainConfig, dataset: EpisodeDataset, encoder: Encoder) -> LatentCache:
    """Returns the latents of the dataset, encoded to disk once."""
    layout, directory = latent_layout(dataset, encoder), config.cache_directory
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free
    print(f"latents of {sum(dataset.lengths)} frames take {layout.bytes / 1e9:.2f} GB ({free / 1e9:.0f} GB free)")
    with tqdm(total=sum(dataset.lengths), desc="encode", unit="frame") as bar:
        return build_latents(dataset, encoder, directory, layout=layout, report=bar.update)


def provenance(dataset: EpisodeDataset) -> dict[str, Any]:
    """Returns where a checkpoint comes from, for its manifest."""
    answer = subprocess.run(("git", "rev-parse", "HEAD"), capture_output=True, text=True, check=False)
    return {
        "command": shlex.join(["python", *sys.argv]),
        "git_commit": answer.stdout.strip() if answer.returncode == 0 else None,
        "data": {"fingerprint": dataset.fingerprint, "episodes": len(dataset), "frames": sum(dataset.lengths)},
    }


def run(
    config: TrainConfig, encoder: Encoder, batches: WindowBatches, provenance: Mapping[str, Any]
) -> Manifest | None:
    """Returns the manifest of the finished checkpoint, or None if interrupted."""
    with RunLog(config.output) as log, tqdm(total=config.steps, desc="train") as bar:

        def report(step: int, measured: Mapping[str, float]) -> None:
            log(step, measured)
            if bar.n == 0:
                bar.initial = bar.n = step  # resumed
            bar.set_postfix({name: f"{measured[name]:.4f}" for name in ("teacher_forcing", "rollout")}, refresh=False)
            bar.update()
            prefix = "held_out/"
            errors = {name.removeprefix(prefix): value for name, value in measured.items() if name.startswith(prefix)}
            if errors:
                bar.write(f"after step {step + 1}\n{format_errors(errors)}", file=sys.stdout)

        return train(config, encoder, batches, report, provenance)


if __name__ == "__main__":
    sys.exit(main())
