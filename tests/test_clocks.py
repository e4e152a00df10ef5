"""Clocks of recordings: jitter, epochs, gaps, repeated, lost and wrong times, in every format that has a clock."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import recordings as fixtures
import yaml
from readings import V21_POSE, counters, edit_h5, open_layout
from recordings import LENGTHS, RATE

from envs.episodes.formats.lerobot import read_dataset

TABLE = "data/chunk-000/episode_000000.parquet"
DROID_CLOCK = "observation/timestamp/cameras/22222222_estimated_capture"


@pytest.fixture
def root(tmp_path):
    fixtures.write_v21(tmp_path / "v2.1")
    return tmp_path


def set_clock(root: Path, change, kind=None) -> None:
    """Changes the timestamps of the first episode."""
    path = root / "v2.1" / TABLE
    table = pq.read_table(path)
    times = np.asarray(change(np.arange(len(table)) / RATE), float)
    place = table.column_names.index("timestamp")
    pq.write_table(table.set_column(place, "timestamp", pa.array(times).cast(kind or pa.float64())), path)


def refusal(root: Path, **changes) -> str:
    return open_layout(root, "v2.1", **changes).problems[0]


def pause(times: np.ndarray) -> np.ndarray:
    return times + 3.0 * (np.arange(len(times)) >= 10)


def jitter(times: np.ndarray) -> np.ndarray:
    return times + np.random.default_rng(5).uniform(-0.01, 0.01, len(times))


def test_a_clock_that_jitters_is_followed_by_time_and_needs_a_rate(root):
    set_clock(root, jitter)
    assert "give `rate`" in refusal(root)
    source = open_layout(root, "v2.1", rate=5.0)
    assert not source.problems
    assert counters(source[0].images) == list(range(0, LENGTHS[0], 3))


def test_a_clock_counts_from_its_first_time(root):
    set_clock(root, lambda times: times + 1.7e9)
    source = open_layout(root, "v2.1")
    assert not source.problems
    assert source.lengths == LENGTHS
    assert counters(source[0].images) == list(range(LENGTHS[0]))


def test_times_that_float32_cannot_tell_apart_are_refused_as_lost(root):
    set_clock(root, lambda times: times + 1.7e9, pa.float32())
    for rate in (None, 5.0):
        assert "stored as float32, which tells only times 128 s apart" in refusal(root, rate=rate)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (np.zeros_like, "the frames 0 to 23 were all taken at 0.0000 s"),
        (lambda times: np.where(np.arange(24) // 4 == 2, times[8], times), "the frames 8 to 11 were all"),
        (lambda times: np.where(np.arange(24) == 7, 0.1, times), "runs backwards: frame 6"),
        (lambda times: 1.7e18 + 1e9 * times, "are they in another unit?"),
        (lambda times: np.where(np.arange(24) == 7, np.nan, times), "timestamp of frame 7 is no number"),
    ],
)
def test_a_clock_that_says_nothing_is_refused_at_any_rate(root, change, expected):
    set_clock(root, change)
    for rate in (None, 5.0):
        assert expected in refusal(root, rate=rate)


def test_frames_that_came_evenly_need_no_clock(root):
    set_clock(root, np.zeros_like)
    source = open_layout(root, "v2.1", recorded_rate=RATE, rate=5.0)
    assert counters(source[0].images) == list(range(0, LENGTHS[0], 3))


@pytest.mark.parametrize("rate", [None, 1.0, 5.0])
def test_a_gap_is_a_gap_at_any_rate(root, rate):
    set_clock(root, pause)
    found = refusal(root, rate=rate)
    assert "has a gap: 3.067 s after frame 9" in found
    assert "gaps: cut" in found


def test_a_gap_is_cut_and_no_action_goes_over_it(root):
    set_clock(root, pause)
    source = open_layout(root, "v2.1", gaps="cut")
    assert not source.problems
    assert source.lengths == (10, LENGTHS[0] - 10, *LENGTHS[1:])
    assert [name.rpartition(", ")[2] for name in source.names[:2]] == ["part 1", "part 2"]
    assert counters(source[0].images) == list(range(10))
    assert counters(source[1].images) == list(range(10, LENGTHS[0]))
    assert counters(source[2].images)[0] == LENGTHS[0]
    whole = fixtures.trajectories()[0].poses
    np.testing.assert_allclose(source[1].poses[:, :3], whole[10:, :3], atol=1e-5)


def test_a_part_that_is_too_short_is_named(root, caplog):
    set_clock(root, lambda times: times + 3.0 * (np.arange(len(times)) >= 1))
    with caplog.at_level(logging.WARNING):
        source = open_layout(root, "v2.1", gaps="cut")
    assert source.lengths == (LENGTHS[0] - 1, *LENGTHS[1:])
    assert "part 1: it has 1 frames at 15 Hz, too few for an action, and is left out" in caplog.text


def test_a_clock_at_another_rate_than_stated_is_followed_and_said(root, caplog):
    set_clock(root, lambda times: times * 1.5)
    assert "should be" in refusal(root)
    with caplog.at_level(logging.WARNING):
        source = open_layout(root, "v2.1", rate=5.0)
    assert counters(source[0].images) == list(range(0, LENGTHS[0], 2))
    assert "shows 10 frames a second, 15 are stated; the clock counts" in caplog.text


def test_droids_clock_is_checked_alike(tmp_path):
    fixtures.write_droid(tmp_path / "droid")
    path = next((tmp_path / "droid").glob("success/2023-07-01/run/trajectory.h5"))
    edit_h5(path, DROID_CLOCK, lambda times: times + 3000 * (np.arange(len(times)) >= 10))
    for rate in (None, 1.0):
        assert "has a gap" in open_layout(tmp_path, "droid", rate=rate).problems[0]
    assert open_layout(tmp_path, "droid", gaps="cut").lengths[:2] == (10, LENGTHS[0] - 10)
    edit_h5(path, DROID_CLOCK, np.zeros_like)
    assert "stands still" in open_layout(tmp_path, "droid").problems[0]


def test_a_clock_that_drifts_needs_a_rate(root):
    set_clock(root, lambda times: times * 1.02)
    assert "give `rate`" in refusal(root)
    assert counters(open_layout(root, "v2.1", rate=5.0)[0].images)[:4] == [0, 3, 6, 9]


def test_a_jittering_clock_leaves_the_frames_of_a_shared_video_to_their_numbers(tmp_path):
    fixtures.write_v3(tmp_path / "v3.0")
    for path in (tmp_path / "v3.0").glob("data/**/*.parquet"):
        table = pq.read_table(path)
        times = jitter(table["timestamp"].to_numpy().astype(float)) + 1.7e9
        place = table.column_names.index("timestamp")
        pq.write_table(table.set_column(place, "timestamp", pa.array(times)), path)
    source = open_layout(tmp_path, "quaternion", rate=5.0)
    assert not source.problems
    for episode, length in enumerate(LENGTHS):
        first = sum(LENGTHS[:episode])
        assert counters(source[episode].images) == [first + frame for frame in range(0, length, 3)]


def run_program(*arguments) -> subprocess.CompletedProcess:
    program = Path(__file__).parent.parent / "scripts/dataset.py"
    return subprocess.run([sys.executable, program, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_validate_and_convert_see_the_same_gap(root):
    set_clock(root, pause)
    reading, folder, output = root / "reading.yaml", root / "v2.1", root / "out"
    reading.write_text(yaml.safe_dump({"pose": V21_POSE, "rate": 5.0}))
    for command in (("validate", folder), ("convert", folder, output)):
        done = run_program(*command, "--reading", reading, "--processes", 1)
        assert done.returncode != 0
        assert "has a gap: 3.067 s after frame 9" in done.stdout + done.stderr
        assert "gaps: cut" in done.stdout + done.stderr
    assert not (output / "meta/info.json").exists()
    reading.write_text(yaml.safe_dump({"pose": V21_POSE, "rate": 5.0, "gaps": "cut"}))
    output = root / "cut"
    for command in (("validate", folder), ("convert", folder, output)):
        done = run_program(*command, "--reading", reading, "--processes", 1)
        assert done.returncode == 0, done.stderr
    assert read_dataset(output).lengths == open_layout(root, "v2.1", rate=5.0, gaps="cut").lengths
