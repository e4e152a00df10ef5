"""Records OGBench's scripted play with cubes as a LeRobot v3.0 dataset (extra `benchmarks`).

python scripts/collect_ogbench.py --config scripts/configs/cube-single/collect.yaml

With ``--practice CHECKPOINT`` its critic acts first, towards goals as the protocol's tasks have them, and the script
goes on from where that leads (docs/manipulation.md says what for). Interrupted, the same command goes on where it
stopped. Episode i has seed ``seed + i``, whatever the processes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from _collecting import Collection, collect
from _practice import check_practice, load_critic
from jaxtyping import Float

from envs.config import config_from_command_line
from envs.episodes import Episode
from envs.episodes.lerobot import write_shard
from envs.mujoco.ogbench import OgbenchArm
from envs.mujoco.ogbench_play import CubePlayConfig, record_cube_play
from envs.spec import Observation
from planner.controller import Controller, ControllerConfig
from planner.first_guess import FirstGuess


@dataclass(frozen=True)
class CollectConfig(Collection):
    """A dataset of OGBench's scripted play.

    Attributes:
        output: Folder of the dataset.
        episodes: Episodes to record.
        episodes_per_shard: Episodes in one file, the unit of work of a process.
        play: What an episode is like.
        practice: A checkpoint whose critic acts first in driven episodes, by name or path; None for the script alone.
        attempts: Actions before the script takes over: at least, and at most.
        paces: How quick a way the critic is asked for: each episode draws one, see `ControllerConfig.propose`.

    Raises:
        ValueError: If a number is out of its range.
    """

    output: Path = Path("data/cube-single")
    episodes: int = 700
    episodes_per_shard: int = 10
    play: CubePlayConfig = field(default_factory=CubePlayConfig)
    practice: str | None = None
    attempts: tuple[int, int] = (2, 10)
    paces: tuple[float, ...] = (0.05, 0.2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.practice is not None:
            check_practice(self.attempts, self.paces, self.play.frames)


def main() -> None:
    """Records the missing shards and finalizes the dataset."""
    config = config_from_command_line(CollectConfig, "Records OGBench's scripted play as a LeRobot v3.0 dataset.")
    if config.practice is not None:
        load_critic(config.practice)  # what is wrong with it is better said now than by a process
    collect(config, record_shard, robot_type="ur5e-ogbench")


def record_shard(work: tuple[CollectConfig, int]) -> int:
    """Records one shard and returns its number of episodes."""
    config, shard = work
    torch.set_num_threads(1)  # a process a core
    arm = OgbenchArm(config.play.variant, image_size=config.image_size)
    try:
        episodes = [record(arm, config, seed) for seed in config.seeds(shard)]
    finally:
        arm.close()
    write_shard(config.output, shard, episodes)
    return len(episodes)


def record(arm: OgbenchArm, config: CollectConfig, seed: int) -> Episode:
    """Returns one episode of play or practice; the same seed and checkpoint give the same episode."""
    if config.practice is None:
        return record_cube_play(arm, config.play, seed)
    critic, generator = load_critic(config.practice), np.random.default_rng((seed, 1))
    pace, attempts = float(generator.choice(config.paces)), int(generator.integers(*config.attempts, endpoint=True))
    controller = Controller(critic, FirstGuess(), arm.action_spec, ControllerConfig(propose=pace))

    def attempt(goal: Observation) -> Callable[[Observation], Float[np.ndarray, "7"] | None]:
        controller.reset([goal], seed)
        taken = count()
        return lambda seen: controller.step(seen)[0] if next(taken) < attempts else None

    return record_cube_play(arm, config.play, seed, attempt)


if __name__ == "__main__":
    main()
