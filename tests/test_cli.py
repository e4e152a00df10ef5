"""The one command: every program by its name, and the wheel that carries what it needs."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from planner.cli import COMMANDS, main, tell_commands

ROOT = Path(__file__).resolve().parent.parent


def test_every_program_is_a_command() -> None:
    programs = {path.stem.replace("_", "-") for path in (ROOT / "scripts").glob("*.py")}
    assert set(COMMANDS) == programs
    for command, module in COMMANDS.items():
        assert f"from {module} import main" in (ROOT / f"scripts/{command.replace('-', '_')}.py").read_text()
        assert callable(importlib.import_module(module).main)


def test_the_commands_are_listed_with_what_they_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    told = capsys.readouterr().out
    assert told.strip() == tell_commands()
    assert all(len(line) > 30 for line in told.splitlines() if line.startswith("  "))


def test_the_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vjepa-planner {version('vjepa-planner')}\n"


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evalute"]) == 2
    assert "did you mean evaluate?" in capsys.readouterr().err


@pytest.mark.slow
def test_the_wheel_plans_from_any_directory_without_the_checkout(tmp_path: Path) -> None:
    def run(*command: str, folder: Path = tmp_path, **environment: str) -> str:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            command, cwd=folder, env={**kept, **environment}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", str(ROOT), "--no-deps", "--wheel-dir", str(tmp_path / "wheel"))
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    inside = tmp_path / "inside"
    run(*pip, "install", "--no-deps", "--target", str(inside), str(wheel))
    program = (sys.executable, str(inside / "bin/vjepa-planner"))
    asked = ("evaluate", "--config", "plan/reach.yaml", "--episodes", "2", "--no-baselines", "--video-episodes", "0")
    said = run(*program, *asked, PYTHONPATH=str(inside))
    assert "planner (franka-tiny)" in said and "n = 2" in said
    assert str(inside) in run(sys.executable, "-c", "import envs; print(envs.__file__)", PYTHONPATH=str(inside))
