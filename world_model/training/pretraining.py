"""A pretraining run of an encoder, from recordings to its folder."""

from __future__ import annotations

from collections.abc import Mapping

from envs.bar import progress
from envs.episodes.formats.lerobot import read_dataset
from envs.folders import writing
from world_model.data.store import FrameStore, build_frames
from world_model.training.loop import RunLog
from world_model.training.pretrain import pretrain
from world_model.training.pretrain_config import PretrainConfig
from world_model.training.run_folders import run_to_end


def run(config: PretrainConfig) -> int:
    """Pretrains, prints where the encoder is and returns the exit status.

    Raises:
        ValueError: If a setting, the recordings or what an earlier run left behind does not do.
    """
    made = f"encoder: {config.output / 'encoder'}"
    return run_to_end(config, "pretrain", made, lambda: learn(config, decode(config)))


def decode(config: PretrainConfig) -> FrameStore:
    """Returns all frames of the dataset, decoded to disk once."""
    dataset = read_dataset(config.data)
    with progress(total=sum(dataset.lengths), desc="decode", unit="frame") as bar:
        return build_frames(dataset, config.cache_directory, bar.update)


def learn(config: PretrainConfig, frames: FrameStore) -> object:
    """Returns the folder of the finished encoder, or None if interrupted."""
    shown: dict[str, str] = {}
    with writing(config.output), RunLog(config.output) as log, progress(total=config.steps, desc="pretrain") as bar:

        def report(step: int, measured: Mapping[str, float]) -> None:
            log(step, measured)
            if bar.n == 0:
                bar.initial = bar.n = step  # resumed
            shown.update({name: f"{value:.3f}" for name, value in measured.items()})
            bar.set_postfix(shown, refresh=False)
            bar.update()

        return pretrain(config, frames, report)
