"""The bundled checkpoint and the README's code, as a new user meets them."""

import importlib
import re
import sys
from pathlib import Path

import gymnasium
import pytest

import envs.tasks  # noqa: F401 (registers the tasks)
from envs.arms.base import ArmEnv
from envs.config import load_config
from envs.episodes.reading import Reading
from planner.control.controller import Controller
from planner.control.episode import run_episode
from planner.evaluation.episodes import make_controller
from planner.evaluation.program import EvaluateConfig
from planner.search.cem import CEM, CEMConfig
from world_model.checkpoints.checkpoint import find_checkpoint, read_manifest
from world_model.load import load_world_model
from world_model.training.compact_config import CompactConfig
from world_model.training.heads_config import HeadsConfig
from world_model.training.pretrain import PretrainConfig
from world_model.training.train import TrainConfig
from world_model.training.views_config import ViewsConfig
from world_model.vjepa2_ac import load_vjepa2_ac

ROOT = Path(__file__).resolve().parent.parent


def test_the_bundled_checkpoints_are_under_40_megabytes():
    for name in ("franka-tiny", "franka", "franka-views"):
        folder = find_checkpoint(name)
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 40e6


def test_what_sees_through_views_is_franka_with_other_eyes():
    views, usual = (read_manifest(name) for name in ("franka-views", "franka"))
    differ = {name for name in usual.files if views.files[name] != usual.files[name]}
    assert differ == {"encoder/model.safetensors", "readout.safetensors"}
    assert views.heads == usual.heads and views.parts["dynamics"] == usual.parts["dynamics"]


def test_the_bundled_checkpoint_gets_near_a_goal_that_an_image_shows():
    """One seed that is not held out; how often it succeeds is evaluate.py's to measure."""
    env = gymnasium.make("envs/FrankaReach-v0", disable_env_checker=True)
    assert isinstance(env.unwrapped, ArmEnv)
    controller = Controller(load_vjepa2_ac("franka-tiny"), CEM(CEMConfig()), env.unwrapped.action_spec)
    distances = [step.info["distance"] for step in run_episode(env, controller, None, max_steps=12, seed=5000)]
    env.close()
    assert distances[-1] < 0.5 * distances[0]


def test_a_search_from_noise_pushes_an_object_to_where_an_image_shows_it():
    """As above, with the cost that is learnt through the model."""
    config = load_config(
        EvaluateConfig, ROOT / "scripts/configs/plan/franka/search-from-noise.yaml", {"checkpoint": "franka"}
    )
    env = gymnasium.make(f"envs/{config.task}", disable_env_checker=True)
    assert isinstance(env.unwrapped, ArmEnv)
    controller = make_controller(config, load_world_model("franka"), env.unwrapped.action_spec)
    distances = [step.info["distance"] for step in run_episode(env, controller, None, config.max_steps, seed=102)]
    env.close()
    assert min(distances) < 0.5 * distances[0]


@pytest.mark.parametrize("path", sorted((ROOT / "scripts" / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_in_the_repository_is_valid(path):
    kinds = {
        "collect": program("envs.tasks.collect").CollectConfig,
        "varied": program("envs.tasks.collect").CollectConfig,
        "views": program("envs.tasks.collect").CollectConfig,
        "pretrain": PretrainConfig,
        "train": TrainConfig,
        "compact": CompactConfig,
        "heads": HeadsConfig,
        "dynamics": HeadsConfig,
        "energy": HeadsConfig,
        "see": ViewsConfig,
        "plan": program("planner.evaluation.program").EvaluateConfig,
        "suite": program("planner.evaluation.suite_config").SuiteConfig,
        "practice": program("planner.collecting.practice").PracticeConfig,
        "tried": program("planner.collecting.practice").PracticeConfig,
        "searched": program("planner.collecting.practice").PracticeConfig,
        "probe": program("planner.diagnostics.probe_program").ProbeConfig,
        "deploy": program("envs.arm_file").ArmFile,
        "reading": Reading,
    }
    if path.parent.name in ("benchmark", "cube-single", "scene") and path.stem == "collect":
        kinds["collect"] = program("envs.tasks.collect_benchmark").CollectConfig
    if "plan" in path.parts:
        kinds[path.stem] = kinds["plan"]
    load_config(kinds[path.parent.name if path.parent.name in kinds else path.stem], path)


def program(name):
    sys.path.insert(0, str(ROOT / "scripts"))
    return importlib.import_module(name)


def test_the_readmes_python_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
