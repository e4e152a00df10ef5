"""Trains the action-conditioned predictor on a dataset's cached latents.

    python scripts/train.py --config scripts/configs/franka-tiny/train.yaml [--checkpoint checkpoints/NAME ...]
    python scripts/train.py --parent franka-tiny --data data/mine --output runs/mine --steps 500 --learning-rate 1e-4

Ctrl-C saves and stops; the same command goes on where it stopped. The output directory gets config.yaml, losses.jsonl,
tensorboard/, state.pt and checkpoint/ (or --checkpoint), ready for scripts/evaluate.py. Every evaluation prints the
held-out error beside that of copying the last frame and of shuffled actions.
"""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # idle threads must not spin while others work
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tqdm import tqdm

from envs.config import config_from_command_line
from envs.episodes.lerobot import EpisodeDataset, read_dataset
from world_model.batches import WindowBatches
from world_model.checkpoint import Manifest, find_checkpoint
from world_model.device import find_device
from world_model.encoder import Encoder
from world_model.encoder_folder import load_encoder
from world_model.held_out import format_errors
from world_model.latents import LatentCache, build_latents, latent_layout
from world_model.loop import RunLog
from world_model.train import TrainConfig, train

HELD_OUT = "held_out/"


def main() -> int:
    """Runs the program and returns its exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = config_from_command_line(TrainConfig, "Train the action-conditioned predictor on cached latents.")
    try:
        dataset = read_dataset(config.data)
        encoder = load_encoder(encoder_folder(config)).to(find_device(config.device))
        batches = WindowBatches(dataset, encode(config, dataset, encoder), config.stride)
        manifest = run(config, encoder, batches, dataset)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"checkpoint: {config.checkpoint_directory}" if manifest else "stopped; the same command goes on from here")
    return 0 if manifest else 130


def encoder_folder(config: TrainConfig) -> Path:
    """Returns the folder of the encoder that is named, or of the parent's own."""
    if config.parent is not None:
        return find_checkpoint(config.parent) / "encoder"
    assert config.encoder is not None, "TrainConfig has one of the two"
    return config.encoder


def encode(config: TrainConfig, dataset: EpisodeDataset, encoder: Encoder) -> LatentCache:
    """Returns the latents of all frames, encoded to disk once; says before what disk they take."""
    layout = latent_layout(dataset, encoder)
    print(f"latents take {layout.bytes / 1e9:.2f} GB in {config.cache_directory}")
    with tqdm(total=sum(dataset.lengths), desc="encode", unit="frame") as bar:
        return build_latents(dataset, encoder, config.cache_directory, layout=layout, report=bar.update)


def run(config: TrainConfig, encoder: Encoder, batches: WindowBatches, dataset: EpisodeDataset) -> Manifest | None:
    """Returns the manifest of the finished checkpoint, or None if interrupted."""
    with RunLog(config.output) as log, tqdm(total=config.steps, desc="train") as bar:

        def report(step: int, measured: Mapping[str, float]) -> None:
            log(step, measured)
            if bar.n == 0:
                bar.initial = bar.n = step  # resumed
            held_out = {k.removeprefix(HELD_OUT): v for k, v in measured.items() if k.startswith(HELD_OUT)}
            if held_out:
                bar.write(f"step {step + 1}\n{format_errors(held_out)}", file=sys.stdout)
            losses = {k: f"{v:.4f}" for k, v in measured.items() if not k.startswith(HELD_OUT)}
            bar.set_postfix(losses, refresh=False)
            bar.update()

        return train(config, encoder, batches, report, provenance(config, dataset))


def provenance(config: TrainConfig, dataset: EpisodeDataset) -> dict[str, object]:
    """Returns where the checkpoint comes from, for its manifest."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "command": f"python {shlex.join(sys.argv)}",
        "git_commit": git.stdout.strip() or None,
        "data": {
            "folder": str(config.data),
            "fingerprint": dataset.fingerprint,
            "episodes": len(dataset),
            "frames": sum(dataset.lengths),
            "robot_type": dataset.robot_type,
        },
        "steps": config.steps,
        "seed": config.seed,
    }


if __name__ == "__main__":
    sys.exit(main())
