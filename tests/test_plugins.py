"""Adding things in one file of one's own, through the public commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent

PLANNER = '''
from dataclasses import dataclass

import torch

from planner.base import Plan


@dataclass(frozen=True)
class MineConfig:
    algorithm: str = "mine.py:Mine"
    horizon: int = 1
    samples: int = 32


class Mine:
    """Tries random sequences and takes the best."""

    Config = MineConfig

    def __init__(self, config):
        self.config, self.horizon = config, config.horizon

    def plan(self, score, spec, guesses, generator, deadline=None):
        low, high = (guesses.new_tensor(bound) for bound in (spec.low, spec.high))
        drawn = torch.rand(self.config.samples, self.horizon, spec.size, generator=generator)
        actions = torch.cat([low + (high - low) * drawn, guesses])
        costs = score(actions)
        best = costs.argmin()
        return Plan(actions[best], costs[best].item(), costs[best][None], len(actions))
'''


def run(folder: Path, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "scripts" / script), *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def evaluate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    common = ("--checkpoint", "toy", "--task", "FrankaReach-v0", "--episodes", "2", "--max-steps", "12")
    quiet = ("--no-baselines", "--video-episodes", "0", "--output", "out")
    return run(folder, "evaluate.py", *common, *quiet, "--objective.image-weight", "1", *words)


@pytest.mark.parametrize("in_yaml", [False, True], ids=["command line", "yaml"])
def test_a_planner_of_ones_own_is_a_file(tmp_path: Path, in_yaml: bool) -> None:
    (tmp_path / "mine.py").write_text(PLANNER)
    (tmp_path / "plan.yaml").write_text('planner: {algorithm: "mine.py:Mine", samples: 64}\n')
    flags = ["--planner.algorithm", "mine.py:Mine", "--planner.samples", "64"]
    result = evaluate(tmp_path, *(["--config", "plan.yaml"] if in_yaml else flags))
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["config"]["planner"] == {"algorithm": "mine.py:Mine", "horizon": 1, "samples": 64}
    assert results["summaries"]["planner"]["n"] == 2


def test_what_is_wrong_with_ones_own_planner_is_said(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Mine:\n    pass\n")
    for word, message in {
        "mine.py:Mine": "the planner 'mine.py:Mine' must have a dataclass Config, its settings",
        "mine.py:Nine": "mine.py has no Nine; did you mean Mine?",
        "yours.py:Mine": "the planner is to be in yours.py, but there is no such file here",
    }.items():
        result = evaluate(tmp_path, "--planner.algorithm", word)
        assert result.returncode != 0
        assert message in " ".join(result.stderr.split())


OBJECTIVE_AND_PROPOSER = '''
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class HeightConfig:
    kind: str = "mine.py:Height"
    wanted: float = 0.2


class Height:
    """How far from a height the predicted hand is."""

    Config = HeightConfig

    def __init__(self, config, goal, spec, model):
        self.config = config

    def __call__(self, predicted, actions):
        return (predicted.poses[..., 2] - self.config.wanted).abs().mean(dim=1)


@dataclass(frozen=True)
class UpConfig:
    kind: str = "mine.py:Up"


class Up:
    """Proposes to rise."""

    Config = UpConfig

    def __init__(self, config, model, spec):
        self.spec = spec

    def propose(self, state, goal, horizon, count, generator):
        actions = torch.zeros(1, horizon, self.spec.size)
        actions[..., 2] = self.spec.high[2]
        return actions
'''


def test_an_objective_of_ones_own_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OBJECTIVE_AND_PROPOSER)
    result = evaluate_plain(tmp_path, "--objective.kind", "mine.py:Height", "--objective.wanted", "0.3")
    assert result.returncode == 0, result.stderr
    for episode in json.loads((tmp_path / "out/results.json").read_text())["episodes"]["planner"]:
        assert episode["poses"][-1][2] == pytest.approx(0.3, abs=0.02)


def test_a_proposer_of_ones_own_is_a_file_and_first_guess_follows_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OBJECTIVE_AND_PROPOSER)
    flags = ("--planner.algorithm", "first_guess", "--controller.proposers", "mine.py:Up")
    result = evaluate_plain(tmp_path, *flags)
    assert result.returncode == 0, result.stderr
    for episode in json.loads((tmp_path / "out/results.json").read_text())["episodes"]["planner"]:
        assert episode["actions"][0][:3] == pytest.approx([0.0, 0.0, 0.075])


SUBGOALS = '''
from dataclasses import dataclass

import torch

from world_model.base import LatentGoal


@dataclass(frozen=True)
class HalfwayConfig:
    kind: str = "mine.py:Halfway"
    every: int = 2


class Halfway:
    """Every few observations the latent halfway between what is seen and the goal: nobody has seen it."""

    Config = HalfwayConfig

    def __init__(self, config, model, spec, make_objective):
        self.config = config

    def reset(self, goals):
        self.final, self.asked = goals[-1], 0

    def next(self, state, generator):
        self.asked += 1
        if (self.asked - 1) % self.config.every:
            return None
        return LatentGoal(torch.lerp(state.tokens[0, -1], self.final.tokens, 0.5))
'''


@pytest.mark.parametrize("in_yaml", [False, True], ids=["command line", "yaml"])
def test_a_source_of_subgoals_of_ones_own_is_a_file(tmp_path: Path, in_yaml: bool) -> None:
    (tmp_path / "mine.py").write_text(SUBGOALS)
    (tmp_path / "plan.yaml").write_text('controller: {subgoals: {kind: "mine.py:Halfway", every: 3}}\n')
    flags = ["--controller.subgoals.kind", "mine.py:Halfway", "--controller.subgoals.every", "3"]
    result = evaluate_plain(tmp_path, *(["--config", "plan.yaml"] if in_yaml else flags))
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["config"]["controller"]["subgoals"] == {"kind": "mine.py:Halfway", "every": 3}
    for episode in results["episodes"]["planner"]:
        start, *_, end = episode["distances_m"]
        assert episode["distances_m"][3] == pytest.approx(start / 2, rel=0.3)  # it waits there
        assert end == pytest.approx(start / 16, rel=0.5)


def evaluate_plain(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    common = ("--checkpoint", "toy", "--task", "FrankaReach-v0", "--episodes", "2", "--max-steps", "12")
    return run(folder, "evaluate.py", *common, "--no-baselines", "--video-episodes", "0", "--output", "out", *words)


ARM = """
import time
from dataclasses import dataclass

