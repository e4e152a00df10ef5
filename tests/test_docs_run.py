"""The commands of README, documentation and examples are run, page by page, in the order that a page shows them.

A command runs as it stands, with `SMALLER` words after it. What a page calls FOLDER, NAME, my-arm.yaml or goal.png is
there under that very name, and later commands read what earlier ones wrote. What cannot run is in `NOT_RUN`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from test_docs_commands import PAGES, shown
from test_hub import server
from vendor_arms import vendor_libraries

from tests.commands import run
from tests.so101_recordings import MODEL, write_so101
from world_model.checkpoints import hub

__all__ = ["server", "vendor_libraries"]  # fixtures
ROOT = Path(__file__).resolve().parent.parent
NETWORK, LEROBOT, GPUS = "needs the network", "needs LeRobot, in an environment of its own", "needs several GPUs"
NOT_RUN = {
    "bash scripts/demo.sh": "installs system packages; what it then evaluates is run by docs/quickstart.md",
    "bash scripts/test.sh": "runs the tests, this one among them",
    "pip install": NETWORK,
    "python scripts/evaluate.py --suite public\n": "needs the checkpoints of every recipe",
    "PYTHONPATH=path/to/stable-worldmodel": "needs the peer's code",
    "bash scripts/recipes/franka.sh": "takes hours; docs/compact.md shows its commands, which are run",
    "source .venv/bin/activate": "changes the reader's shell alone",
    ".venv/bin/pip install pre-commit": NETWORK,
    ".venv/bin/pre-commit install": "changes the checkout",
    "hf auth login": "needs an account",
    "python scripts/import_checkpoint.py vjepa2_ac_oss my-vjepa2-ac": "downloads 11.8 GB",
    "python3.12 -m venv lerobot-env": LEROBOT,
    "lerobot-env/bin/pip": LEROBOT,
    "lerobot-eval": LEROBOT,
    "lerobot-rollout": LEROBOT,
    "python -m lerobot_policy_vjepa_planner": LEROBOT,
    "accelerate launch --multi_gpu": GPUS,
}
"""Beginnings of commands that no test runs, and why; one with a line's end is a whole command."""

TRAINING = "--batch 4 --held-out 0.3 --device cpu"
SMALLER = {
    "choices": "--states 1 --before 1 --ways 2 --shaken 0",
    "collect": "--episodes 4 --episodes-per-shard 2 --processes 1",
    "collect_benchmark": "--episodes 6 --episodes-per-shard 2 --processes 1",
    "collect_practice": "--episodes 4 --episodes-per-shard 2 --processes 1",
    "dataset": "",
    "deploy": "--max-steps 6 --view none --device cpu",
    "doctor": "--steps 12 --device cpu",
    "evaluate": "--episodes 1",
    "import_checkpoint": "",
    "landscape": "--shell 8 --points 3",
    "pretrain": f"--steps 2 {TRAINING}",
    "probe": "--episodes 4 --judged 2 --steps 2 --gates.object 1e9 --gates.held 0 --gates.predicted 1e9",
    "pull": "",
    "push": "",
    "report": "--episodes 1 --windows 4 --steps 2 --shell 4 --search 8",
    "serve": "--device cpu --address 127.0.0.1",
    "train": f"--steps 2 --frames 3 {TRAINING}",
    "train_compact": f"--steps 2 --minimum-rank 0 {TRAINING} --batch 16",
    "train_heads": f"--steps 2 --rollouts 4 {TRAINING}",
    "train_views": f"--steps 2 {TRAINING}",
}
"""What is put after the words of every command of a program."""

SHORTER = {
    r"\bmax_steps: \d+": "max_steps: 1",
    r"\bsamples: \d+": "samples: 20",
    r"\bproposals: \d+": "proposals: 4",
    r"\bleading: \d+": "leading: 8",
}
"""What is changed in the plans of scripts/configs, which suites and practice read."""

