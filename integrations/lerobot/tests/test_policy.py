"""The policy through LeRobot's own factory, processors and evaluation; needs lerobot, see docs/lerobot-policy.md."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

pytest.importorskip("lerobot", reason="runs in LeRobot's environment")

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.factory import make_env, make_env_pre_post_processors
from lerobot.policies.factory import make_policy, make_pre_post_processors
from lerobot.scripts.lerobot_eval import rollout
from lerobot_policy_vjepa_planner import (
    VjepaPlannerConfig,
    VjepaPlannerPolicy,
    VjepaTasksConfig,
    modeling_vjepa_planner,
)
from PIL import Image

from envs.pose import compose

POSE = [0.5, 0.1, 0.2, 3.0, 0.0, 0.0, 0.0]
CHANGES = np.array([[0.01, 0.0, 0.0, 0.0, 0.0, 0.1, 0.5], [0.0, 0.02, 0.0, 0.0, 0.0, 0.1, 0.0]])


class FakeClient:
    """Stands for a plan server that always has the same plan."""

    metadata: ClassVar[dict[str, Any]] = {
        "checkpoint": "fake",
        "action_spec": {
            "names": ["x", "y", "z", "roll", "pitch", "yaw", "gripper"],
            "units": ["m", "m", "m", "rad", "rad", "rad", "1"],
            "low": [-1.0] * 7,
            "high": [1.0] * 7,
            "frame": "base",
            "rate": 4.0,
        },
        "goal_pose": False,
    }
    asked: ClassVar[list[Any]] = []

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        FakeClient.asked = []

    def reset(self, goals: list[Any], seed: int) -> None:
        FakeClient.asked.append([goal.image for goal in goals])

    def infer(self, observation: Any) -> dict[str, Any]:
        FakeClient.asked.append(observation)
        return {"actions": CHANGES}


@pytest.fixture(autouse=True)
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "real" not in request.node.name:
        monkeypatch.setattr(modeling_vjepa_planner, "PlanClient", FakeClient)


def make(**settings: Any) -> Any:
    return make_policy(VjepaPlannerConfig(**settings), env_cfg=VjepaTasksConfig())


def look(pose: list[float] = POSE, **images: float) -> dict[str, torch.Tensor]:
    shown = {"camera": 0.2, "goal": 0.6, **images}
    seen = {f"observation.images.{name}": torch.full((1, 3, 168, 168), grey) for name, grey in shown.items()}
    return {**seen, "observation.state": torch.tensor([pose])}


def test_targets_are_the_poses_that_a_plan_leads_to() -> None:
    policy = make(execute=2)
    first, second = (policy.select_action(look())[0].numpy() for _ in range(2))
    np.testing.assert_allclose(first, compose(np.array(POSE), CHANGES[0]), atol=1e-6)
    np.testing.assert_allclose(second, compose(compose(np.array(POSE), CHANGES[0]), CHANGES[1]), atol=1e-6)
    assert len(FakeClient.asked) == 2  # goals, and one plan for two actions
    goal, seen = FakeClient.asked[0][0], FakeClient.asked[1]
    assert goal.shape == (168, 168, 3) and goal.dtype == np.uint8 and (goal == 153).all() and (seen.image == 51).all()


def test_changes_and_degrees() -> None:
    policy = make(action="change", degrees=True)
    degrees = [*POSE[:3], float(np.degrees(3.0)), 0.0, 0.0, 0.0]
    np.testing.assert_allclose(policy.select_action(look(degrees))[0, 5], np.degrees(0.1), rtol=1e-5)
    np.testing.assert_allclose(FakeClient.asked[1].pose, POSE, atol=1e-5)


def test_a_dataset_tells_names_and_rate() -> None:
    def meta(names: list[str], fps: int) -> Any:
        return SimpleNamespace(features={"action": {"names": names}}, fps=fps)

    config = make().config
    names = [f"{name}.pos" for name in FakeClient.metadata["action_spec"]["names"]]
    VjepaPlannerPolicy(config, dataset_meta=meta(names, 4))
    with pytest.raises(ValueError, match=r"acts on x, y, z, .* the robot on x, z, y, .*trained for this robot"):
        VjepaPlannerPolicy(config, dataset_meta=meta([names[0], names[2], names[1], *names[3:]], 4))
    with pytest.raises(ValueError, match="acts 4 times a second, LeRobot 30: set its fps"):
        VjepaPlannerPolicy(config, dataset_meta=meta(names, 30))


def test_an_episode_begins_with_the_photographs_if_there_are_any(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 30, 3), 9, np.uint8)).save(tmp_path / "goal.png")
    policy = make(goals=[str(tmp_path / "goal.png")])
    policy.select_action(look())
    policy.select_action(look())
    policy.reset()
    policy.select_action(look())
    assert [isinstance(each, list) for each in FakeClient.asked] == [True, False, False, True, False]
    assert FakeClient.asked[0][0].shape == (20, 30, 3)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs observation\.images\.top, observations have .*--policy\.camera"):
        make(camera="observation.images.top")
    with pytest.raises(ValueError, match="'target' or a 'change'"):
        make(action="joint")
    with pytest.raises(ValueError, match=r"7 numbers .* have the shape .6,.*trained for this robot"):
        tasks = VjepaTasksConfig()
        tasks.features["action"] = PolicyFeature(FeatureType.ACTION, (6,))
        make_policy(VjepaPlannerConfig(), env_cfg=tasks)
    policy = make()
    with pytest.raises(ValueError, match="one arm at a time, got 2"):
        policy.select_action({name: torch.cat([value, value]) for name, value in look().items()})
    for untrained in (policy.get_optim_params, lambda: policy.forward({})):
        with pytest.raises(NotImplementedError, match="vjepa-planner train"):
            untrained()


def test_settings_are_saved_and_loaded_as_any_policy(tmp_path: Path) -> None:
    make(execute=3, seed=5).save_pretrained(tmp_path)
    config = PreTrainedConfig.from_pretrained(tmp_path)
    config.pretrained_path = tmp_path
    policy: Any = make_policy(config, env_cfg=VjepaTasksConfig())
    assert policy.config.execute == 3 and policy.config.seed == 5
    policy.select_action(look())


def run(policy: Any, tasks: VjepaTasksConfig, seed: int) -> dict[str, Any]:
    """Runs an episode as LeRobot's evaluation does."""
    (env,) = make_env(tasks)["vjepa_tasks"].values()
    before, after = make_env_pre_post_processors(tasks, policy.config)
    steps = make_pre_post_processors(policy.config)
    return rollout(env, policy, before, after, *steps, seeds=[seed])


def test_lerobots_evaluation_runs_it_in_a_simulated_task() -> None:
    tasks = VjepaTasksConfig(episode_length=3)
    done = run(make_policy(VjepaPlannerConfig(action="change"), env_cfg=tasks), tasks, seed=1)
    assert done["action"].shape == (1, 3, 7)
    np.testing.assert_allclose(done["action"][0, 0].numpy(), CHANGES[0], atol=1e-6)


@pytest.mark.skipif("VJEPA_PLANNER_URL" not in os.environ, reason="needs a plan server of franka, pushing")
def test_a_real_server_pushes() -> None:
    tasks, config = VjepaTasksConfig(), VjepaPlannerConfig(url=os.environ["VJEPA_PLANNER_URL"], action="change")
    policy = make_policy(config, env_cfg=tasks)
    assert sum(bool(run(policy, tasks, seed)["success"].any()) for seed in range(100, 103)) >= 2
