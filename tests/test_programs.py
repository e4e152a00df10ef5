"""What all programs have in common: they answer at once, and end in one line or none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from planner.benchmarks.program import part_first

ROOT = Path(__file__).parent.parent
PROGRAMS = sorted(path.stem for path in (ROOT / "scripts").glob("[a-z]*.py"))
HEAVY = ("torch", "transformers", "matplotlib")
SIMULATED = ("probe", "collect", "collect_benchmark", "collect_practice")  # settings name what is in the simulator
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def run(name: str, *words: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, f"scripts/{name}.py", *words]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False, **options)


ASK = """
import json, os, runpy, sys
import numpy, tyro, yaml  # what all programs import is imported once, and each asked in a copy of this process
sys.path.insert(0, 'scripts')
for name in sys.argv[1:]:
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, name
        continue
    status, text = 0, os.dup(1)
    told = os.memfd_create(name)
    os.dup2(told, 1)
    sys.argv = [f'scripts/{name}.py', '--help']
    try:
        runpy.run_path(sys.argv[0], run_name='__main__')
    except SystemExit as ended:
        status = ended.code or 0
    sys.stdout.flush()
    told = os.pread(told, 1 << 20, 0).decode()
    os.write(text, (json.dumps([name, status, told, sorted(sys.modules)]) + chr(10)).encode())
    os._exit(0)
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, tuple[int, str, set[str]]]:
    """Exit status, text and imported modules of each program that is asked for help."""
    command = [sys.executable, "-c", ASK, *PROGRAMS]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: (status, told, set(imported)) for name, status, told, imported in answers}


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_is_given_without_what_takes_seconds_to_import(name: str, helps) -> None:
    status, told, imported = helps[name]
    assert status == 0 and "--help" in told
    heavy = HEAVY if name in (*SIMULATED, "deploy") else (*HEAVY, "mujoco")
    assert imported.isdisjoint(heavy)


def test_the_catalog_is_listed_without_torch() -> None:
    code = "import sys; sys.path.insert(0, 'scripts'); import import_checkpoint as p; p.main(['--list'])"
    check = f"{code}; assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert "vjepa2_ac_oss" in done.stdout


@pytest.mark.parametrize("name", ["train", "dataset", "benchmark"])
def test_output_that_nobody_reads_ends_a_program_in_silence(name: str) -> None:
    command = f"set -o pipefail; {sys.executable} scripts/{name}.py --help | true"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.stderr == "" and done.returncode == 141


@pytest.mark.parametrize("delay", [0.1, 0.2, 0.35])
def test_ctrl_c_during_the_imports_is_one_line(delay: float) -> None:
    code = (
        "import sys; sys.path.insert(0, 'scripts'); sys.argv = ['scripts/train.py']; import envs.program; "
        "print('begun', flush=True); import planner.training.program as train; "
    )
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code} import planner.training.learning"],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1] == "interrupted\n"
    assert process.returncode == -signal.SIGINT


def test_ctrl_c_during_the_imports_of_a_program_is_no_exception_that_a_library_would_meet() -> None:
    code = (
        "import sys, signal; sys.argv = [{!r}]; import envs.program as p; print(signal.getsignal(2) is p._end_at_once)"
    )
    for command, ours in (("scripts/train.py", True), ("vjepa-planner train", True), ("elsewhere/train.py", False)):
        done = subprocess.run(
            [sys.executable, "-c", code.format(command)], cwd=ROOT, env=ENVIRONMENT, capture_output=True, check=True
        )
        assert done.stdout.decode() == f"{ours}\n"


def test_an_error_is_one_line_and_its_traceback_is_there_for_developers() -> None:
    done = run("probe", "--checkpoint", "no-such-one")
    assert done.returncode == 1 and done.stderr.startswith("error: there is no checkpoint 'no-such-one'; ")
    assert done.stderr.count("\n") == 1


def test_a_benchmark_without_a_part_prints_the_help() -> None:
    done = run("benchmark")
    assert done.returncode == 0 and "plan,energy,pareto,train,jitter" in done.stdout


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--seconds", "1", "jitter", "--output", "plan"], ["jitter", "--seconds", "1", "--output", "plan"]),
        (["--output", "plan", "jitter"], ["jitter", "--output", "plan"]),
        (["plan", "--horizons", "1", "2"], ["plan", "--horizons", "1", "2"]),
        (["--help"], ["--help"]),
    ],
)
def test_options_of_a_benchmark_stand_on_either_side_of_its_part(words, found) -> None:
    assert part_first(words) == found


def test_a_wrong_option_of_a_benchmark_names_the_nearest() -> None:
    done = run("benchmark", "--secnds", "1", "jitter")
    assert done.returncode == 2 and "--seconds FLOAT" in done.stderr and "Traceback" not in done.stderr


def test_help_of_a_suite_is_given_without_torch() -> None:
    code = "import sys; sys.path.insert(0, 'scripts'); import evaluate; evaluate.main(['--suite', 'x', '--help'])"
    check = f"import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); {code}"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "--suite" in done.stdout and done.stdout.endswith("False\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--checkpoint", "no-such-one"), "there is no checkpoint 'no-such-one'"),
        (("--plan", "no-such.yaml"), "there is no file of planning settings no-such.yaml"),
        (("--goal", "no-such.png"), "there is no goal photograph no-such.png"),
    ],
)
def test_what_a_drive_lacks_is_said_before_the_plan_server_starts(words, message: str, tmp_path: Path) -> None:
    done = run("deploy", *words, "--output", str(tmp_path / "results"))
    assert done.returncode == 1 and message in done.stderr
    assert not (tmp_path / "results/server.log").exists()