STAND_INS = {
    "$(openssl rand -hex 16)": "a-token-of-sixteen",
    "--nproc-per-node 8": "--nproc-per-node 2",
    "/dev/ttyACM0": "ttyACM0",  # a file of the fake of LeRobot
    "--encoder.image-size 64": "--encoder.image-size 64 --output runs/small",  # the page's recipe has left another run
    "--latents.width 32 ": "--latents.width 32 --inverse-dynamics.modes 8 ",  # six short episodes have fewer actions
    "--output runs/mine-heads": "--output runs/mine-heads --inverse-dynamics.modes 8",
}
"""What of a command is another thing here."""

ARM_FILE = """\
arm: {kind: "my_arm.py:make_arm"}
limits: {workspace_low: [0.3, -0.3, 0.02], workspace_high: [0.7, 0.3, 0.5], max_speed: 0.5}
robot_type: fake
fixed: [roll, pitch, yaw, gripper]
"""
FILES = {
    "my_arm.py": "import time\nfrom fake_arms import FakeArm\n\n\ndef make_arm():\n    return FakeArm(time, 64)\n",
    "my-arm.yaml": ARM_FILE,
    "my-franka.yaml": ARM_FILE,
}
"""What readers have written, by the name that pages give it; `prepare` has what a single page says."""


def commands(page: Path) -> list[str]:
    """Returns the commands of a page that are run."""
    return [command for command in shown(page) if not f"{command}\n".startswith(tuple(NOT_RUN))]


