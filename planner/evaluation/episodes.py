"""Runs an evaluation: task, model and planner of its settings, episodes shared out to processes."""

from __future__ import annotations

import hashlib
import importlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import gymnasium
import torch

from envs.bar import progress
from envs.config import dump_config
from envs.registry import load_module
from envs.simulation.arm import MujocoArm
from envs.simulation.scene import SceneConfig
from envs.spec import ActionSpec
from envs.tasks.contract import check_task
from envs.workers import ask_git, ctrl_c_is_ours, end_with_parent
from planner.control.baselines import RandomActions, ZeroActions
from planner.control.controller import Controller
from planner.control.episode import Actor, goals_of, run_episode
from planner.diagnostics.oracle import SimulatedDynamics
from planner.evaluation.config import EvaluateConfig
from planner.evaluation.report import EpisodeRecord, record_episode
from planner.evaluation.watch import watch
from planner.objectives.mask import read_mask
from planner.objectives.objective import make_objective
from planner.objectives.objective_config import distances_of
from planner.search.planner_config import make_planner
from planner.viewing.shown import Shown
from world_model.base import WorldModel
from world_model.toy import ToyWorldModel

Show = Callable[[Shown], None]


@dataclass(frozen=True)
class Job:
    """An episode to run.

    Attributes:
        actor: "planner", "zero" or "random".
        seed: Of the episode.
        images: Whether people are shown it, and its record keeps what.
    """

    actor: str
    seed: int
    images: bool = False


def evaluate(config: EvaluateConfig, show: Show | None = None) -> dict[str, list[EpisodeRecord]]:
    """Returns the episodes of the planner and, where asked for, of the baselines, each in the order of the seeds.

    Args:
        config: Settings.
        show: Gets each moment of the episodes that are drawn as it comes, where there is one process.
    """
    actors = ("planner", "zero", "random") if config.baselines else ("planner",)
    jobs = [
        Job(actor, config.seed + i, images=actor == "planner" and i < config.drawn)
        for actor in actors
        for i in range(config.episodes)
    ]
    records: dict[str, list[EpisodeRecord]] = {actor: [] for actor in actors}
    with progress(total=len(jobs), unit="episode", desc="planner") as bar:
        for record in run_jobs(config, jobs, show):
            records[record.actor].append(record)
            done = records["planner"]
            bar.set_description_str(record.actor, refresh=False)
            bar.set_postfix_str(f"planner {sum(r.successes[-1] for r in done)}/{len(done)}", refresh=False)
            bar.update()
    return {actor: sorted(found, key=lambda record: record.seed) for actor, found in records.items()}


