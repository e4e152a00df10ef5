"""Records scripted play as a LeRobot v3.0 dataset. See scripts/collect.py."""

from __future__ import annotations

from envs.program import program

# isort: split

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from envs.command_line import config_from_command_line
from envs.episodes import Episode
from envs.episodes.formats.lerobot import write_shard
from envs.folders import write_text
from envs.simulation.arm import MujocoArmConfig
from envs.simulation.scene import SceneConfig
from envs.simulation.variation import Variation, scene_of
from envs.simulation.varying import VaryingArm
from envs.tasks.collecting import Collection, collect
from envs.tasks.events import Events, Watch
from envs.tasks.play import PlayConfig, make_play_arm, record_episode


@dataclass(frozen=True)
class CollectConfig(Collection):
    """A dataset of scripted play.

    Attributes:
        output: Folder of the dataset.
        play: What an episode is like.
        scene: What the camera sees; the tasks' own scene by default.
        variation: How scenes differ from it from one episode to the next.
        every_frame: The scene varies from frame to frame instead. Cubes are then drawn only, and an episode is frame by
            frame what its seed is in any other scene: a view, for `world_model.training.views`.
    """

    output: Path = Path("data/franka-tiny")
    play: PlayConfig = field(default_factory=PlayConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    variation: Variation = field(default_factory=Variation)
    every_frame: bool = False


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> None:
    """Records the missing shards, finalizes the dataset and says what it holds."""
    config = config_from_command_line(CollectConfig, "Records scripted play as a LeRobot v3.0 dataset.", arguments)
    made = collect(config, record_shard, robot_type="panda-mujoco", program="collect")
    if made and config.scene.objects:
        print(_tell_events(config))


def record_shard(config: CollectConfig, shard: int, advanced: Callable[[int], object]) -> None:
    """See `envs.tasks.collecting.RecordShard`."""
    watch, episodes = Watch(), []
    for seed in config.seeds(shard):
        episodes.append(_record(config, seed, watch))
        advanced(1)
    path = _events_file(config, shard)
    write_text(path, json.dumps(asdict(watch.events)))  # counts only with its shard, which comes last
    write_shard(config.output, shard, episodes)


def _record(config: CollectConfig, seed: int, watch: Watch) -> Episode:
    """Returns one episode, in the scene of its seed, or in one for each frame."""
    if config.every_frame:
        arm = VaryingArm(MujocoArmConfig(config.scene, config.image_size), config.variation, seed)
    else:
        arm = make_play_arm(config.image_size, scene_of(seed, config.scene, config.variation))
    with closing(arm):
        return record_episode(arm, config.play, seed, watch)


def _events_file(config: CollectConfig, shard: int) -> Path:
    return config.output / "events" / f"{shard:05d}.json"


def _tell_events(config: CollectConfig) -> str:
    """Returns what happened to the objects, in words."""
    files = [_events_file(config, shard) for shard in range(config.shards)]
    events = sum((Events(**json.loads(file.read_text(encoding="utf-8"))) for file in files), Events())
    return (
        f"  object touched in {events.touched / events.frames:.0%} of the frames and held in "
        f"{events.held / events.frames:.0%}; {events.grasps} grasps, {events.releases} releases, pushed in "
        f"{events.moved} steps"
    )