def program_of(command: str) -> tuple[str, list[str]] | None:
    """Returns the program of ours that a command runs in a process, and its words; None if a shell must run it."""
    match [os.path.expanduser(word) for word in shlex.split(command, comments=True)]:
        case ["python", script, *words] if script.startswith("scripts/"):
            return Path(script).stem, words
        case ["vjepa-planner", name, *words]:
            return name.replace("-", "_"), words
    return None


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of play, and of an SO-101."""
    folder = tmp_path_factory.mktemp("theirs")
    made = run(folder, "collect", *"--output play --episodes 6 --image-size 64 --play.frames 13 --processes 1".split())
    assert made.status == 0, made.said
    write_so101(folder / "so101")
    return folder


@pytest.fixture
def place(
    tmp_path: Path, theirs: Path, vendor_libraries: None, server: object, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder like the root of a checkout, with what a page says is there."""
    for name in ("docs", "examples", "tests", "checkpoints"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    for plan in (tmp_path / "scripts/configs").rglob("*.yaml"):
        text = plan.read_text()
        for pattern, shorter in SHORTER.items():
            text = re.sub(pattern, shorter, text)
        plan.write_text(text)
    for name in ("NAME", "my-vjepa2-ac", "my-checkpoint"):
        (tmp_path / name).symlink_to(ROOT / "checkpoints/franka-tiny")
    (tmp_path / "FOLDER").symlink_to(theirs / "play")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    photograph(tmp_path, 64, 64)
    cases = "".join(f'scripts/{name}.py) set -- "$@" {words} ;;\n' for name, words in SMALLER.items())
    shorter = f'#!/bin/sh\ncase "$1" in\n{cases}esac\nexec {sys.executable} "$@"\n'
    for python, text in ((".venv", shorter), ("lerobot/.venv", f'#!/bin/sh\nexec {sys.executable} "$@"\n')):
        (tmp_path / python / "bin").mkdir(parents=True)  # what recipes run, and what drives LeRobot's arms
        (tmp_path / python / "bin/python").write_text(text)
        (tmp_path / python / "bin/python").chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests/fakes'}")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    held = nullcontext(SimpleNamespace(held=lambda: True))
    monkeypatch.setattr("planner.deployment.drive.Deadman", lambda: held)
    for module in ("deployment.program", "deployment.goals", "diagnostics.doctor_arm"):
        monkeypatch.setattr(f"planner.{module}.ask", lambda *_: "yes")
    monkeypatch.setattr("planner.deployment.drive.ask", lambda *_: "")  # Enter, for each action
    return tmp_path


def photograph(place: Path, width: int, height: int) -> None:
    """Writes a goal of the size of an arm's images."""
    Image.new("RGB", (width, height), (90, 90, 90)).save(place / "goal.png")


def prepare(page: Path, place: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts into a place what one page alone says is there, in its text or in its files of Python and YAML."""
    for name, text in re.findall(r"```python\n((?:# |\"\"\")(\w+\.py):.*?)```", page.read_text(), re.DOTALL):
        (place / text).write_text(name)
    match page.name:
        case "bring-your-own-arm.md":
            photograph(place, 640, 480)
            limits = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)[2]
            with (place / "my_xarm.py").open("a") as driver:
                driver.write(f"\n{limits}\nXArm.limits = LIMITS\n")
        case "checkpoints.md":
            shutil.copy(place / "scripts/configs/plan/official.yaml", place / "my-plan.yaml")
            poses = np.array([[0.5, 0.0, 0.3, np.pi, 0.0, 0.0, 0.0], [0.53, -0.04, 0.32, np.pi, 0.0, 0.0, 0.0]])
            images = np.random.default_rng(0).integers(0, 255, (1, 2, 60, 80, 3), dtype=np.uint8)
            np.savez(place / "franka_example_traj.npz", observations=images, states=poses[None])
        case "compact.md":
            (place / "mine.yaml").write_text("rate: 4.0\n")
        case "evaluation.md":
            (suite,) = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
            (place / "my-suite.yaml").write_text(suite)
        case "fine-tuning.md":
            (place / "data").mkdir()
            (place / "data/mine").symlink_to(theirs / "play")
        case "plugins.md":
            perform("python scripts/collect_benchmark.py --play.kind my_play.py:RandomMotion --output data/dot", place)
        case "recordings.md":
            photograph(place, 64, 48)
            (place / "FOLDER").unlink()
            (place / "FOLDER").symlink_to(theirs / "so101")
            (place / "my-arm.yaml").unlink()  # it is written
            model = MODEL.read_text().replace('site name="gripper"', 'site name="gripperframe"')
            (place / "so101_new_calib.xml").write_text(model)
        case "cube-single.md" | "fetch.md" | "pusht.md" | "scene.md":
            for package in ("ogbench", "gymnasium_robotics", "gym_pusht"):
                pytest.importorskip(package, reason="needs the extra `benchmarks`")
            monkeypatch.setenv("PYTHONPATH", str(ROOT))  # their OpenCV is the real one
            monkeypatch.setattr(sys, "path", [folder for folder in sys.path if not folder.endswith("tests/fakes")])
        case "sharing.md":
            monkeypatch.setattr(hub, "CHECKPOINTS", place / "pulled")
        case "upgrade.md":
            (place / "results/mine").mkdir(parents=True)


def perform(command: str, place: Path) -> None:
    """Runs a command in a place and fails with what it said if it fails."""
    ours = program_of(command)
    if ours is not None:
        name, words = ours
        ended = run(place, name, *words, *shlex.split(SMALLER[name]))
        complained = name == "doctor" and ended.status == 1 and "error:" not in ended.said  # of images without an arm
        late = name == "deploy" and re.search("observation is|no new image", ended.said)  # on a busy machine
        assert ended.status == 0 or complained or late, f"{command}\n{ended.told[-3000:]}\n{ended.said[-6000:]}"
        return
    script = re.search(r"scripts/(\w+)\.py", command)
    line = f"{command} {SMALLER[script[1]] if script else ''}"
    done = subprocess.run(["bash", "-c", line], cwd=place, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"


@contextmanager
def serving(words: list[str], place: Path) -> Iterator[None]:
    """Runs a plan server until it is interrupted."""
    command = [sys.executable, str(ROOT / "scripts/serve.py"), *words]
    server = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        assert server.stdout.readline().startswith("serving plans on ws://127.0.0.1:")
        yield
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_commands_of_a_page_run_one_after_another(
    page: Path, place: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(page, place, theirs, monkeypatch)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ExitStack() as served:
        for command in commands(page):
            began, here = time.monotonic(), command
            for shown_there, instead in {**STAND_INS, ":8000": f":{port}"}.items():
                here = here.replace(shown_there, instead)
            match program_of(here):
                case ["serve", words]:
                    served.close()  # the one before
                    served.enter_context(serving([*words, *SMALLER["serve"].split(), "--port", str(port)], place))
                case _:
                    perform(here, place)
            print(f"{time.monotonic() - began:6.1f} s  {command}")
