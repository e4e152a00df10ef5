"""How far a program is: told in the midst of long tasks, as bars on terminals and as a few lines in files."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from background import wait_until

from envs import bar
from envs.workers import in_processes

ROOT = Path(__file__).resolve().parent.parent


class Watched(io.StringIO):
    def isatty(self) -> bool:
        return True


def slow(pauses: float, count: int, advanced: Callable[[int], object]) -> int:
    for _ in range(count):
        time.sleep(pauses)
        advanced(1)
    return count


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_done_is_told_in_the_midst_of_tasks(processes: int) -> None:
    told: list[int] = []
    results = []
    for result in in_processes(slow, 0.4, [4, 2], processes, told.append):
        if not results:
            assert sum(told) > 0 and len(told) >= 2
        results.append(result)
    assert sorted(results) == [2, 4] and sum(told) == 6


def test_a_file_gets_a_plain_line_now_and_then(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", file := io.StringIO())
    monkeypatch.setattr(bar, "EVERY", 0.3)
    with bar.progress(desc="collect", total=200, unit="episode") as shown:
        for _ in range(200):
            time.sleep(0.005)
            shown.update()
    lines = file.getvalue().splitlines()
    assert "\r" not in file.getvalue() and "\x1b" not in file.getvalue()
    assert 3 <= len(lines) <= 6
    assert lines[0].startswith("collect: 0/200 episodes, ") and lines[-1].startswith("collect: 200/200 episodes, ")


def test_a_terminal_gets_a_bar(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", file := Watched())
    assert list(bar.progress(range(3), desc="plans")) == [0, 1, 2]
    assert "\r" in file.getvalue() and "100%" in file.getvalue()


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ctrl_c_on_the_terminal_ends_a_collection_and_its_processes_in_one_line(processes: int, tmp_path: Path) -> None:
    flags = ["--episodes", "400", "--processes", str(processes), "--image-size", "16", "--play.frames", "3"]
    with (tmp_path / "stderr").open("w") as stderr:
        program = subprocess.Popen(
            [sys.executable, "scripts/collect.py", *flags, "--output", str(tmp_path / "data")],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=stderr,
            start_new_session=True,  # a terminal sends Ctrl-C to all processes of the program
        )
        try:
            assert wait_until(lambda: any((tmp_path / "data").rglob("*.parquet")), 60)
            os.killpg(program.pid, signal.SIGINT)
            assert program.wait(20) == 130
        finally:
            program.kill()
    *bars, last = (tmp_path / "stderr").read_text().splitlines()
    assert last == "interrupted; the same command goes on from here"
    assert all(line.startswith("collect: ") for line in bars)
