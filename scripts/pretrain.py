"""Pretrains a small encoder by masked latent prediction on a dataset's frames.

python scripts/pretrain.py --config scripts/configs/franka-tiny/pretrain.yaml

Ctrl-C saves and stops; the same command goes on where it stopped. The output directory gets config.yaml, losses.jsonl,
tensorboard/, state.pt and, at the end, encoder/ in transformers' format.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # idle threads must not spin while others work
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _run_folders import run_folders
from tqdm import tqdm

from envs.config import config_from_command_line
from envs.episodes.lerobot import read_dataset
from envs.folders import writing
from world_model.loop import RunLog
from world_model.pretrain import CollapseError, PretrainConfig, pretrain
from world_model.store import FrameStore, build_frames


def main() -> int:
    """Runs the program and returns its exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = config_from_command_line(PretrainConfig, "Pretrain a small encoder by masked latent prediction.")
    try:
        with run_folders(config, "pretrain"):
            finished = run(config, decode(config))
    except (ValueError, OSError, CollapseError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"encoder: {finished}" if finished else "stopped; the same command goes on from here")
    return 0 if finished else 130


def decode(config: PretrainConfig) -> FrameStore:
    """Returns all frames of the dataset, decoded to disk once."""
    dataset = read_dataset(config.data)
    with tqdm(total=sum(dataset.lengths), desc="decode", unit="frame") as bar:
        return build_frames(dataset, config.cache_directory, bar.update)


def run(config: PretrainConfig, frames: FrameStore) -> object:
    """Returns the folder of the finished encoder, or None if interrupted."""
    shown: dict[str, str] = {}
    with writing(config.output), RunLog(config.output) as log, tqdm(total=config.steps, desc="pretrain") as bar:

        def report(step: int, measured: Mapping[str, float]) -> None:
            log(step, measured)
            if bar.n == 0:
                bar.initial = bar.n = step  # resumed
            shown.update({name: f"{value:.3f}" for name, value in measured.items()})
            bar.set_postfix(shown, refresh=False)
            bar.update()

        return pretrain(config, frames, report)


if __name__ == "__main__":
    sys.exit(main())
