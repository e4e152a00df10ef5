"""Joints and Euler angles over whole turns: followed, or brought to the convention, where certain; else refused."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hdf5_recordings import write_demonstrations
from scipy.spatial.transform import Rotation

from envs.config import load_config
from envs.episodes import DatasetError, Episode
from envs.episodes.columns import JointAngles
from envs.episodes.columns import Rotation as RotationColumn
from envs.episodes.formats.lerobot import finalize_dataset, write_shard
from envs.episodes.open import open_dataset
from envs.episodes.reading import Reading
from envs.pose import matrix_from_euler
from envs.spec import ActionSpec

TURN = 2 * np.pi
TURNING = np.column_stack([0.3 * np.sin(np.arange(40) / 9), 2.0 + 0.11 * np.arange(40), -2.5 - 0.07 * np.arange(40)])
"""Two of three joints leave -pi..pi, one upwards and one downwards."""


def into_range(angles: np.ndarray, low: float, turn: float = TURN) -> np.ndarray:
    """Angles as an encoder reports them, from `low` on over one turn."""
    return np.mod(angles - low, turn) + low


def open_joints(folder: Path, *episodes: np.ndarray, unit: str = "rad", **reading):
    write_demonstrations(folder / "joints.hdf5", [{"q": values, "grip": values[:, :1] * 0} for values in episodes])
    joints = {"key": "q", "names": ["pan", "lift", "roll"], "unit": unit}
    return open_dataset(folder, load_config(Reading, {"pose": {"kind": "joints", "joints": joints}} | reading))


@pytest.mark.parametrize(
    ("recorded", "unit"),
    [
        (into_range(TURNING, -np.pi), "rad"),
        (into_range(TURNING, 0.0), "rad"),
        (into_range(np.degrees(TURNING), -180.0, 360.0), "deg"),
        (into_range(np.degrees(TURNING), 0.0, 360.0), "deg"),
        (into_range(TURNING, -np.pi).astype(np.float32), "rad"),
    ],
    ids=["-pi..pi", "0..2 pi", "-180..180", "0..360", "float32"],
)
def test_a_joint_that_wraps_is_followed_over_whole_turns(tmp_path, caplog, recorded, unit):
    assert np.abs(np.diff(recorded, axis=0)).max() > 6
    with caplog.at_level(logging.WARNING):
        source = open_joints(tmp_path, recorded, recorded[:20], unit=unit)
    poses, actions = source.poses_actions(0)
    np.testing.assert_allclose(np.diff(poses, axis=0), np.diff(TURNING, axis=0), atol=1e-5)
    np.testing.assert_allclose(actions, np.diff(TURNING, axis=0), atol=1e-5)
    np.testing.assert_allclose(poses[0], recorded[0] * (np.pi / 180 if unit == "deg" else 1), rtol=1e-6)
    assert max(source.spec.high) < 0.2
    remarks = [record.message for record in caplog.records if "wrap" in record.message]
    assert len(remarks) == 1
    assert "of 2 episodes" in remarks[0]
    assert "demo_0: joint '" in remarks[0]
    assert "between the rows" in remarks[0]


def test_turns_are_followed_at_the_recorded_rate_before_frames_are_chosen(tmp_path):
    fast = np.zeros((41, 3))
    fast[:, 2] = 0.55 * np.arange(41)  # 2.75 rad from one chosen frame to the next: its wraps are no certain ones
    source = open_joints(tmp_path, into_range(fast, -np.pi), rate=2)
    np.testing.assert_allclose(source.poses_actions(0)[1][:, 2], 2.75, atol=1e-5)


def test_joints_that_never_wrap_are_what_was_recorded(tmp_path, caplog):
    still = np.sin(TURNING) * 3.1
    with caplog.at_level(logging.WARNING):
        poses, _ = open_joints(tmp_path, still).poses_actions(0)
    np.testing.assert_array_equal(poses, still.astype(np.float32))
    assert not caplog.records


def broken_joints(folder: Path, values: np.ndarray, **options) -> str:
    """Why an episode is not read, beside one that is."""
    return open_joints(folder, np.zeros((10, 3)), values, **options).problems[1]


def test_a_jump_that_is_no_whole_turn_is_refused_with_joint_rows_and_jump(tmp_path):
    cut = np.zeros((30, 3))
    cut[12:, 1] = 4.0
    problem = broken_joints(tmp_path, cut)
    assert "joint 'lift' of 'q' goes from 0.000 to 4.000 rad between the rows 11 and 12, 4.000 rad: too" in problem
    assert "leave the episode out" in problem


def test_an_action_of_more_than_half_a_turn_is_never_motion(tmp_path):
    fast = np.zeros((40, 3))
    fast[:, 0] = 0.8 * np.arange(40)
    assert "at most 4 are possible" in broken_joints(tmp_path, fast)
    fast = np.where(np.arange(40)[:, None] < 14, fast, fast[14])
    problem = broken_joints(tmp_path, fast, rate=2)
    assert "'pan' goes +4 rad from frame 0 to the next, 0.5 s later: more than half a turn" in problem
    assert "Give a higher rate" in problem
    assert 1 not in open_joints(tmp_path, np.zeros((10, 3)), fast, rate=5).problems


def test_our_own_dataset_with_an_action_of_a_whole_turn_is_not_read_either(tmp_path):
    spec = ActionSpec(("pan",), ("rad",), (-7.0,), (7.0,), "joints", 10.0)
    poses = into_range(TURNING[:, 1:2], -np.pi)
    images = np.zeros((len(poses), 16, 16, 3), np.uint8)
    write_shard(tmp_path, 0, [Episode(images, poses, np.diff(poses, axis=0), 10.0, spec, "turn")])
    finalize_dataset(tmp_path, "arm")
    with pytest.raises(DatasetError, match=r"episode 0 in .*'pan' goes -6.* rad .* more than half a turn"):
        open_dataset(tmp_path).poses_actions(0)


@pytest.mark.parametrize(
    ("values", "unit"), [(TURNING * 180 / np.pi, "rad"), (2048 + 1000 * np.sin(TURNING), "deg")], ids=["deg", "steps"]
)
def test_numbers_that_no_joint_reaches_are_asked_for_their_unit(tmp_path, values, unit):
    problem = broken_joints(tmp_path, values, unit=unit)
    assert "at most 4 are possible" in problem
    assert "unit: deg" in problem
    assert "encoder steps" in problem
    assert "Correct the Reading" in problem


def test_rows_that_are_not_finite_hide_no_wrap():
    values = into_range(TURNING, -np.pi)
    row = int(np.argmax(np.abs(np.diff(values[:, 1]))))
    values[row] = np.nan
    columns, where = JointAngles("q", ("pan", "lift", "roll")).continuous({"q": values})
    finite = np.isfinite(columns["q"]).all(axis=1)
    assert np.abs(np.diff(columns["q"][finite], axis=0)).max() < 0.3
    assert f"rows {row - 1} and {row + 1}" in where


def test_only_the_joints_of_a_column_are_followed():
    values = np.column_stack([into_range(TURNING[:, 1], 0.0), np.arange(40) * 7.0])
    columns, _ = JointAngles("q", ("lift",), indices=(0,)).continuous({"q": values})
    np.testing.assert_array_equal(columns["q"][:, 1], values[:, 1])
    np.testing.assert_allclose(np.diff(columns["q"][:, 0]), 0.11)


ARM = """<mujoco><worldbody><body><joint name="pan" axis="0 0 1"/><geom size=".1"/><body pos=".3 0 0">
<joint name="lift" axis="0 1 0"/><geom size=".1"/><body pos=".3 0 0"><joint name="roll" axis="1 0 0"/><geom size=".1"/>
<site name="hand" pos=".2 .1 0"/></body></body></body></worldbody></mujoco>"""


def test_wraps_and_cuts_are_told_apart_before_forward_kinematics(tmp_path):
    (tmp_path / "arm.xml").write_text(ARM)
    joints = {"key": "q", "names": ["pan", "lift", "roll"]}
    pose = {"kind": "forward_kinematics", "joints": joints, "model": tmp_path / "arm.xml", "site": "hand"}
    cut = TURNING / 3
    cut[20:] += 4.5
    episodes = (TURNING, into_range(TURNING, -np.pi), cut)
    source = open_joints(tmp_path / "d", *episodes, pose=pose | {"gripper": None})
    (poses, actions), (again, others) = source.poses_actions(0), source.poses_actions(1)
    np.testing.assert_allclose(again, poses, atol=1e-5)
    np.testing.assert_allclose(others, actions, atol=1e-5)
    assert "between the rows 19 and 20" in source.problems[2]


def euler(values: np.ndarray, **options) -> np.ndarray:
    return RotationColumn("e", "euler", **options).euler({"e": values})


def sample_euler(count: int = 200) -> np.ndarray:
    limits = np.array([np.pi, np.pi / 2, np.pi])
    return np.random.default_rng(3).uniform(-limits, limits, (count, 3))


def test_euler_angles_within_the_convention_stay_bit_for_bit():
    for values in (
        sample_euler(),
        np.full((2, 3), (np.pi, -np.pi / 2, -np.pi)),
        np.array([[np.pi, np.pi / 2, 3]], np.float32),
    ):
        np.testing.assert_array_equal(euler(values), values.astype(np.float64))


@pytest.mark.parametrize("unit", ["rad", "deg"])
def test_euler_angles_from_0_to_2_pi_become_those_of_the_convention(unit):
    true = sample_euler()
    recorded = into_range(true, 0.0) * (180 / np.pi if unit == "deg" else 1)
    np.testing.assert_allclose(euler(recorded, unit=unit), true, atol=1e-9)


def test_euler_angles_whose_pitch_tips_over_become_the_same_rotation_in_the_convention():
    tipped = sample_euler() * (1, 2, 1)
    found = euler(tipped)
    np.testing.assert_allclose(matrix_from_euler(found), matrix_from_euler(tipped), atol=1e-9)
    assert np.abs(found[:, 1]).max() <= np.pi / 2
    assert np.abs(found).max() <= np.pi
    np.testing.assert_allclose(euler(tipped, axes="ZYX")[:, [0, 1, 2]], euler(tipped[:, ::-1]), atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "axes"), [("euler", "xyz"), ("euler", "ZYX"), ("rotation_vector", "xyz")], ids=["xyz", "ZYX", "vector"]
)
def test_angles_of_more_than_two_turns_are_asked_for_their_unit(kind, axes):
    values = np.zeros((5, 3))
    values[3] = 179.0, 0, 0
    with pytest.raises(
        DatasetError, match=r"row 3 of 'e' has an angle of 28\.5 turns in the unit rad, at most 2 .*unit: deg"
    ):
        RotationColumn("e", kind, axes=axes).euler({"e": values})
    RotationColumn("e", kind, axes=axes, unit="deg").euler({"e": values})


def test_the_sign_of_a_quaternion_does_not_matter_and_one_of_no_length_is_refused():
    values = Rotation.random(20, np.random.default_rng(0)).as_quat()
    column = RotationColumn("e", "quaternion_xyzw")
    flipped = values * np.where(np.arange(20) % 3, 1, -1)[:, None]
    np.testing.assert_allclose(column.euler({"e": flipped}), column.euler({"e": values}), atol=1e-12)
    values[7] = 0
    with pytest.raises(DatasetError, match=r"row 7 of 'e' is no quaternion xyzw.*1 such of 20"):
        column.euler({"e": values})


@pytest.mark.slow
def test_validate_convert_and_inspect_see_the_same(tmp_path):
    wrapped, cut = into_range(TURNING, -np.pi), np.where(np.arange(40)[:, None] < 20, 0, 4.0) * np.ones(3)
    joints = {"key": "q", "names": ["pan", "lift", "roll"]}
    reading = {"pose": {"kind": "joints", "joints": joints}, "crop": "square", "image_size": 32}
    open_joints(tmp_path / "d", wrapped, cut)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(reading))
    program = [sys.executable, Path(__file__).parent.parent / "scripts/dataset.py"]

    def run(*words: object) -> tuple[int, str]:
        command = [*map(str, (*program, *words, "--reading", tmp_path / "r.yaml"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    reason = "between the rows 19 and 20"
    code, said = run("validate", tmp_path / "d", "--processes", "1")
    assert code != 0
    assert reason in said
    code, said = run("convert", tmp_path / "d", tmp_path / "c", "--processes", "1")
    assert code != 0
    assert reason in said
    code, said = run("inspect", tmp_path / "d", "--output", tmp_path / "o")
    assert code == 0
    assert reason in said
    code, said = run("convert", tmp_path / "d", tmp_path / "c", "--processes", "1", "--broken", "skip")
    assert code == 0
    converted = open_dataset(tmp_path / "c")
    np.testing.assert_allclose(converted.poses_actions(0)[1], np.diff(TURNING, axis=0), atol=1e-5)
