"""Angles, rates and folders as others record them: brought to what is meant, or refused by name."""

import json

import h5py
import numpy as np
import pytest
import recordings as fixtures
from recordings import trajectories

from envs.episodes import DatasetError
from envs.episodes.columns import JointAngles, Rotation
from envs.episodes.open import find_format, open_dataset
from envs.episodes.reading import Reading
from envs.pose import matrix_from_euler


def read(joints: JointAngles, values: np.ndarray) -> np.ndarray:
    return joints.read(joints.continuous({"q": values})[0])


@pytest.mark.parametrize(("unit", "turn"), [("rad", 2 * np.pi), ("deg", 360.0)])
@pytest.mark.parametrize("low", [-0.5, 0.0])
def test_a_joint_that_comes_back_at_the_other_end_goes_on(unit, turn, low):
    meant = np.linspace(-0.7, 0.7, 30)[:, None] * turn
    wrapped = (meant - low * turn) % turn + low * turn
    found = read(JointAngles("q", ("elbow",), unit=unit), wrapped)
    np.testing.assert_allclose(np.diff(found[:, 0]), 2 * np.pi * 1.4 / 29, atol=1e-9)


def test_a_jump_of_over_half_a_turn_that_is_no_whole_one_is_refused_by_joint_and_row():
    angles = np.array([[0.0, 0.1], [0.0, 0.2], [0.0, 4.2]])
    with pytest.raises(
        DatasetError, match=r"joint 'wrist' of 'q' goes from 0\.200 to 4\.200 rad between the rows 1 and 2"
    ):
        read(JointAngles("q", ("base", "wrist")), angles)


@pytest.mark.parametrize("unit", ["rad", "deg"])
def test_encoder_steps_are_no_angles(unit):
    with pytest.raises(DatasetError, match=r"row 1 of 'q' has an angle of .* turns in the unit .*encoder steps"):
        read(JointAngles("q", ("base",), unit=unit), np.array([[20.0], [4000.0]]))


def test_euler_angles_of_0_to_2_pi_are_the_same_rotations_within_the_convention():
    given = np.random.default_rng(0).uniform(-1, 1, (50, 3)) * (np.pi, 1.5, np.pi)
    read = Rotation("r", "euler").euler({"r": given % (2 * np.pi)})
    np.testing.assert_allclose(read, given, atol=1e-9)
    beyond = given + np.array([0, 2.0, 0])
    over = Rotation("r", "euler").euler({"r": beyond})
    np.testing.assert_allclose(matrix_from_euler(over), matrix_from_euler(beyond), atol=1e-9)
    assert (np.abs(over[:, 1]) <= np.pi / 2).all()


def test_a_quaternion_of_zeros_is_refused():
    with pytest.raises(DatasetError, match="row 1 of 'r' is no quaternion"):
        Rotation("r", "quaternion_xyzw").euler({"r": np.array([[0.0, 0, 0, 1], [0, 0, 0, 0]])})


def test_the_rate_of_hdf5_that_does_not_say_it_is_the_readings(tmp_path):
    file = fixtures.write_robomimic(tmp_path / "d") / "image.hdf5"
    with pytest.raises(DatasetError, match="says 15 Hz, the Reading's recorded_rate 20"):
        open_dataset(file, Reading(recorded_rate=20.0))
    with h5py.File(file, "r+") as opened:
        opened["data"].attrs["env_args"] = json.dumps({"env_name": "Stack", "type": 2})
    with pytest.raises(DatasetError, match="recorded_rate"):
        open_dataset(file, Reading(rate=5.0))
    source = open_dataset(file, Reading(rate=5.0, recorded_rate=15.0))
    assert source.lengths[0] == len(range(0, fixtures.LENGTHS[0], 3))
    with h5py.File(file, "r+") as opened:
        del opened["data"].attrs["env_args"]
    assert open_dataset(file, Reading(recorded_rate=15.0)).spec.rate == 15.0


def test_a_rate_that_a_format_says_itself_is_not_given(tmp_path):
    with pytest.raises(DatasetError, match="leave recorded_rate out"):
        open_dataset(fixtures.write_droid(tmp_path / "d"), Reading(recorded_rate=15.0))


def test_linked_trajectories_are_followed_once_and_stray_files_passed_over(tmp_path, caplog):
    whole = fixtures.write_droid(tmp_path / "whole")
    runs, some = sorted(whole.glob("success/*/run")), tmp_path / "some"
    some.mkdir()
    (some / "a").symlink_to(runs[0])
    (some / "b").symlink_to(runs[1])
    (some / "c").symlink_to(runs[0])  # once more
    (some / "round").symlink_to(some)  # for ever
    for stray in ("._metadata_run.json", "annotations.json", ".DS_Store", "._trajectory.h5"):
        (runs[0] / stray).write_bytes(b"\0\5\x16\7")
    assert find_format(some) == "droid"
    source = open_dataset(some)
    assert (source.names, dict(source.problems)) == (("a/trajectory.h5", "b/trajectory.h5"), {})
    np.testing.assert_allclose(source[0].poses, trajectories()[0].poses, atol=1e-6)
    assert caplog.text.count("once more; it is passed over") >= 2
