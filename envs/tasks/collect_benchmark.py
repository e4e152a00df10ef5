"""Records play in a public benchmark (extra `benchmarks`). See scripts/collect_benchmark.py."""

from __future__ import annotations

from envs.program import program

# isort: split

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from envs.command_line import config_from_command_line
from envs.episodes import Episode
from envs.episodes.formats.lerobot import write_shard
from envs.tasks.benchmark_play import BenchmarkPlay
from envs.tasks.collecting import Collection, collect

if TYPE_CHECKING:  # MuJoCo takes a second
    from envs.tasks.fetch import FetchTask

BenchmarkName = Literal["FetchReach", "FetchPush", "FetchPickAndPlace", "PushT"]

_FETCH: dict[BenchmarkName, FetchTask] = {
    "FetchReach": "Reach",
    "FetchPush": "Push",
    "FetchPickAndPlace": "PickAndPlace",
}


@dataclass(frozen=True)
class CollectConfig(Collection):
    """A dataset of play in a public benchmark.

    Attributes:
        benchmark: Which one.
        output: Folder of the dataset.
        play: What an episode is like.
    """

    benchmark: BenchmarkName = "FetchPush"
    output: Path = Path("data/fetch-push")
    play: BenchmarkPlay = field(default_factory=BenchmarkPlay)


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> None:
    """Records the missing shards and finalizes the dataset."""
    config = config_from_command_line(CollectConfig, "Records play in a public benchmark.", arguments)
    robot = "fetch-mujoco" if config.benchmark.startswith("Fetch") else "pusht"
    collect(config, record_shard, robot_type=robot, program="collect_benchmark")


def record_shard(config: CollectConfig, shard: int, advanced: Callable[[int], object]) -> None:
    """See `envs.tasks.collecting.RecordShard`."""
    opened, record = _open(config)
    episodes = []
    with closing(opened):
        for seed in config.seeds(shard):
            episodes.append(record(opened, config.play, seed))
            advanced(1)
    write_shard(config.output, shard, episodes)


def _open(config: CollectConfig) -> tuple[Any, Callable[[Any, BenchmarkPlay, int], Episode]]:
    """Returns a benchmark's simulation, and what records an episode in it."""
    if config.benchmark == "PushT":
        from envs.tasks.pusht import PushT
        from envs.tasks.pusht_play import record_pusht_play

        return PushT(config.image_size), record_pusht_play
    from envs.tasks.fetch import FetchArm
    from envs.tasks.fetch_play import record_fetch_play

    return FetchArm(_FETCH[config.benchmark], config.image_size), record_fetch_play
