"""What inspect proposes for arms that LeRobot recorded: unit, convention, gripper, kinematics; or why nothing."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from envs.config import load_config
from envs.episodes.kinematics import forward_kinematics
from envs.episodes.open import open_dataset
from envs.episodes.reading import ForwardKinematics, Joints, Reading
from envs.inspection import families, gripper, units
from tests.so101_recordings import (
    JOINTS,
    MODEL,
    RANGES,
    SITE,
    Recorded,
    angles,
    closedness,
    write_calibration,
    write_so101,
)
from world_model.data import program

ROOT = Path(__file__).parent.parent
THROUGH_MODEL = ("--model", str(MODEL), "--site", SITE)


def inspect(folder: Path, *flags: str) -> Reading:
    """The Reading that is proposed for recordings, and written."""
    file = folder.parent / f"{folder.name}.yaml"
    command = ["inspect", str(folder), "--propose", str(file), "--output", str(folder.parent / "sheet"), *flags]
    assert program.main(command) == 0
    return load_config(Reading, file)


def check_poses(folder: Path, reading: Reading, recorded: Recorded) -> None:
    """The poses are those of the angles that were turned, at the frames of the Reading's rate."""
    source = open_dataset(folder, reading)
    for episode in range(len(recorded.lengths)):
        poses = source.poses_actions(episode)[0]
        frames = source.frames[episode]  # type: ignore[attr-defined]
        expected = forward_kinematics(MODEL, JOINTS, angles(recorded, episode)[frames], SITE)
        np.testing.assert_allclose(poses[:, :6], expected, atol=1e-5)
        np.testing.assert_allclose(poses[:, 6], closedness(recorded, episode)[0][frames], atol=1e-5)


@pytest.mark.parametrize("unit", ["deg", "normalised", "rad", "old degrees"])
def test_with_a_model_the_proposal_gives_the_true_poses_in_every_unit(unit, tmp_path):
    recorded = Recorded(unit, robot="so100" if unit == "old degrees" else "so101_follower")
    calibration = ("--calibration", str(write_calibration(tmp_path / "arm.json"))) if unit == "normalised" else ()
    folder = write_so101(tmp_path / "data", recorded)
    reading = inspect(folder, *THROUGH_MODEL, *calibration)
    assert isinstance(reading.pose, ForwardKinematics)
    assert "(?)" not in (tmp_path / "data.yaml").read_text().partition("pose:")[2]
    check_poses(folder, reading, recorded)


def test_without_a_model_joint_space_is_proposed_with_the_unit_told_by_the_steps(tmp_path):
    recorded, file = Recorded("normalised"), write_calibration(tmp_path / "arm.json")
    folder = write_so101(tmp_path / "data", recorded)
    reading = inspect(folder, "--calibration", str(file))
    assert isinstance(reading.pose, Joints) and reading.pose.joints.unit == "normalised"
    poses = open_dataset(folder, Reading(pose=reading.pose)).poses_actions(0)[0]
    np.testing.assert_allclose(poses[:, :5], angles(recorded, 0), atol=1e-5)


def refused(folder: Path, *flags: str) -> str:
    with pytest.raises(SystemExit) as ended:
        inspect(folder, *flags)
    assert not (folder.parent / f"{folder.name}.yaml").exists()
    return str(ended.value)


def test_normalised_joints_are_never_taken_for_degrees(tmp_path, capsys):
    folder = write_so101(tmp_path / "steps", Recorded("normalised"))
    assert "give the arm's --calibration FILE.json" in refused(folder, *THROUGH_MODEL)
    assert "give the arm's --calibration" in refused(folder)
    assert "not deg" in refused(folder, *THROUGH_MODEL, "--unit", "deg")
    assert program.main(["inspect", str(folder), "--output", str(tmp_path / "sheet")]) == 0
    assert "no Reading is proposed: observation.state: the joints are normalised" in capsys.readouterr().out
    smooth = write_so101(tmp_path / "smooth", Recorded("normalised", whole_steps=False))
    assert "degrees and LeRobot's -100..100 fit these numbers equally" in refused(smooth, *THROUGH_MODEL)
    clipped = write_so101(tmp_path / "clipped", Recorded("normalised", whole_steps=False, swing=2.5))
    assert "exactly -100 or 100, where LeRobot clips" in refused(clipped, *THROUGH_MODEL)


def test_a_calibration_of_another_arm_is_refused(tmp_path):
    folder = write_so101(tmp_path / "data", Recorded("normalised"))
    other = write_calibration(tmp_path / "other.json", RANGES | {"elbow_flex": (900, 3000)})
    said = refused(folder, *THROUGH_MODEL, "--calibration", str(other))
    assert "is not the calibration that these were recorded with: elbow_flex.pos" in said


def test_smoothed_numbers_are_read_as_is_said(tmp_path):
    recorded = Recorded("deg", whole_steps=False)
    folder = write_so101(tmp_path / "deg", recorded)
    assert "say --unit deg" in refused(folder, *THROUGH_MODEL)
    check_poses(folder, inspect(folder, *THROUGH_MODEL, "--unit", "deg"), recorded)
    recorded = Recorded("normalised", whole_steps=False)
    folder, file = write_so101(tmp_path / "norm", recorded), write_calibration(tmp_path / "arm.json")
    check_poses(folder, inspect(folder, *THROUGH_MODEL, "--calibration", str(file)), recorded)


