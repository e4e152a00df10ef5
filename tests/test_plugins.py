"""Adding things in one file of one's own, through the public commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
