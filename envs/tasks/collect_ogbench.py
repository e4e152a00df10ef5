"""Records OGBench's scripted play with cubes, or its scene, as a LeRobot v3.0 dataset (extra `benchmarks`)."""

from __future__ import annotations

from envs.program import program

# isort: split

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from envs.command_line import config_from_command_line
from envs.episodes.formats.lerobot import write_shard
from envs.tasks.collecting import Collection, collect
from envs.tasks.ogbench import OgbenchArm
from envs.tasks.ogbench_play import OgbenchPlayConfig, record_ogbench_play


@dataclass(frozen=True)
class CollectConfig(Collection):
    """A dataset of OGBench's scripted play.

    Attributes:
        output: Folder of the dataset.
        episodes: Episodes to record.
        episodes_per_shard: Episodes in one file, the unit of work of a process.
        play: What an episode is like.
    """

    output: Path = Path("data/cube-single")
    episodes: int = 700
    episodes_per_shard: int = 10
    play: OgbenchPlayConfig = field(default_factory=OgbenchPlayConfig)


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> None:
    """Records the missing shards and finalizes the dataset."""
    config = config_from_command_line(
        CollectConfig, "Records OGBench's scripted play as a LeRobot v3.0 dataset.", arguments
    )
    collect(config, record_shard, robot_type="ur5e-ogbench", program="collect_ogbench")


def record_shard(config: CollectConfig, shard: int, advanced: Callable[[int], object]) -> None:
    """See `envs.tasks.collecting.RecordShard`."""
    episodes = []
    with closing(OgbenchArm(config.play.variant, image_size=config.image_size)) as arm:
        for seed in config.seeds(shard):
            episodes.append(record_ogbench_play(arm, config.play, seed))
            advanced(1)
    write_shard(config.output, shard, episodes)
