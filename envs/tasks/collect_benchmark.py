"""Records play in a public benchmark (extra `benchmarks`). See scripts/collect_benchmark.py."""

from __future__ import annotations

from envs.program import program

# isort: split

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from envs.command_line import config_from_command_line
from envs.config import Choice
from envs.episodes.formats.lerobot import write_shard
from envs.tasks.benchmark_play import PLAYS, BenchmarkPlay
from envs.tasks.collecting import Collection, collect
from envs.tasks.fetch_play import FetchPlay


@dataclass(frozen=True)
class CollectConfig(Collection):
    """A dataset of play in a public benchmark.

    Attributes:
        output: Folder of the dataset.
        play: In which one, and what an episode is like.
    """

    output: Path = Path("data/fetch-push")
    play: Annotated[BenchmarkPlay, Choice("kind", PLAYS)] = field(default_factory=FetchPlay)


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> None:
    """Records the missing shards and finalizes the dataset."""
    config = config_from_command_line(CollectConfig, "Records play in a public benchmark.", arguments)
    collect(config, record_shard, robot_type=config.play.robot_type, program="collect_benchmark")


def record_shard(config: CollectConfig, shard: int, advanced: Callable[[int], object]) -> None:
    """See `envs.tasks.collecting.RecordShard`."""
    episodes = []
    with config.play.recorder(config.image_size) as record:
        for seed in config.seeds(shard):
            episodes.append(record(seed))
            advanced(1)
    write_shard(config.output, shard, episodes)