def test_smoothed_degrees_beyond_100_are_degrees_by_their_size(tmp_path):
    recorded = Recorded("deg", whole_steps=False, swing=1.6)
    folder = write_so101(tmp_path / "data", recorded)
    check_poses(folder, inspect(folder, *THROUGH_MODEL), recorded)


def test_joints_that_a_model_can_not_take_are_refused_with_their_ranges(tmp_path):
    folder = write_so101(tmp_path / "data", Recorded("deg"))
    narrow = tmp_path / "narrow.xml"
    narrow.write_text(MODEL.read_text().replace('range="-1.7 1.7"', 'range="-0.5 0.1"'))
    said = refused(folder, "--model", str(narrow), "--site", SITE, "--unit", "deg")
    assert "elbow_flex would go" in said and "lets it -29 .. 6" in said
    smooth = write_so101(tmp_path / "smooth", Recorded("deg", whole_steps=False, swing=1.6))
    assert "no unit fits" in refused(smooth, "--model", str(narrow), "--site", SITE)


def test_a_model_of_another_arm_or_without_a_hand_is_refused_with_what_it_has(tmp_path):
    folder = write_so101(tmp_path / "data")
    assert "it has the sites ['gripper'] and the bodies" in refused(folder, "--model", str(MODEL))
    said = refused(folder, "--model", str(MODEL), "--body", "lower")
    assert "lower of" in said and "has shoulder_pan, shoulder_lift, elbow_flex" in said
    assert "has no site 'tip'" in refused(folder, "--model", str(MODEL), "--site", "tip")
    assert "there is no MuJoCo model" in refused(folder, "--model", "nowhere.xml", "--site", SITE)


def test_joints_that_the_model_calls_otherwise_are_taken_in_order_and_that_is_said(tmp_path):
    recorded, model = Recorded("deg"), tmp_path / "renamed.xml"
    text = MODEL.read_text()
    for number, joint in enumerate(JOINTS, start=1):
        text = text.replace(f'joint name="{joint}"', f'joint name="{number}"')
    model.write_text(text)
    folder = write_so101(tmp_path / "data", recorded)
    check_poses(folder, inspect(folder, "--model", str(model), "--site", SITE), recorded)
    assert "1, 2, 3, 4, 5 were taken in order for shoulder_pan.pos" in (tmp_path / "data.yaml").read_text()


def test_a_gripper_that_held_something_tells_its_direction_even_against_what_is_usual(tmp_path):
    recorded = Recorded("deg", gripper_turned=True)
    folder = write_so101(tmp_path / "data", recorded)
    check_poses(folder, inspect(folder, *THROUGH_MODEL), recorded)
    text = (tmp_path / "data.yaml").read_text()
    assert "something was held" in text and "usual for SO-101 is open at 100" in text


@pytest.mark.parametrize(
    ("family", "commands", "expected"),
    [
        (None, False, (0, 100, False)),
        (("SO-101", (100.0, 0.0)), False, (100, 0, True)),
        (None, True, (100, 0, True)),
        (("another", (0.0, 100.0)), True, (100, 0, True)),
    ],
)
def test_what_is_held_comes_before_what_is_usual_and_a_guess_is_marked(family, commands, expected):
    wanted = np.interp(np.arange(80), [0, 20, 40, 60, 79], [90, 90, 5, 5, 90])
    fingers = np.maximum(wanted, 40)  # something is 40 wide
    told = gripper.find_direction(0.0, 100.0, family, [fingers], [wanted] if commands else [])
    assert (told.open, told.closed, told.certain) == expected


def test_fingers_that_lag_or_stand_at_their_own_stops_tell_nothing():
    count = functools.partial(gripper.count_blocked, 0.0, 100.0)
    wanted = np.interp(np.arange(80), [0, 20, 40, 60, 79], [100, 100, 0, 0, 100])
    assert count([np.roll(wanted, 4)], [wanted]) == (0, 0)
    assert count([np.clip(wanted, 2, 98)], [wanted * 1.4 - 20]) == (0, 0)
    assert count([np.full(3, 5.0)], [np.full(3, 80.0)]) == (0, 0)


@pytest.mark.parametrize(
    ("robot", "names", "expected"),
    [
        ("so101_follower", (), "SO-101"),
        ("so100", (), "SO-100"),
        ("bi_so100_follower", (), "SO-100"),
        ("so_follower", (), "SO-100"),
        ("koch_follower", (), "Koch"),
        ("aloha", (), "ALOHA"),
        ("Franka", (), "Franka"),
        ("sonic", (), None),
        (
            None,
            ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll"),
            "an arm with SO-100's motors",
        ),
        (None, ("joint_0", "joint_1"), None),
    ],
)
def test_the_kind_of_arm_is_told_by_its_type_or_its_motors(robot, names, expected):
    found = families.find_family(robot, names)
    assert (found and found.title) == expected


