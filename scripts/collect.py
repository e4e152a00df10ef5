"""Records scripted play as a LeRobot v3.0 dataset.

python scripts/collect.py --config scripts/configs/franka-tiny/collect.yaml

Interrupted, the same command goes on where it stopped. Episode i has seed ``seed + i``, whatever the processes.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from tqdm import tqdm

from envs.config import config_from_command_line, dump_config, load_config
from envs.episodes import DatasetError
from envs.episodes.lerobot import finalize_dataset, read_dataset, shard_exists, write_shard
from envs.mujoco.play import PlayConfig, make_play_arm, record_episode
from envs.mujoco.scene import SceneConfig

CONFIG_FILE = "collect.yaml"


@dataclass(frozen=True)
class CollectConfig:
    """A dataset of scripted play.

    Attributes:
        output: Folder of the dataset.
        episodes: Episodes to record.
        episodes_per_shard: Episodes in one file, the unit of work of a process.
        image_size: Edge of the square images [pixels].
        seed: Seed of episode 0. Seeds from 10 000 on are held out for evaluation.
        processes: Processes to record with; 0 takes one a core.
        play: What an episode is like.
        scene: What the camera sees; the tasks' own scene by default.
    """

    output: Path = Path("data/franka-tiny")
    episodes: int = 1500
    episodes_per_shard: int = 25
    image_size: int = 128
    seed: int = 0
    processes: int = 0
    play: PlayConfig = field(default_factory=PlayConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)

    def __post_init__(self) -> None:
        if min(self.episodes, self.episodes_per_shard) < 1 or self.processes < 0:
            raise ValueError("episodes and episodes_per_shard must be at least 1, processes at least 0")
        if self.seed < 0 or self.seed + self.episodes > 10_000:
            raise ValueError(
                f"episodes would take the seeds {self.seed}..{self.seed + self.episodes - 1}; those from 10000 on are "
                "held out for evaluation: choose a smaller seed or fewer episodes"
            )

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.episodes // self.episodes_per_shard)

    def seeds(self, shard: int) -> range:
        """Returns the seeds of a shard's episodes."""
        first = shard * self.episodes_per_shard
        return range(self.seed + first, self.seed + min(first + self.episodes_per_shard, self.episodes))


def main() -> None:
    """Records the missing shards and finalizes the dataset."""
    config = config_from_command_line(CollectConfig, "Records scripted play as a LeRobot v3.0 dataset.")
    try:
        _remember(config)
        missing = [shard for shard in range(config.shards) if not shard_exists(config.output, shard)]
        _record(config, missing)
        finalize_dataset(config.output, robot_type="panda-mujoco")
        _summarize(config.output)
    except DatasetError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on from here")


def _remember(config: CollectConfig) -> None:
    """Writes the resolved config beside the data, or checks it against the one already there."""
    path = config.output / CONFIG_FILE
    if path.exists():
        before = load_config(CollectConfig, path)
        if dump_config(before) | {"processes": 0} != dump_config(config) | {"processes": 0}:
            raise DatasetError(f"{config.output} was begun with other settings ({path}); choose another --output")
    config.output.mkdir(parents=True, exist_ok=True)
    dump_config(config, path)


def _record(config: CollectConfig, shards: list[int]) -> None:
    """Records shards in parallel, with a progress bar over episodes."""
    episodes = sum(len(config.seeds(shard)) for shard in shards)
    processes = min(config.processes or os.cpu_count() or 1, max(len(shards), 1))
    os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's software renderer: one thread a process
    with (
        tqdm(total=episodes, unit="episode", desc="collect", smoothing=0.05) as bar,
        multiprocessing.get_context("spawn").Pool(processes) as pool,
    ):
        for count in pool.imap_unordered(_record_shard, [(config, shard) for shard in shards]):
            bar.update(count)


def _record_shard(work: tuple[CollectConfig, int]) -> int:
    """Records one shard and returns its number of episodes."""
    config, shard = work
    arm = make_play_arm(config.image_size, config.scene)
    try:
        episodes = [record_episode(arm, config.play, seed) for seed in config.seeds(shard)]
    finally:
        arm.close()
    write_shard(config.output, shard, episodes)
    return len(episodes)


def _summarize(root: Path) -> None:
    """Prints what the dataset holds: how far things move and how often."""
    dataset = read_dataset(root)
    recorded = [dataset.poses_actions(index) for index in range(len(dataset))]
    poses, actions = (np.concatenate(parts) for parts in zip(*recorded, strict=True))
    frames = sum(dataset.lengths)
    print(f"{root}: {len(dataset)} episodes, {frames} frames at {dataset.rate:g} Hz, images {dataset.image_shape}")
    for name, unit, pose, action in zip(dataset.spec.names, dataset.spec.units, poses.T, actions.T, strict=True):
        print(
            f"  {name:8s} pose {pose.min():+.3f} .. {pose.max():+.3f}   action {action.min():+.3f} .. "
            f"{action.max():+.3f}, std {action.std():.4f} {unit}"
        )


if __name__ == "__main__":
    main()
