"""The programs and notebooks of examples/, run as a newcomer runs them: what they show must come about."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(name: str, *words: str) -> str:
    """Returns what a program prints on standard output."""
    command = [sys.executable, str(EXAMPLES / name), *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600, cwd=EXAMPLES.parent)
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stdout


def told_here(name: str, words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Returns what a program prints, run in this process: torch is loaded already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *words])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


def numbers(pattern: str, told: str) -> list[float]:
    """Returns what a pattern's groups match in what was printed."""
    return [float(number) for match in re.finditer(pattern, told) for number in match.groups()]


def distances(told: str) -> list[float]:
    """Returns how far the goal is at each step [mm]."""
    return numbers(r"step +\d+: +([\d.]+) mm from the goal", told)


def test_the_ball_of_ones_own_environment_gets_to_its_goal(capsys: pytest.CaptureFixture[str]) -> None:
    found = distances(told_here("plan_in_my_environment.py", (), capsys))
    assert len(found) == 11
    assert found[0] > 100
    assert found[-1] < 5


@pytest.mark.slow  # docs/plugins.md has one that is run by default
def test_a_planner_of_ones_own_reaches_the_goals_that_cem_reaches(capsys: pytest.CaptureFixture[str]) -> None:
    told = told_here("my_planner.py", (), capsys)
    for planner in ("RandomShooting", "CEM"):
        ways = re.findall(rf"{planner} +seed (\d+): +([\d.]+) mm from the goal, in the end +([\d.]+) mm", told)
        assert len({seed for seed, _, _ in ways}) == 2
        for _, start, end in ways:
            assert float(start) > 100
            assert float(end) < 40  # the task's success


@pytest.mark.slow
def test_an_arm_of_ones_own_would_be_told_what_its_limits_leave_of_a_plan(tmp_path: Path) -> None:
    told = run("my_arm.py", "--output", str(tmp_path))
    planned = re.findall(r"would +([+-]\d+) +([+-]\d+) +([+-]\d+) mm .* sent ([+-]\d+) ([+-]\d+) ([+-]\d+) mm", told)
    assert len(planned) == 3
    wanted, sent = np.array(planned, dtype=float).reshape(3, 2, 3).transpose(1, 0, 2)
    assert (wanted[:, 1] > 40).all()  # the goal is 15 cm to that side
    assert (np.linalg.norm(sent, axis=1) < 51).all()  # 0.2 m/s for a quarter of a second
    assert "slowed to max_speed" in told
    assert "dry run: nothing moves" in told
    (result,) = json.loads((tmp_path / "dry-run/results.json").read_text())["runs"]
    assert len(result["limited"]) == 3
    with Image.open(tmp_path / "goal.png") as goal:
        assert goal.size == (128, 128)


@pytest.mark.slow
def test_a_server_plans_to_the_goal_and_is_stopped(tmp_path: Path) -> None:
    told = run("plan_remotely.py", "--output", str(tmp_path))
    found = distances(told)
    assert found[0] > 100
    assert found[-1] < 40
    assert told.endswith("the server has stopped\n")
    assert (tmp_path / "server.log").is_file()


def test_the_energy_is_lowest_at_the_true_action_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = told_here("energy_landscape.py", ("--output", str(tmp_path)), capsys)
    true, best = np.reshape(numbers(r": dx +(-?[\d.]+) mm, dy +(-?[\d.]+) mm", told), (2, 2))
    assert np.linalg.norm(true) > 20
    assert np.linalg.norm(best - true) < 10
    with Image.open(tmp_path / "landscape.png") as picture:
        assert min(picture.size) > 300
        assert np.asarray(picture.convert("RGB")).std() > 20  # not empty


@pytest.mark.slow
def test_the_held_out_error_falls_by_fine_tuning(tmp_path: Path) -> None:
    told = run("fine_tune.py", "--output", str(tmp_path))
    before, after, copied = numbers(r"(?:before fine-tuning|after fine-tuning|copying what is seen) +([\d.]+)", told)
    assert after < copied < before
    assert (tmp_path / "run/checkpoint/manifest.yaml").is_file()


def run_notebook(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Executes a notebook's code cells in turn, in a folder, and returns its variables."""
    notebook = json.loads((EXAMPLES / name).read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    matplotlib.use("Agg")
    known: dict[str, Any] = {"__name__": "__main__"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), f"{name}, {cell['id']}", "exec"), known)
    known["plt"].close("all")
    return known


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_the_notebook_of_a_first_plan_reaches_the_goal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = run_notebook("first_plan.ipynb", tmp_path, monkeypatch)
    assert known["plan"].costs[-1] < known["plan"].costs[0]
    assert known["distances"][0] > 100
    assert known["distances"][-1] < 40


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_the_notebook_of_fine_tuning_shows_an_error_that_fell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = run_notebook("fine_tune_and_compare.ipynb", tmp_path, monkeypatch)
    curves = known["curves"]
    for before, after, copied in zip(*curves.values(), strict=True):
        assert after < copied
        assert after < before
    assert known["folder"].is_relative_to(tmp_path)
