"""Recordings: read back as written, up to the last complete step, and made episodes to train on."""

from pathlib import Path

import numpy as np
import pytest

from envs.episodes import DatasetError
from envs.episodes.lerobot import read_dataset
from envs.episodes.recorder import RecordedStep, Recorder, add_to_dataset, read_recording
from envs.mujoco.arm import arm_action_spec
from envs.pose import difference
from envs.spec import Observation

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
        recorder.finish("panda")
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