@pytest.mark.parametrize("decimals", [0, 1, 2])
def test_rounded_numbers_are_no_encoder_s_steps(decimals):
    values = np.random.default_rng(0).uniform(-80, 80, (200, 5)).round(decimals).astype(np.float32).astype(float)
    assert units.find_grid(values) is None


@pytest.mark.parametrize("span", [980, 1777, 2275, 2600, 4095])
def test_the_length_of_a_joint_s_range_shows_in_its_normalised_numbers(span):
    steps = np.random.default_rng(span).integers(0, span + 1, 300)
    values = (steps / span * 200 - 100).astype(np.float32).astype(float)
    assert units.find_span(values) == span
    assert not units.fits_span(values, span - 1)


def rewrite(folder: Path, robot: str, names: Callable[[list[str]], object], extra: int = 0) -> Path:
    """Recordings with another robot_type and other names, and some numbers more a frame."""
    info = json.loads((folder / "meta/info.json").read_text())
    info["robot_type"] = robot
    for key in ("observation.state", "action"):
        info["features"][key] |= {"names": names(info["features"][key]["names"]), "shape": [6 + extra]}
    (folder / "meta/info.json").write_text(json.dumps(info))
    for path in folder.glob("data/*/*.parquet") if extra else ():
        table = pq.read_table(path)
        for key in ("observation.state", "action"):
            values = np.array(table[key].to_pylist(), np.float32)
            more = np.random.default_rng(0).normal(size=(len(values), extra)).astype(np.float32)
            place = table.column_names.index(key)
            table = table.set_column(place, key, pa.array(np.hstack([values, more]).tolist()))
        pq.write_table(table, path)
    return folder


def test_numbers_without_names_are_called_as_the_kind_of_arm_has_them(tmp_path):
    recorded = Recorded("deg")
    folder = rewrite(write_so101(tmp_path / "data", recorded), "so101_follower", lambda names: None)
    check_poses(folder, inspect(folder, *THROUGH_MODEL), recorded)


def test_velocities_of_a_mobile_base_are_no_joints(tmp_path):
    recorded, file = Recorded("normalised"), write_calibration(tmp_path / "arm.json")
    base = ["x.vel", "y.vel", "theta.vel"]
    write_so101(tmp_path / "data", recorded)
    folder = rewrite(tmp_path / "data", "lekiwi_client", lambda names: [f"arm_{name}" for name in names] + base, 3)
    check_poses(folder, inspect(folder, *THROUGH_MODEL, "--calibration", str(file)), recorded)


def test_a_koch_s_motors_turn_round_themselves(tmp_path):
    recorded, file = Recorded("normalised"), write_calibration(tmp_path / "arm.json")
    motors = json.loads(file.read_text())
    motors["elbow_flex"]["drive_mode"] = 1
    file.write_text(json.dumps(motors))
    folder = rewrite(write_so101(tmp_path / "data", recorded), "koch_follower", lambda names: names)
    check_poses(folder, inspect(folder, *THROUGH_MODEL, "--calibration", str(file)), recorded)


def test_names_under_a_heading_and_without_pos_are_joints_of_today_if_their_steps_are(tmp_path):
    recorded = Recorded("deg")
    write_so101(tmp_path / "data", recorded)
    folder = rewrite(
        tmp_path / "data", "so101", lambda names: {"motors": [name.removesuffix(".pos") for name in names]}
    )
    check_poses(folder, inspect(folder, *THROUGH_MODEL), recorded)
    assert "before June 2025" not in (tmp_path / "data.yaml").read_text()


def test_a_row_that_is_no_number_does_not_hide_the_gripper(tmp_path):
    folder = write_so101(tmp_path / "data")
    path = folder / "data/chunk-000/episode_000000.parquet"
    table = pq.read_table(path)
    values = np.array(table["observation.state"].to_pylist(), np.float32)
    values[3] = np.nan
    place = table.column_names.index("observation.state")
    pq.write_table(table.set_column(place, "observation.state", pa.array(values.tolist())), path)
    pose = inspect(folder, *THROUGH_MODEL).pose
    assert isinstance(pose, ForwardKinematics) and pose.gripper is not None
    assert (pose.gripper.open, pose.gripper.closed) == (100.0, 0.0)


def test_encoder_steps_and_two_arms_through_one_model_are_refused(tmp_path):
    folder = write_so101(tmp_path / "steps")
    for path in folder.glob("data/*/*.parquet"):
        table = pq.read_table(path)
        steps = np.round(np.array(table["observation.state"].to_pylist()) * 4095 / 360 + 2047)
        place = table.column_names.index("observation.state")
        pq.write_table(table.set_column(place, "observation.state", pa.array(steps.tolist())), path)
    assert "are no angles: raw encoder steps?" in refused(folder)
    write_so101(tmp_path / "two")
    two = rewrite(tmp_path / "two", "bi_so100_follower", lambda names: [f"left_{n}" for n in names] + RIGHT, 6)
    assert "several arms" in refused(two, *THROUGH_MODEL)


RIGHT = [f"right_{joint}.pos" for joint in (*JOINTS, "gripper")]
