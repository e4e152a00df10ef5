"""Records practice: a checkpoint's own attempts at manipulation tasks, each shown to its end by the scripted expert."""

from __future__ import annotations

from envs.program import program

# isort: split

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float

from envs.command_line import config_from_command_line
from envs.episodes import Episode
from envs.episodes.formats.lerobot import write_shard
from envs.simulation.objects import TRAINING_OBJECTS
from envs.simulation.scene import SceneConfig
from envs.simulation.variation import Variation, scene_of
from envs.spec import Observation
from envs.tasks.collecting import Practice, collect
from envs.tasks.events import Watch
from envs.tasks.expert import upright
from envs.tasks.manipulation import (
    MANIPULATION_SCENE,
    FrankaGraspEnv,
    FrankaPickPlaceEnv,
    FrankaPushEnv,
    FrankaReachWithObjectEnv,
    FrankaStackEnv,
    FrankaTwoObjectsEnv,
    ManipulationEnv,
    manipulation_action_spec,
)
from envs.tasks.play import BEHAVIOURS, PlayConfig, drive, show
from planner.control.episode import goals_of
from planner.subgoals.listed import ListedConfig

_TASKS: dict[str, type[ManipulationEnv]] = {
    "push": FrankaPushEnv,
    "grasp": FrankaGraspEnv,
    "carry": FrankaReachWithObjectEnv,
    "place": FrankaPickPlaceEnv,
    "two": FrankaTwoObjectsEnv,
    "stack": FrankaStackEnv,
}


@dataclass(frozen=True)
class PracticeConfig(Practice):
    """A dataset of practice.

    Attributes:
        output: Folder of the dataset.
        checkpoint: What proposes the actions, by name or path: its inverse dynamics or its goal policy.
        frames: Frames in an episode; one action fewer.
        tasks: How often each task is practised, as weights: push, grasp, carry (reach with the object), place,
            two (objects put somewhere else), stack (one on the other).
        scene: What the camera sees; the tasks' own scene by default.
        variation: How scenes differ from it from one episode to the next.

    Raises:
        ValueError: If a number is out of its range.
    """

    output: Path = Path("data/franka-manipulation-practice")
    checkpoint: str = "runs/franka-manipulation/first-critic/checkpoint"
    image_size: int = 168
    frames: int = 33
    tasks: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("push", "grasp", "carry", "place"), 1.0))
    scene: SceneConfig = MANIPULATION_SCENE
    variation: Variation = field(default_factory=Variation)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_attempts(self.frames)
        if set(self.tasks) - set(_TASKS) or min(self.tasks.values(), default=0.0) < 0 or not sum(self.tasks.values()):
            raise ValueError(f"tasks are weights >= 0 of {', '.join(_TASKS)}, not all of them 0, got {self.tasks}")


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> None:
    """Records the missing shards and finalizes the dataset."""
    config = config_from_command_line(PracticeConfig, "Records attempts, shown to their end by an expert.", arguments)
    from planner.collecting.attempts import check_actors  # torch takes seconds

    # what is wrong with them is better said now than by a process
    check_actors(config, config.checkpoint, manipulation_action_spec())
    collect(config, record_shard, robot_type="panda-mujoco", program="collect_practice")


def record_shard(config: PracticeConfig, shard: int, advanced: Callable[[int], object]) -> None:
    """See `envs.tasks.collecting.RecordShard`."""
    import torch

    torch.set_num_threads(1)  # a process a core
    episodes = []
    for seed in config.seeds(shard):
        episodes.append(record_practice(config, seed))
        advanced(1)
    write_shard(config.output, shard, episodes)


def record_practice(config: PracticeConfig, seed: int) -> Episode:
    """Returns one episode: the checkpoint's attempt, the expert's way on to the goal, and then whatever an expert does.

    Actions are the differences of the measured poses; the same seed and checkpoint give the same episode.
    """
    from planner.collecting.attempts import begin_attempt

    generator = np.random.default_rng(seed)
    weights = np.array([config.tasks.get(name, 0.0) for name in _TASKS])
    name = str(generator.choice(list(_TASKS), p=weights / weights.sum()))
    task, scene = _TASKS[name], scene_of(seed, config.scene, config.variation)
    scene = replace(scene, objects=max(scene.objects, task.needed))
    with closing(task(config.image_size, scene=scene, objects=TRAINING_OBJECTS)) as env:
        _, info = env.reset(seed=seed)
        subgoals = ListedConfig(by="steps", steps=(7,))
        attempt = begin_attempt(config, config.checkpoint, env.action_spec, goals_of(info), generator, subgoals)
        arm = env.mujoco_arm
        shown = chain(
            env.finish(), show(arm, arm.objects[0], generator), BEHAVIOURS["chain"](arm, PlayConfig(), generator)
        )

        def choose(observation: Observation) -> Float[np.ndarray, "7"]:
            action = attempt(observation)
            return upright(next(shown), observation.pose) if action is None else action

        observations = drive(arm, choose, config.frames, Watch())
        return Episode.from_observations(observations, arm.action_spec, f"practice {name}", seed)
