"""Recordings: read back as written, up to the last complete step, and made episodes to train on."""

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.episodes import DatasetError
from envs.episodes.formats.lerobot import read_dataset
from envs.episodes.recorder import RecordedStep, Recorder, read_recording
from envs.episodes.recording_dataset import add_missing, add_to_dataset
from envs.folders import FolderError
from envs.pose import difference
from envs.simulation.arm import arm_action_spec
from envs.spec import Observation
from tests.disks import contents, small_disk

START = np.array([0.5, 0.0, 0.25, np.pi, 0.0, 0.0, 0.0])


def make_steps(count: int, size: int = 32) -> list[RecordedStep]:
    generator = np.random.default_rng(count)
    steps = []
    for index in range(count):
        image = generator.integers(0, 256, (size, size, 3), dtype=np.uint8)
        seen = Observation(image, START + 0.01 * index, 100.0 + 0.25 * index)
        action, commanded, sent = generator.normal(size=(3, 7))
        steps.append(RecordedStep(seen, action, commanded, sent, ("speed",), 0.5, 0.1, {"waited": 0.2}))
    return [*steps[:-1], RecordedStep(steps[-1].observation)]


def record(folder: Path, steps: list[RecordedStep]) -> Path:
    with Recorder(folder, arm_action_spec(), task="reach") as recorder:
        for step in steps:
            recorder.record(step)
    return recorder.path


def assert_same(steps: tuple[RecordedStep, ...], expected: list[RecordedStep]) -> None:
    assert len(steps) == len(expected)
    for step, wanted in zip(steps, expected, strict=True):
        np.testing.assert_array_equal(step.observation.image, wanted.observation.image)
        np.testing.assert_array_equal(step.observation.pose, wanted.observation.pose)
        for name in ("action", "commanded", "sent"):
            np.testing.assert_array_equal(getattr(step, name), getattr(wanted, name))
        assert step.observation.time == wanted.observation.time
        assert (step.reasons, step.timings) == (wanted.reasons, dict(wanted.timings))
        np.testing.assert_array_equal([step.cost, step.seconds], [wanted.cost, wanted.seconds])


def test_a_recording_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    steps = make_steps(4)
    recording = read_recording(record(tmp_path, steps))
    assert_same(recording.steps, steps)
    assert recording.complete and recording.task == "reach" and recording.spec == arm_action_spec()


def test_steps_are_in_the_file_before_it_is_closed(tmp_path: Path) -> None:
    steps, recorder = make_steps(3), Recorder(tmp_path, arm_action_spec())
    for count, step in enumerate(steps, start=1):
        recorder.record(step)
        assert len(read_recording(recorder.path).steps) == count
    recorder.close()
    with pytest.raises(DatasetError, match="finished"):
        recorder.record(steps[0])


def test_a_recording_cut_at_any_byte_is_read_to_its_last_complete_step(tmp_path: Path) -> None:
    path, steps = record(tmp_path, make_steps(3, size=4)), make_steps(3, size=4)
    content, ends = path.read_bytes(), []
    for cut in range(len(content), 0, -1):
        path.write_bytes(content[:cut])
        try:
            recording = read_recording(path)
        except DatasetError as error:
            assert "cut short" in str(error)
            break
        if recording.complete:
            ends.append(cut)
        assert_same(recording.steps, steps[: len(recording.steps)])
    assert len(ends) == 4  # the description alone, and after each step


def test_damage_within_a_step_ends_the_recording_there(tmp_path: Path) -> None:
    path = record(tmp_path, make_steps(4))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    recording = read_recording(path)
    assert len(recording.steps) == 1 and not recording.complete


def test_what_is_no_recording_is_named(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"RIFF")
    with pytest.raises(DatasetError, match="other is no recording"):
        read_recording(tmp_path / "other")
    with pytest.raises(DatasetError, match="missing"):
        read_recording(tmp_path / "none")


def test_finished_recordings_become_episodes_of_one_dataset(tmp_path: Path) -> None:
    runs = [make_steps(3), make_steps(5)]
    for steps in runs:
        recorder = Recorder(tmp_path, arm_action_spec(), task="reach")
        for step in steps:
            recorder.record(step)
        recorder.close()
        add_to_dataset(recorder.path, tmp_path, "panda")
    dataset = read_dataset(tmp_path)
    assert [len(dataset[index]) for index in range(len(dataset))] == [3, 5]
    poses = np.stack([step.observation.pose for step in runs[1]])
    np.testing.assert_allclose(dataset[1].poses, poses, atol=1e-6)
    np.testing.assert_allclose(dataset[1].actions, difference(poses[:-1], poses[1:]), atol=1e-6)
    with pytest.raises(DatasetError, match="folder of its own"):
        add_to_dataset(record(tmp_path, make_steps(3, size=48)), tmp_path, "panda")
    assert len(read_dataset(tmp_path)) == 2


