"""Records OGBench's scripted play with cubes as a LeRobot v3.0 dataset (extra `benchmarks`)."""

from __future__ import annotations

from envs.program import program

# isort: split

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from envs.command_line import config_from_command_line
from envs.episodes import Episode
from envs.episodes.formats.lerobot import write_shard
from envs.tasks.collecting import Practice, collect
from envs.tasks.ogbench import OgbenchArm, cube_action_spec
from envs.tasks.ogbench_play import CubePlayConfig, record_cube_play


@dataclass(frozen=True)
class CollectConfig(Practice):
    """A dataset of OGBench's scripted play.

    Attributes:
        output: Folder of the dataset.
        episodes: Episodes to record.
        episodes_per_shard: Episodes in one file, the unit of work of a process.
        play: What an episode is like.
        practice: A checkpoint that acts first in driven episodes, by name or path; None for the script alone.

    Raises:
        ValueError: If a number is out of its range.
    """

    output: Path = Path("data/cube-single")
    episodes: int = 700
    episodes_per_shard: int = 10
    play: CubePlayConfig = field(default_factory=CubePlayConfig)
    practice: str | None = None
    attempts: tuple[int, int] = (2, 10)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.practice is not None:
            self.check_attempts(self.play.frames)


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> None:
    """Records the missing shards and finalizes the dataset."""
    config = config_from_command_line(
        CollectConfig, "Records OGBench's scripted play as a LeRobot v3.0 dataset.", arguments
    )
    if config.practice is not None:
        from planner.collecting.attempts import check_actors  # play alone begins ten times sooner without torch

        # what is wrong with them is better said now than by a process
        check_actors(config, config.practice, cube_action_spec())
    collect(config, record_shard, robot_type="ur5e-ogbench", program="collect_ogbench")


def record_shard(config: CollectConfig, shard: int, advanced: Callable[[int], object]) -> None:
    """See `envs.tasks.collecting.RecordShard`."""
    if config.practice is not None:
        import torch

        torch.set_num_threads(1)  # a process a core
    episodes = []
    with closing(OgbenchArm(config.play.variant, image_size=config.image_size)) as arm:
        for seed in config.seeds(shard):
            episodes.append(record(arm, config, seed))
            advanced(1)
    write_shard(config.output, shard, episodes)


def record(arm: OgbenchArm, config: CollectConfig, seed: int) -> Episode:
    """Returns one episode of play or practice; the same seed and checkpoint give the same episode."""
    if config.practice is None:
        return record_cube_play(arm, config.play, seed)
    from planner.collecting.attempts import begin_attempt

    checkpoint, generator = config.practice, np.random.default_rng((seed, 1))
    return record_cube_play(
        arm, config.play, seed, lambda goal: begin_attempt(config, checkpoint, arm.action_spec, [goal], generator)
    )
