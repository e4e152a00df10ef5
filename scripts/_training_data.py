"""The episodes of a training run, for the run itself and for its report."""

from __future__ import annotations

from tqdm import tqdm

from envs.config import load_config
from envs.episodes import EpisodeSource
from envs.episodes.check import usable
from envs.episodes.open import open_dataset
from envs.episodes.reading import Reading
from world_model.train_config import TrainConfig


def open_episodes(config: TrainConfig, show: bool = True) -> EpisodeSource:
    """Returns the episodes to learn from, without the broken ones where the config skips them.

    Args:
        config: The run's.
        show: Whether to show progress.

    Raises:
        DatasetError: If nothing can be read, or an episode is broken and that is refused.
    """
    dataset = open_dataset(config.data, load_config(Reading, config.reading))
    if config.broken == "refuse" and not dataset.problems:
        return dataset  # what only decoding shows ends the encoding
    record = config.cache_directory / "checked.json"
    with tqdm(total=len(dataset), desc="check", unit="episode", disable=not show) as bar:
        return usable(dataset, config.broken, bar.update, record=record, processes=config.encoding_processes)
