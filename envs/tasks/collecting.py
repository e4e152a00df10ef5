"""Recording a dataset in shards, over processes and machines, with resume: what every collecting program shares."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np

from envs.bar import progress
from envs.config import dump_config, load_config
from envs.episodes import DatasetError
from envs.episodes.formats.lerobot import finalize_dataset, read_dataset, shard_exists
from envs.folders import begin_folder, explained
from envs.launched import Launched, find_launched
from envs.spec import HELD_OUT
from envs.workers import in_processes

CONFIG_FILE = "collect.yaml"
_BETWEEN_LOOKS = 0.5  # s, for what another process writes


@dataclass(frozen=True)
class Collection:
    """A dataset to record. Programs add what an episode is like.

    Attributes:
        output: Folder of the dataset.
        episodes: Episodes to record.
        episodes_per_shard: Episodes in one file, the unit of work of a process.
        image_size: Edge of the square images [pixels].
        seed: Seed of episode 0; episode i has seed + i. Seeds from 10 000 on are held out for evaluation.
        processes: Processes to record with, in each that `accelerate launch` started; 0 takes one a core of those here.
    """

    output: Path
    episodes: int = 1500
    episodes_per_shard: int = 25
    image_size: int = 128
    seed: int = 0
    processes: int = 0

    def __post_init__(self) -> None:
        if min(self.episodes, self.episodes_per_shard) < 1 or self.processes < 0:
            raise ValueError("episodes and episodes_per_shard must be at least 1, processes at least 0")
        if self.seed < 0 or self.seed + self.episodes > HELD_OUT:
            raise ValueError(
                f"episodes would take the seeds {self.seed}..{self.seed + self.episodes - 1}; those from {HELD_OUT} on "
                "are held out for evaluation: choose a smaller seed or fewer episodes"
            )

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.episodes // self.episodes_per_shard)

    def seeds(self, shard: int) -> range:
        """Returns the seeds of a shard's episodes."""
        first = shard * self.episodes_per_shard
        return range(self.seed + first, self.seed + min(first + self.episodes_per_shard, self.episodes))


C = TypeVar("C", bound=Collection)
RecordShard: TypeAlias = Callable[[C, int, Callable[[int], object]], None]
"""Records one numbered shard of a collection, and tells of each episode."""


def collect(config: C, record_shard: RecordShard[C], robot_type: str, program: str) -> bool:
    """Records the shards that are missing, makes them one dataset and prints what it holds.

    Of several launched processes each records every N-th shard; the first waits for all and makes the dataset.
    Returns whether this one did.

    Args:
        config: What to record.
        record_shard: Something a process can import.
        robot_type: Name of the arm.
        program: Name of the collecting program: it goes on in folders that it began.
    """
    with explained(output=config.output):
        launched = find_launched()
        begin_folder(config.output, program, "--output")
        _remember(config, launched)
        _record(config, record_shard, launched)
        if launched.main:
            finalize_dataset(config.output, robot_type)
            summarize(config.output)
        return launched.main


def _remember(config: Collection, launched: Launched) -> None:
    """Writes the resolved config beside the data, or checks it against the one already there.

    More episodes than before go on from those that are there, if these fill their shards.
    """
    path = config.output / CONFIG_FILE
    while not (launched.main or path.exists()):  # the first process writes it, or ends and the launcher ends all
        time.sleep(_BETWEEN_LOOKS)
    if path.exists():
        before = load_config(type(config), path)
        more = config.episodes > before.episodes and before.episodes % before.episodes_per_shard == 0
        free = {"output": "", "processes": 0} | ({"episodes": 0} if more else {})  # a folder may have been moved
        if dump_config(before) | free != dump_config(config) | free:
            raise DatasetError(f"{config.output} was begun with other settings ({path}); choose another --output")
    if launched.main:
        dump_config(config, path)


def _record(config: C, record_shard: RecordShard[C], launched: Launched) -> None:
    """Records this process's missing shards in parallel, with a progress bar over all episodes in the first one.

    Whose a shard is depends on its number alone: the others may have begun, and what is missing be less already. The
    first process returns when all shards are there.
    """
    missing = [shard for shard in range(config.shards) if not shard_exists(config.output, shard)]
    own = [shard for shard in missing if launched.owns(shard)]
    cores = max(1, (os.cpu_count() or 1) // launched.here)
    processes = min(config.processes or cores, max(len(own), 1))
    os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's software renderer: one thread a process
    episodes = sum(len(config.seeds(shard)) for shard in missing)
    with progress(total=episodes, unit="episode", desc="collect", smoothing=0.05, disable=not launched.main) as bar:
        for _ in in_processes(record_shard, config, own, processes, bar.update):
            pass
        for shard in missing if launched.main else ():
            while not shard_exists(config.output, shard):
                time.sleep(_BETWEEN_LOOKS)
            bar.update(0 if launched.owns(shard) else len(config.seeds(shard)))


def summarize(root: Path) -> None:
    """Prints what a dataset holds: how far things move and how fast."""
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