import numpy as np

from envs.simulation.arm import arm_action_spec
from envs.spec import Observation


@dataclass(frozen=True)
class MyArmConfig:
    kind: str = "my_arm.py:MyArm"
    size: int = 64


class MyArm:
    Config = MyArmConfig

    def __init__(self, config):
        self.action_spec, self.image_shape = arm_action_spec(), (config.size, config.size, 3)
        self.pose = np.array([0.5, 0.0, 0.25, np.pi, 0.0, 0.0, 0.0])

    def connect(self):
        pass

    def observe(self):
        return Observation(np.zeros(self.image_shape, np.uint8), self.pose.copy(), time.monotonic())

    def send(self, set_point):
        self.pose = set_point

    def stop(self):
        pass

    def close(self):
        pass
"""


def test_an_arm_of_ones_own_is_a_file_with_its_limits_beside_it(tmp_path: Path) -> None:
    (tmp_path / "my_arm.py").write_text(ARM)
    (tmp_path / "arm.yaml").write_text('arm: {kind: "my_arm.py:MyArm", size: 96}\nlimits: {max_speed: 0.1}\n')
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)).save(tmp_path / "goal.png")
    flags = ("--arm", "arm.yaml", "--goal", "goal.png", "--max-steps", "2", "--view", "none", "--output", "out")
    result = run(tmp_path, "deploy.py", *flags)
    assert result.returncode == 0, result.stderr
    assert "step   1  would" in result.stdout and "slowed to max_speed" in result.stdout
