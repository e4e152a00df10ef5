"""Worker processes do not outlive a program that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
import multiprocessing, os, sys, time
from pathlib import Path

def write_on(work):
    folder, number = work
    for index in range(600):
        (Path(folder) / f"{os.getpid()}").write_text(str(index))
        time.sleep(0.02)

def shared(folder, number):
    write_on((folder, number))

if __name__ == "__main__":
    folder = sys.argv[2]
    if sys.argv[1] == "collect":
        from envs.workers import end_with_parent
        with multiprocessing.get_context("spawn").Pool(2, end_with_parent) as pool:
            list(pool.imap_unordered(write_on, [(folder, number) for number in range(4)]))
    if sys.argv[1] == "convert":
        from envs.workers import in_processes
        list(in_processes(shared, folder, range(4), 2))
    if sys.argv[1] == "cache":
        from envs.workers import in_processes
        list(in_processes(shared, folder, range(2), 2, spare=True))
"""


@pytest.mark.parametrize("pool", ["collect", "convert", "cache"])
def test_workers_of_a_killed_program_write_no_more(pool: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "out").mkdir()
    command = [sys.executable, str(tmp_path / "program.py"), pool, str(tmp_path / "out")]
    program = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    limit = time.monotonic() + 60
    while len(list((tmp_path / "out").iterdir())) < 2 and time.monotonic() < limit:
        time.sleep(0.05)
    workers = [int(path.name) for path in (tmp_path / "out").iterdir()]
    assert len(workers) == 2
    program.send_signal(signal.SIGKILL)
    program.wait()
    limit = time.monotonic() + 5
    while any(map(_runs, workers)) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not [worker for worker in workers if _runs(worker)]


def _runs(worker: int) -> bool:
    """Whether a process runs; one that has ended may wait for somebody to notice."""
    status = Path(f"/proc/{worker}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
