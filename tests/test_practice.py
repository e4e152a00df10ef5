"""Practice: a checkpoint's attempts at tasks, finished by the tasks' experts."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from envs.config import load_config
from envs.simulation.objects import TRAINING_OBJECTS
from envs.simulation.scene_config import MANIPULATION_SCENE
from envs.simulation.variation import Variation
from envs.spec import Observation
from envs.tasks.manipulation import FrankaPushEnv, manipulation_action_spec
from planner.collecting import attempts, practice
from planner.collecting.practice import PracticeConfig, main, record_practice
from planner.control.episode import goals_of
from planner.evaluation.episodes import make_task
from planner.proposals.config import InverseDynamicsConfig
from planner.proposals.inverse_dynamics import InverseDynamicsProposer
from tests.small_models import eager_model
from world_model.checkpoints.checkpoint import save_checkpoint

PLAN = "planner: {algorithm: cem, horizon: 1, samples: 8, elites: 2, iterations: 1}\n"
TRIED = ("scripts/configs/franka/tried.yaml", "scripts/configs/franka/searched.yaml")
CUBE = "envs.tasks.ogbench_tasks:CubeSingle-v0"


@pytest.fixture
def practise(tmp_path: Path) -> Callable[..., PracticeConfig]:
    """Returns settings for an episode or two of a task, attempted by a policy that knows nothing."""
    save_checkpoint(tmp_path / "checkpoint", eager_model(), training={}, fps=4.0, licence="MIT")

    def practise(*tasks: str, **settings: object) -> PracticeConfig:
        config = PracticeConfig(
            tmp_path / "data", checkpoint=str(tmp_path / "checkpoint"), episodes=1, episodes_per_shard=1, image_size=32,
            frames=12, attempts=(3, 3), tasks=dict.fromkeys(tasks, 1.0), processes=1,
        )  # fmt: skip
        return replace(config, **settings)

    return practise


def test_practice_is_the_policys_attempt_and_then_the_experts_way(practise: Callable[..., PracticeConfig]) -> None:
    config = practise("FrankaPush-v0")
    episode, again = (record_practice(config, 4) for _ in range(2))
    assert len(episode) == 12 and (episode.images == again.images).all()
    first = FrankaPushEnv(32)
    values, info = first.reset(seed=4, options={"practice": True})
    assert first.mujoco_arm.objects[0].instance in TRAINING_OBJECTS
    assert np.abs(values["image"] - episode.images[0].astype(float)).mean() < 1
    model, (goal,) = attempts.load_policy(config.checkpoint), goals_of(info)
    seen = model.encode([Observation(values["image"], values["pose"], 0.0)])
    policy = InverseDynamicsProposer(InverseDynamicsConfig(), model, first.action_spec)
    proposed = policy.propose(seen, model.encode_goal(goal), 1, 1, torch.Generator())
    np.testing.assert_allclose(episode.actions[0, :2], proposed[0, 0, :2], atol=0.01)
    assert episode.task == "practice FrankaPush-v0"


def test_practice_in_a_scene_that_varies_begins_alike_and_is_seen_from_elsewhere(
    practise: Callable[..., PracticeConfig],
) -> None:
    config = practise("FrankaPush-v0", frames=5)
    usual, turned = (record_practice(each, 4) for each in (config, replace(config, variation=Variation(8.0))))
    assert np.abs(turned.images[0] - usual.images[0].astype(float)).mean() > 3
    np.testing.assert_array_equal(turned.poses[0], usual.poses[0])
    two = record_practice(practise("FrankaTwoObjects-v0", frames=5, variation=Variation(8.0)), 4)
    assert len(two) == 5  # a scene of two objects, as the task needs
    two = record_practice(practise("FrankaTwoObjects-v0", frames=5, scene=MANIPULATION_SCENE), 4)
    assert len(two) == 5


def test_practice_by_a_plan_searches_and_shakes(tmp_path: Path, practise: Callable[..., PracticeConfig]) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN, encoding="utf-8")
    config = practise("FrankaPush-v0", checkpoint="franka-tiny", frames=5, plans=(plan,))
    still, shaken, again = (record_practice(each, 4) for each in (config, *[replace(config, shaky=(0.3,))] * 2))
    assert (shaken.poses == again.poses).all()
    assert np.abs(shaken.poses[1, :3] - still.poses[1, :3]).max() > 0.003
    np.testing.assert_allclose(shaken.poses[:4, 3:6], still.poses[:4, 3:6], atol=0.02)  # what is fixed stays fixed
    with pytest.raises(SystemExit, match=r"error: .*nowhere\.yaml"):
        attempts.check_actors(replace(config, plans=(tmp_path / "nowhere.yaml",)), manipulation_action_spec())


@pytest.mark.parametrize("task", ["FetchPush-v0", "FetchPickAndPlace-v0"])
def test_in_fetch_the_expert_brings_the_block_to_its_goal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, practise: Callable[..., PracticeConfig], task: str
) -> None:
    pytest.importorskip("gymnasium_robotics")
    model = eager_model()
    model.action_spec = replace(model.action_spec, rate=12.5)
    save_checkpoint(tmp_path / "quick", model, training={}, fps=12.5, licence="MIT")
    config = practise(task, frames=40, checkpoint=str(tmp_path / "quick"))
    monkeypatch.setattr("envs.tasks.fetch_tasks.play", lambda *_: repeat(np.zeros(7)))
    arm = practice._open(task, 32, None).unwrapped.fetch_arm  # type: ignore[attr-defined]
    episode = record_practice(config, 4001)
    assert arm.success()
    assert (record_practice(config, 4001).images == episode.images).all()
    record_practice(replace(config, attempts=(39, 39)), 4001)
    assert not arm.success()


def test_in_ogbench_its_script_goes_on_and_no_episode_is_a_held_out_one(
    practise: Callable[..., PracticeConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ogbench")
    tasks = importlib.import_module("envs.tasks.ogbench_tasks")
    seeds, script = [], tasks.OgbenchScript
    monkeypatch.setattr(tasks, "OgbenchScript", lambda arm, play, seed: seeds.append(seed) or script(arm, play, seed))
    config = practise(CUBE, frames=12)
    episode = record_practice(config, 1)
    seeds.clear()  # with what opening the task took
    np.testing.assert_array_equal(episode.images, record_practice(config, 1).images)
    assert max(seeds) < 10_000
    np.testing.assert_allclose(episode.actions[1:3, 6], episode.actions[1, 6], atol=0.1)  # the policy's, the same
    alone = record_practice(replace(config, attempts=(0, 0)), 1)
    np.testing.assert_array_equal(episode.images[0], alone.images[0])
    assert np.abs(episode.actions[:3] - alone.actions[:3]).max() > 0.05
    assert np.linalg.norm(episode.actions[3:, :3], axis=1).max() > 0.03  # the script's, from where that led


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tasks": {"FrankaPush-v0": 0.0}}, "tasks are weights >= 0 of tasks by name"),
        ({"attempts": (3, 30)}, r"attempts are two numbers of actions.*got \(3, 30\)"),
        ({"shaky": (-0.1,)}, "shaky is at least one share"),
        ({"paces": ()}, "paces are at least one share"),
        ({"paces": (0.05, 1.5)}, r"each in \(0, 1\], got \(0.05, 1.5\)"),
    ],
)
def test_settings_out_of_their_range_are_refused(
    practise: Callable[..., PracticeConfig], settings: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        practise("FrankaPush-v0", **settings)


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ("{FrankaPull-v0: 1}", "there is no task 'FrankaPull-v0'; there are: "),
        ("{FetchPush-v0: 1, FetchPickAndPlace-v0: 1}", "have other actions or bounds, and a dataset has one kind"),
        ("{FrankaReach-v0: 1}", "FrankaReach-v0 can't be practised, its environment lacks finish, play"),
        ("{FetchPush-v0: 1}\nscene: {objects: 1}", "scene and variation need tasks of the simulated Franka"),
        ("{PushT25-v0: 1, FrankaPush-v0: 1}", "have other actions or bounds"),
        ('{"envs.tasks.ogbench_tasks:CubeSingleTasks-v0": 1}', "can't be practised: OGBench's numbered tasks are for"),
    ],
)
def test_tasks_that_can_t_be_practised_are_told_before_anything_is_recorded(
    tmp_path: Path, tasks: str, said: str
) -> None:
    pytest.importorskip({"{F": "gymnasium_robotics", "{P": "gym_pusht", '{"': "ogbench"}[tasks[:2]])
    file = tmp_path / "practice.yaml"
    file.write_text(f"checkpoint: franka-tiny\noutput: {tmp_path / 'data'}\ntasks: {tasks}\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=said):
        main(["--config", str(file)])
    assert not (tmp_path / "data").exists()


def test_an_environment_that_lacks_what_practice_needs_is_told_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gym_pusht")
    task = importlib.import_module("envs.tasks.pusht_tasks").PushTEnv
    for part in ("robot_type", "drive", "finish", "play"):
        monkeypatch.delattr(task, part)
    practice._open.cache_clear()
    file = tmp_path / "practice.yaml"
    file.write_text(f"checkpoint: franka-tiny\noutput: {tmp_path}\ntasks: {{PushT25-v0: 1}}\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="can't be practised, its environment lacks robot_type, drive, finish, play"):
        main(["--config", str(file)])


def test_the_recipes_of_practice_name_tasks_that_there_are() -> None:
    files = [*Path("scripts/configs").rglob("practice*.yaml"), *map(Path, TRIED)]
    names = {name for file in files for name in load_config(PracticeConfig, file).tasks if ":" not in name}
    make_task("FrankaPush-v0").close()
    assert names and all(f"envs/{name}" in gymnasium.registry for name in names)
