"""Records practice: a checkpoint's own attempts at tasks, each shown to its end by the task's scripted expert."""

from __future__ import annotations

from envs.program import program

# isort: split

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float

from envs.command_line import config_from_command_line
from envs.episodes import Episode
from envs.episodes.formats.lerobot import write_shard
from envs.simulation.scene_config import SceneConfig
from envs.simulation.variation import Variation, scene_of
from envs.spec import Observation
from envs.tasks.collecting import Collection, collect
from envs.tasks.contract import Practicable
from planner.control.episode import goals_of

_TASKS = ("FrankaPush-v0", "FrankaGrasp-v0", "FrankaReachWithObject-v0", "FrankaPickPlace-v0")
_PARTS = ("recorded_spec", "robot_type", "drive", "finish", "play")  # of a `Practicable`
_NO_VARIATION = Variation()


@dataclass(frozen=True)
class PracticeConfig(Collection):
    """A dataset of practice.

    Attributes:
        output: Folder of the dataset.
        checkpoint: What acts, by name or path: its inverse dynamics, or a search through its model.
        frames: Frames in an episode; one action fewer.
        tasks: How often each task is practised, as weights by the tasks' names. All must have the same actions.
        attempts: Actions before an expert takes over: at least, and at most.
        paces: How quick a way the checkpoint's policy is asked for: each episode draws one.
        plans: Files of evaluations whose planners act instead of the policy: each episode draws one.
        shaky: Noise on what is attempted, as a share of the largest action: each episode draws one of these.
        scene: What the camera sees in tasks of ours; their own scene by default.
        variation: How scenes differ from it from one episode to the next.

    Raises:
        ValueError: If a number is out of its range.
    """

    output: Path = Path("data/franka-practice")
    checkpoint: str = "franka"
    image_size: int = 168
    frames: int = 33
    tasks: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_TASKS, 1.0))
    attempts: tuple[int, int] = (2, 14)
    paces: tuple[float, ...] = (0.05, 0.2)
    plans: tuple[Path, ...] = ()
    shaky: tuple[float, ...] = (0.0,)
    scene: SceneConfig | None = None
    variation: Variation = _NO_VARIATION

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.attempts[0] <= self.attempts[1] < self.frames:
            raise ValueError(f"attempts are two numbers of actions, rising and below frames, got {self.attempts}")
        if not self.paces or not all(0 < pace <= 1 for pace in self.paces):
            raise ValueError(f"paces are at least one share, each in (0, 1], got {self.paces}")
        if not self.shaky or min(self.shaky) < 0:
            raise ValueError(f"shaky is at least one share, none below 0, got {self.shaky}")
        if min(self.tasks.values(), default=0.0) < 0 or not sum(self.tasks.values()):
            raise ValueError(f"tasks are weights >= 0 of tasks by name, not all of them 0, got {self.tasks}")


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> None:
    """Records the missing shards and finalizes the dataset."""
    config = config_from_command_line(PracticeConfig, "Records attempts, shown to their end by an expert.", arguments)
    from planner.collecting.attempts import check_actors  # torch takes seconds

    # what is wrong with them is better said now than by a process
    task = _check_tasks(config)
    check_actors(config, task.action_spec)
    collect(config, record_shard, robot_type=task.robot_type, program="collect_practice")


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
    """Returns one episode: the checkpoint's attempt, the expert's way on to the goal, and then whatever experts do.

    Actions are the differences of the measured poses; the same seed and checkpoint give the same episode.
    """
    from planner.collecting.attempts import begin_attempt

    generator = np.random.default_rng((seed, 1))  # not what the task draws start and goal by
    weights = np.array(list(config.tasks.values()))
    name = str(generator.choice(list(config.tasks), p=weights / weights.sum()))
    with _opened(config, name, seed) as env:
        _, info = env.reset(seed=seed, options={"practice": True})
        task: Practicable = env.unwrapped  # type: ignore[assignment]
        attempt = begin_attempt(config, task.action_spec, goals_of(info), generator)
        shown = chain(task.finish(), task.play(generator))

        def choose(observation: Observation) -> Float[np.ndarray, "A"]:
            action = attempt(observation)
            return next(shown) if action is None else action

        observations = task.drive(choose, config.frames)
        return Episode.from_observations(observations, task.recorded_spec, f"practice {name}", seed)


@contextmanager
def _opened(config: PracticeConfig, name: str, seed: int) -> Iterator[gymnasium.Env[Any, Any]]:
    """Opens a task in the scene of an episode; one in its own scene stays open."""
    if _in_own_scenes(config):
        yield _open(name, config.image_size, None)
        return
    own: SceneConfig = _open(name, config.image_size, None).unwrapped.mujoco_arm.config.scene  # type: ignore[attr-defined]
    scene = scene_of(seed, config.scene or own, config.variation)
    with closing(_make(name, config.image_size, replace(scene, objects=max(scene.objects, own.objects)))) as env:
        yield env


def _in_own_scenes(config: PracticeConfig) -> bool:
    """Returns whether tasks are practised as they are, from one episode to the next."""
    return config.scene is None and config.variation == _NO_VARIATION


def _make(name: str, image_size: int, scene: SceneConfig | None) -> gymnasium.Env[Any, Any]:
    from planner.evaluation.episodes import make_task  # torch takes seconds

    return make_task(name, scene, image_size)


_open = cache(_make)


def _check_tasks(config: PracticeConfig) -> Practicable:
    """Returns one of the tasks; ends the program with one line if they can't be practised, or not together."""
    tasks = {}
    for name in (name for name, weight in config.tasks.items() if weight):
        try:
            task = _open(name, config.image_size, None).unwrapped
        except ValueError as error:
            sys.exit(f"error: {error}")
        except TypeError as error:  # of somebody's own
            sys.exit(
                f"error: {name} can't be practised, its environment is to take image_size and to be an "
                f"envs.tasks.contract.Practicable (docs/plugins.md): {error}"
            )
        lacking = [part for part in _PARTS if not hasattr(task, part)]
        if lacking:
            sys.exit(f"error: {name} can't be practised, its environment lacks {', '.join(lacking)} (docs/plugins.md)")
        if not (_in_own_scenes(config) or hasattr(task, "mujoco_arm")):
            sys.exit(f"error: scene and variation need tasks of the simulated Franka, and {name} is none")
        try:
            task.reset(seed=0, options={"practice": True})
        except ValueError as error:
            sys.exit(f"error: {name} can't be practised: {error}")
        tasks[name] = task
    (first, task), *others = tasks.items()
    for name, other in others:
        if other.recorded_spec != task.recorded_spec:
            sys.exit(
                f"error: {first} and {name} have other actions or bounds, and a dataset has one kind: record a folder "
                "for each, and train on both"
            )
    return task
