"""Programs that are killed, or whose disk is full, again and again: nothing is lost, and they end as unbroken ones.

Run as `pytest -s -m slow tests/test_interruptions.py`; each line it prints is a row of a table.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from envs.episodes.formats.lerobot import read_dataset
from tests.disks import contents, small_disk
from tests.recording_run import STEPS
from tests.recordings import write_ours
from tests.small_training import log_of, make_encoder
from world_model.checkpoints.checkpoint import read_manifest
from world_model.encoders.folder import save_encoder

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5
PLAY = "--play.frames 5 --play.wander 0 --play.push 0 --image-size 32 --episodes 10 --episodes-per-shard 1"
LEARN = (
    "--frames 3 --steps 30 --batch 4 --warmup 2 --context 1 --evaluate-horizon 2 --save-every 1 --held-out 0.34 "
    "--predictor.width 24 --predictor.depth 1 --predictor.heads 2 --device cpu --precision fp32"
)
COMMANDS = {
    "collect": f"scripts/collect.py --output {{out}} {PLAY} --processes 2",
    "convert": "scripts/dataset.py convert {data} {out} --image-size 16 --processes 2",
    "train": f"scripts/train.py --data {{data}} --encoder {{encoder}} --output {{out}} --cache {{out}}-cache {LEARN}",
    "record": "-m tests.recording_run {out}",
}
SIZES = {  # of disks on which each gets a little further [KiB]
    "collect": (4, 24, 60, 100, 160),
    "convert": (4, 12, 20, 28, 36),
    "train": (4, 60, 200, 400, 700),
    "record": (4, 30, 70, 110, 150),
}


class Place:
    """Inputs, somebody else's work, and how a program is started."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        write_ours(folder / "data")
        save_encoder(make_encoder(), folder / "encoder")
        (folder / "beside").mkdir()
        write_ours(folder / "beside/dataset")
        self._before = self._rest()

    def _rest(self) -> dict[str, bytes]:
        return {
            f"{part}/{name}": c
            for part in ("data", "encoder", "beside")
            for name, c in contents(self.folder / part).items()
        }

    def start(self, out: Path) -> subprocess.Popen[str]:
        words = COMMANDS[self.name].format(out=out, data=self.folder / "data", encoder=self.folder / "encoder").split()
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def finish(self, out: Path) -> None:
        process = self.start(out)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said

    def check_the_rest(self) -> None:
        assert self._rest() == self._before, "what was there before has changed"


@pytest.fixture(params=COMMANDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(tmp_path, request.param)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    yield from small_disk(tmp_path / "disk")


def progress(out: Path) -> set[tuple[str, int]]:
    """What can be seen of a run on disk."""
    found = set()
    for folder in (out, out.with_name(f"{out.name}-cache")):
        for path in folder.rglob("*"):
            try:
                found.add((str(path), path.stat().st_size))
            except FileNotFoundError:
                continue
    return found


def kill(process: subprocess.Popen[str], out: Path, generator: random.Random) -> bool:
    """Kills a run after a few changes on disk; returns whether it was still running."""
    left, before = generator.randint(1, 3), progress(out)
    while process.poll() is None and left:
        now = progress(out)
        left -= now != before
        before = now
        time.sleep(0.002)
    time.sleep(generator.uniform(0.0, 0.02))
    running = process.poll() is None
    process.kill()
    process.communicate()
    return running


def complete(out: Path) -> dict[str, bytes]:
    """The videos and recordings that are whole; they are never written again."""
    return {name: data for name, data in contents(out).items() if name.endswith(".mp4")}


def assert_same_end(name: str, out: Path, unbroken: Path) -> None:
    if name == "train":
        assert log_of(out) == log_of(unbroken)
        assert read_manifest(out / "checkpoint").files == read_manifest(unbroken / "checkpoint").files
        return
    ours, theirs = read_dataset(out), read_dataset(unbroken)
    if name == "record":  # what was recorded before is kept, and comes before the run that ended
        assert all(1 < length <= STEPS for length in ours.lengths)
        pairs = [(ours[index], theirs[0]) for index in range(len(ours))]
        assert ours.lengths.count(STEPS) >= 1
    else:
        pairs = list(zip(ours, theirs, strict=True))
        assert sorted(contents(out)) == sorted(contents(unbroken)), "something was left over"
        assert [c for n, c in contents(out).items() if n.startswith("data/")] == [
            c for n, c in contents(unbroken).items() if n.startswith("data/")
        ]
    for one, other in pairs:
        np.testing.assert_array_equal(one.poses, other.poses[: len(one)])
        assert np.abs(one.images - other.images[: len(one)].astype(float)).mean() < 1  # x264 is not quite the same


def test_killed_programs_end_as_unbroken_ones(place: Place) -> None:
    out, unbroken, generator = place.folder / "out", place.folder / "unbroken", random.Random(place.name)
    place.finish(unbroken)
    kills = 0
    for _ in range(ROUNDS):
        whole = complete(out)
        kills += kill(place.start(out), out, generator)
        assert whole.items() <= complete(out).items(), "what was complete has changed"
    place.finish(out)
    place.check_the_rest()
    assert_same_end(place.name, out, unbroken)
    print(f"\n| {place.name} | kill -9 | {kills} of {ROUNDS} while it ran | ends as an unbroken run |")
    assert kills == ROUNDS


def test_programs_on_full_disks_say_so_and_go_on(place: Place, disk: Callable[..., Path]) -> None:
    unbroken, folder = place.folder / "unbroken", disk("4k")
    out = folder / "out"
    place.finish(unbroken)
    stopped = []
    for size in SIZES[place.name]:
        subprocess.run(["mount", "-o", f"remount,size={size}k", folder], check=True)
        process = place.start(out)
        said, _ = process.communicate(timeout=300)
        lines = [line for line in re.split(r"[\r\n]+", said) if "error:" in line]
        assert process.returncode == 1 and len(lines) == 1 and "Traceback" not in said, said
        assert "No space left on device" in lines[0] or "more disk" in lines[0], said
        assert re.search(r"--(output|cache|record)|OUTPUT", lines[0]) and str(folder) in lines[0], said
        stopped.append(size)
    subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    place.finish(out)
    place.check_the_rest()
    assert_same_end(place.name, out, unbroken)
    print(f"\n| {place.name} | full disk | {len(stopped)} of {ROUNDS} refused in one line | ends as an unbroken run |")