def run_jobs(config: EvaluateConfig, jobs: Sequence[Job], show: Show | None = None) -> Iterator[EpisodeRecord]:
    """Yields each job's record as it is done, in this process or shared out to several."""
    if config.processes == 1:
        yield from (run_job(config, job, show) for job in jobs)
        return
    threads = max(1, (os.cpu_count() or 1) // config.processes)
    with ctrl_c_is_ours():
        pool = multiprocessing.get_context("spawn").Pool(config.processes, _begin_worker, (threads,))
    with pool:
        yield from pool.imap_unordered(partial(run_job, config), jobs)


def _begin_worker(threads: int) -> None:
    """Makes a worker process end with its parent, and gives it its share of the threads."""
    end_with_parent()
    torch.set_num_threads(threads)


def run_job(config: EvaluateConfig, job: Job, show: Show | None = None) -> EpisodeRecord:
    """Returns the record of one actor's episode with one seed; `show` gets its moments as well if it is drawn."""
    env, controller = workplace(config)
    actors: dict[str, Actor] = {
        "planner": controller,
        "zero": ZeroActions(controller.spec),
        "random": RandomActions(controller.spec),
    }
    steps = run_episode(env, actors[job.actor], goals=None, max_steps=config.max_steps, seed=job.seed)
    if not job.images:
        return record_episode(steps, job.actor, job.seed)
    kept: list[Shown] = []

    def keep(shown: Shown) -> None:
        kept.append(shown)
        if show is not None:
            show(shown)

    return record_episode(watch(steps, env, controller, keep), job.actor, job.seed, kept)


@cache
def workplace(config: EvaluateConfig) -> tuple[gymnasium.Env, Controller]:
    """Returns the task and the controller for it, built once a process.

    Raises:
        ValueError: If there is no such task, checkpoint or mask, or they do not fit together.
    """
    for distance in distances_of(config.objective):
        if distance.mask is not None:
            read_mask(distance.mask)  # what is wrong with it is better said now than at the first reset
    env = make_task(config.task, config.scene)
    if config.goals == "last":
        env = LastGoal(env)
    model = load_model(config)
    if config.dynamics == "simulator":
        model = SimulatedDynamics(model, simulated_arm(env, config.task))
    spec = env.unwrapped.action_spec  # type: ignore[attr-defined]
    return env, make_controller(config, model, spec)


def make_controller(config: EvaluateConfig, model: WorldModel, spec: ActionSpec) -> Controller:
    """Returns what plans for an arm as an evaluation's settings say.

    Raises:
        ValueError: If model, arm and settings do not fit together.
    """
    objective = partial(make_objective, config=config.objective, spec=spec, model=model)
    return Controller(model, make_planner(config.planner), spec, config.controller, objective)


def make_task(task: str, scene: SceneConfig | None = None, image_size: int | None = None) -> gymnasium.Env:
    """Returns the environment of a task, in its own scene or another.

    Args:
        task: Its name, ours or ``module:namespace/Name-v0``.
        scene: Of a task of ours; None for its own.
        image_size: Edge of the observation images [pixels]; None for the task's own.

    Raises:
        ValueError: If there is none of that name (it lists those there are), its module does not import, or an
            environment of somebody's own is no task, see `envs.tasks.contract.check_task`.
    """
    module, _, task = task.rpartition(":")
    load_module(module or "envs.tasks", "task")  # registers its tasks
    task_id = task if "/" in task else f"envs/{task}"
    if task_id not in gymnasium.registry:
        prefix = f"{task_id.rpartition('/')[0]}/"
        alike = sorted(name.removeprefix("envs/") for name in gymnasium.registry if name.startswith(prefix))
        there = f"there are: {', '.join(alike)}" if alike else f"{module or 'envs.tasks'} registers none in {prefix}"
        raise ValueError(f"there is no task {task!r}; {there}")
    given: dict[str, Any] = {"scene": scene, "image_size": image_size}
    changes = {name: value for name, value in given.items() if value is not None}
    env = gymnasium.make(task_id, disable_env_checker=True, **changes)  # the tests check ours
    if module:
        check_task(env, task)
    return env


class LastGoal(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A task of whose goals only the last is given."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """See `gymnasium.Env.reset`."""
        values, info = self.env.reset(seed=seed, options=options)
        return values, info | {"goals": goals_of(info)[-1:]}


def simulated_arm(env: gymnasium.Env, task: str) -> MujocoArm:
    """Returns the simulated arm of a task.

    Raises:
        ValueError: If it has none that can be put back to where it was.
    """
    arm = getattr(env.unwrapped, "mujoco_arm", None)
    if not isinstance(arm, MujocoArm):
        raise ValueError(f"dynamics: simulator needs a task with a simulated arm of ours, and {task} has none")
    return arm


def load_model(config: EvaluateConfig) -> WorldModel:
    """Returns the world model of a checkpoint.

    Raises:
        ValueError: If there is none of that name, it is damaged or there is no such device.
    """
    if config.checkpoint == "toy":
        return ToyWorldModel()
    from world_model.load import load_world_model  # imports transformers, which takes seconds

    return load_world_model(config.checkpoint, config.device, config.precision)


def checkpoint_hash(checkpoint: str, heads: bool = True) -> str | None:
    """Returns the SHA-256 of a checkpoint's manifest, which holds its files' hashes; None for the toy model.

    Args:
        checkpoint: Its name or path.
        heads: Without, it is of what plans that ask no head depend on: the same where other heads were trained.
    """
    if checkpoint == "toy":
        return None
    from world_model.checkpoints.checkpoint import MANIFEST, find_checkpoint, head_file, read_manifest

    if heads:
        described = (find_checkpoint(checkpoint) / MANIFEST).read_bytes()
    else:
        manifest = read_manifest(checkpoint)
        files = {name: sha for name, sha in manifest.files.items() if name not in map(head_file, manifest.heads)}
        kept = replace(manifest, name="", licence="", parent=None, training={}, heads={}, files=files)
        described = json.dumps(dump_config(kept), sort_keys=True).encode()
    return hashlib.sha256(described).hexdigest()


@cache
def code_hash() -> str:
    """Returns the SHA-256 of this project's source: figures of other code are other figures."""
    digest = hashlib.sha256()
    for package in ("envs", "world_model", "planner"):
        (folder,) = importlib.import_module(package).__path__
        for path in sorted(Path(folder).rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(folder).as_posix()}".encode() + path.read_bytes())
    return digest.hexdigest()


def commit() -> str | None:
    """Returns the git commit of this project's source, "-dirty" after it where it was changed since; None without."""
    here = str(Path(__file__).parent)
    return ask_git("-C", here, "describe", "--always", "--exclude=*", "--dirty", "--abbrev=7")


def task_name(task: str) -> str:
    """Returns a task's name without module and namespace."""
    return task.split(":")[-1].split("/")[-1]
