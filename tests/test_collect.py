"""The collecting program: shards, resuming, what it prints of an object."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from envs.episodes.formats.lerobot import read_dataset
from tests.commands import Ended, run
from tests.disks import contents
from tests.recordings import write_ours

ROOT = Path(__file__).resolve().parent.parent
PLAY = "{frames: 5, wander: 0.0, visit: 0.0, push: 0.0, chain: 1.0}"
CONFIG = """
output: {output}
episodes: 3
episodes_per_shard: 2
image_size: 32
processes: 1
scene: {{blocks: 0, objects: 1}}
play: {play}
"""


TWO = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1")


def write_config(folder: Path, changes: dict[str, str]) -> list[str]:
    """Writes the settings and returns the flags."""
    config = folder / "collect.yaml"
    config.write_text(CONFIG.format(output=folder / "data", play=PLAY))
    changed = [part for name, value in changes.items() for part in (f"--{name.replace('_', '-')}", value)]
    return ["--config", str(config), *changed]


def collect(folder: Path, **changes: str) -> Ended:
    return run(ROOT, "collect", *write_config(folder, changes))


def launch(folder: Path, launcher: tuple[str, ...], **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, "scripts/collect.py", *write_config(folder, changes)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_a_collection_goes_on_where_it_stopped_and_says_what_happened_to_the_object(tmp_path: Path) -> None:
    first = collect(tmp_path)
    assert first.status == 0, first.said
    assert "3 episodes, 15 frames at 4 Hz" in first.told
    assert "object touched in" in first.told and "grasps" in first.told
    before = read_dataset(tmp_path / "data")[2]
    for path in (tmp_path / "data").rglob("*file-001*"):
        path.unlink()
    again = collect(tmp_path)
    assert again.status == 0, again.said
    assert again.told == first.told
    after = read_dataset(tmp_path / "data")[2]
    np.testing.assert_array_equal(after.poses, before.poses)
    assert np.abs(after.images - before.images.astype(float)).mean() < 1  # x264 is not quite the same every time
    other = collect(tmp_path, seed="7")
    assert other.status != 0
    assert "was begun with other settings" in other.said
    assert "was begun with other settings" in collect(tmp_path, episodes="5").said  # its last shard is not full


def test_a_view_holds_the_same_episodes_in_other_pictures(tmp_path: Path) -> None:
    assert collect(tmp_path).status == 0
    changes = {
        "output": str(tmp_path / "view"),
        "variation.camera_turn": "8",
        "variation.brightness": "0.3",
    }
    made = run(ROOT, "collect", *write_config(tmp_path, changes), "--every-frame")
    assert made.status == 0, made.said
    plain, view = read_dataset(tmp_path / "data"), read_dataset(tmp_path / "view")
    for episode in range(len(plain)):
        np.testing.assert_array_equal(view[episode].poses, plain[episode].poses)
        assert np.abs(view[episode].images - plain[episode].images.astype(float)).mean() > 5


def assert_same_episodes(one: Path, other: Path) -> None:
    ours, theirs = read_dataset(one), read_dataset(other)
    assert [place.seed for place in ours.places] == [place.seed for place in theirs.places]
    for first, second in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(first.poses, second.poses)
        assert np.abs(first.images - second.images.astype(float)).mean() < 1  # see above


@pytest.mark.slow
def test_launched_processes_share_a_collection_out_and_any_number_goes_on(tmp_path: Path) -> None:
    alone, two = tmp_path / "data", tmp_path / "two"
    first = launch(tmp_path, (), episodes_per_shard="1")
    found = launch(tmp_path, TWO, episodes_per_shard="1", output=str(two))
    assert found.returncode == 0, found.stderr[-6000:]
    assert found.stdout.replace(str(two), str(alone)) == first.stdout  # one of them tells, of all episodes
    assert_same_episodes(alone, two)
    for path in two.rglob("*file-00[12]*"):
        path.unlink()
    kept = {path: path.stat().st_mtime_ns for path in two.rglob("*file-000.mp4")}
    assert launch(tmp_path, TWO, episodes_per_shard="1", output=str(two)).stdout == found.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert_same_episodes(alone, two)
    assert launch(tmp_path, (), episodes_per_shard="1", output=str(two)).stdout == found.stdout
    other = launch(tmp_path, TWO, episodes_per_shard="1", output=str(two), seed="7")
    assert other.returncode != 0
    assert "was begun with other settings" in other.stderr


def test_a_finished_collection_goes_on_to_more_episodes(tmp_path: Path) -> None:
    assert collect(tmp_path, episodes="2").status == 0
    before = read_dataset(tmp_path / "data")[1].images
    more = collect(tmp_path)
    assert more.status == 0, more.said
    after = read_dataset(tmp_path / "data")
    assert len(after) == 3 and (after[1].images == before).all()


@pytest.mark.parametrize("seed", ["9998", "-1"])
def test_seeds_that_are_held_out_are_not_recorded(tmp_path: Path, seed: str) -> None:
    refused = collect(tmp_path, seed=seed)
    assert refused.status != 0
    assert "those from 10000 on are" in refused.said.replace("\n", " ") or "held out" in refused.said
    assert not (tmp_path / "data").exists()


def test_somebody_elses_dataset_is_not_collected_into(tmp_path: Path) -> None:
    write_ours(tmp_path / "data")
    before = contents(tmp_path / "data")
    refused = collect(tmp_path)
    assert refused.status == 1
    said = f"error: --output {tmp_path}/data holds something else (data, meta, videos): nothing was written"
    assert refused.said.startswith(said)
    assert contents(tmp_path / "data") == before