def test_a_recording_of_one_step_is_no_episode(tmp_path: Path) -> None:
    for count in (0, 1):
        with Recorder(tmp_path, arm_action_spec()) as recorder:
            for step in make_steps(1)[:count]:
                recorder.record(step)
        with pytest.raises(DatasetError):
            add_to_dataset(recorder.path, tmp_path, "panda")
    assert not (tmp_path / "meta").exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    yield from small_disk(tmp_path / "disk")


def test_a_full_disk_keeps_the_complete_steps_and_the_recording_can_be_added_later(disk: Callable[..., Path]) -> None:
    folder, steps = disk("40k"), make_steps(5, size=64)
    with pytest.raises(OSError, match="No space left") as raised, Recorder(folder, arm_action_spec()) as recorder:
        for step in steps:
            recorder.record(step)
    assert raised.value.filename == str(recorder.path) and recorder.steps == 3
    recording = read_recording(recorder.path)
    assert recording.complete
    assert_same(recording.steps, steps[:3])
    before = recorder.path.read_bytes()
    with pytest.raises(OSError, match="No space left"):
        add_to_dataset(recorder.path, folder, "panda")
    assert recorder.path.read_bytes() == before
    os.system(f"mount -o remount,size=4m {folder}")
    add_to_dataset(recorder.path, folder, "panda")
    assert len(read_dataset(folder)[0]) == 3


def test_a_recording_that_cannot_begin_leaves_no_file(disk: Callable[..., Path]) -> None:
    folder = disk("16k")
    with Recorder(folder, arm_action_spec()):
        pass
    (folder / "fill").write_bytes(b"")
    with pytest.raises(OSError), (folder / "fill").open("wb", buffering=0) as fill:
        while True:
            fill.write(bytes(4096))
    with pytest.raises(OSError, match="No space left"):
        Recorder(folder, arm_action_spec())
    assert len(list((folder / "recordings").iterdir())) == 1


def test_recordings_that_were_kept_out_of_their_dataset_are_added_once(tmp_path: Path, caplog) -> None:
    finished = record(tmp_path, make_steps(3))
    add_to_dataset(finished, tmp_path, "panda")
    lost, short, other = (record(tmp_path, steps) for steps in (make_steps(5), make_steps(1), make_steps(3, size=48)))
    running = Recorder(tmp_path, arm_action_spec())
    for step in make_steps(4):
        running.record(step)
    with caplog.at_level(logging.WARNING):
        assert add_missing(tmp_path, "panda") == [lost]
    assert other.name in caplog.text and short.name not in caplog.text
    running.close()
    assert add_missing(tmp_path, "panda") == [running.path] and add_missing(tmp_path, "panda") == []
    dataset = read_dataset(tmp_path)
    assert [len(dataset[index]) for index in range(len(dataset))] == [3, 5, 4]


def test_a_dataset_that_was_killed_before_its_index_is_completed_and_keeps_to_its_kind(tmp_path: Path, caplog) -> None:
    add_to_dataset(record(tmp_path, make_steps(3)), tmp_path, "panda")
    (tmp_path / "meta/info.json").unlink()
    assert add_missing(tmp_path, "panda") == [] and len(read_dataset(tmp_path)) == 1
    (tmp_path / "meta/info.json").unlink()
    with pytest.raises(DatasetError, match="folder of its own"):
        add_to_dataset(record(tmp_path, make_steps(3, size=48)), tmp_path, "panda")
    add_to_dataset(record(tmp_path, make_steps(4)), tmp_path, "panda")
    assert len(read_dataset(tmp_path)) == 2


def test_nothing_is_recorded_into_another_programs_folder_or_among_other_actions(tmp_path: Path) -> None:
    (tmp_path / "theirs/meta").mkdir(parents=True)
    (tmp_path / "theirs/meta/info.json").write_text('{"codebase_version": "v3.0"}')
    before = contents(tmp_path)
    with pytest.raises(FolderError, match=r"--record .*theirs holds something else"):
        Recorder(tmp_path / "theirs", arm_action_spec())
    assert contents(tmp_path) == before
    add_to_dataset(record(tmp_path / "ours", make_steps(3)), tmp_path / "ours", "panda")
    with pytest.raises(DatasetError, match="recordings of other actions"):
        Recorder(tmp_path / "ours", replace(arm_action_spec(), rate=9.0))
