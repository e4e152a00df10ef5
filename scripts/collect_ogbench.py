"""Records OGBench's scripted play with cubes as a LeRobot v3.0 dataset (extra `benchmarks`).

python scripts/collect_ogbench.py --config scripts/configs/cube-single/collect.yaml

Interrupted, the same command goes on where it stopped. Episode i has seed ``seed + i``, whatever the processes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _collecting import Collection, collect

from envs.config import config_from_command_line
from envs.episodes.lerobot import write_shard
from envs.mujoco.ogbench import OgbenchArm
from envs.mujoco.ogbench_play import CubePlayConfig, record_cube_play


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
    play: CubePlayConfig = field(default_factory=CubePlayConfig)


def main() -> None:
    """Records the missing shards and finalizes the dataset."""
    config = config_from_command_line(CollectConfig, "Records OGBench's scripted play as a LeRobot v3.0 dataset.")
    collect(config, record_shard, robot_type="ur5e-ogbench")


def record_shard(work: tuple[CollectConfig, int]) -> int:
    """Records one shard and returns its number of episodes."""
    config, shard = work
    arm = OgbenchArm(config.play.variant, image_size=config.image_size)
    try:
        episodes = [record_cube_play(arm, config.play, seed) for seed in config.seeds(shard)]
    finally:
        arm.close()
    write_shard(config.output, shard, episodes)
    return len(episodes)


if __name__ == "__main__":
    main()
