"""LeRobot's normalised joints made angles by its calibration file, and what is no such file or no such numbers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from envs.config import ConfigError, load_config
from envs.episodes import DatasetError
from envs.episodes.motors import from_normalised, read_calibration
from envs.episodes.open import open_dataset
from envs.episodes.reading import Reading
from tests.so101_recordings import JOINTS, MODEL, RANGES, SITE, Recorded, angles, write_calibration, write_so101


def reading(calibration: Path | None, unit: str = "normalised", **joints: object) -> Reading:
    place = {"key": "observation.state", "indices": list(range(5)), "names": JOINTS, "unit": unit, **joints}
    if calibration is not None:
        place["calibration"] = str(calibration)
    return load_config(Reading, {"pose": {"kind": "joints", "joints": place}})


def test_normalised_joints_are_the_angles_that_were_turned(tmp_path):
    recorded, file = Recorded("normalised"), write_calibration(tmp_path / "my_arm.json")
    source = open_dataset(write_so101(tmp_path / "data", recorded), reading(file))
    for episode in range(2):
        np.testing.assert_allclose(source.poses_actions(episode)[0], angles(recorded, episode), atol=1e-5)
    assert source.spec.units == ("rad",) * 5


def test_the_old_convention_is_read_with_signs_and_offsets(tmp_path):
    recorded = Recorded("old degrees", robot="so100")
    turned = {"signs": [1, -1, 1, 1, 1], "offsets": [0, np.pi / 2, -np.pi / 2, 0, 0]}
    source = open_dataset(write_so101(tmp_path / "data", recorded), reading(None, "deg", **turned))
    np.testing.assert_allclose(source.poses_actions(0)[0], angles(recorded, 0), atol=1e-5)


def test_forward_kinematics_take_normalised_joints(tmp_path):
    folder, file = write_so101(tmp_path / "data", Recorded("normalised")), write_calibration(tmp_path / "arm.json")
    degrees = write_so101(tmp_path / "degrees", Recorded("deg"))
    rule = {"kind": "forward_kinematics", "model": str(MODEL), "site": SITE, "gripper": None}
    place = {"key": "observation.state", "indices": list(range(5)), "names": JOINTS}
    poses = [
        open_dataset(root, load_config(Reading, {"pose": {**rule, "joints": place | unit}})).poses_actions(1)[0]
        for root, unit in ((folder, {"unit": "normalised", "calibration": str(file)}), (degrees, {"unit": "deg"}))
    ]
    np.testing.assert_allclose(poses[0], poses[1], atol=1e-5)


def test_a_motor_mounted_the_other_way_round_is_negated_as_lerobot_does(tmp_path):
    file = write_calibration(tmp_path / "arm.json")
    motors = json.loads(file.read_text())
    motors["elbow_flex"]["drive_mode"] = 1
    file.write_text(json.dumps(motors))
    values = np.full((1, 2), 50.0)
    feetech, dynamixel = (
        from_normalised(values, ("elbow_flex", "wrist_roll"), file, kind)[0] for kind in (True, False)
    )
    assert feetech[0] == -dynamixel[0] < 0
    assert feetech[1] == dynamixel[1] == pytest.approx(np.pi / 2)


def test_numbers_beyond_100_are_not_normalised(tmp_path):
    folder, file = write_so101(tmp_path / "data", Recorded("deg", swing=3.0)), write_calibration(tmp_path / "arm.json")
    with pytest.raises(DatasetError, match=r"normalised joints are within -100\.\.100 .*are these degrees"):
        open_dataset(folder, reading(file))


def test_unit_and_calibration_go_together(tmp_path):
    with pytest.raises(ConfigError, match=r"normalised and calibration: FILE\.json go together"):
        reading(None)
    with pytest.raises(ConfigError, match="go together"):
        reading(tmp_path / "arm.json", "deg")
    with pytest.raises(ConfigError, match="5 joints have 5 motors"):
        reading(tmp_path / "arm.json", motors=("a",))
    with pytest.raises(ConfigError, match="signs of joints are 1 or -1"):
        reading(None, "deg", signs=(1, 1, 1, 2, 1))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "there is no calibration file .*; LeRobot keeps them in"),
        (b"range_min: 3", "is no JSON"),
        (b"[1, 2]", "no calibration file of LeRobot's"),
        (b"{}", "no calibration file of LeRobot's"),
        (b'{"shoulder_pan": {"range_min": 9, "range_max": 9}}', "range_min < range_max"),
        (b'{"shoulder_pan": {"range_min": 0, "range_max": 9000}}', "range_min < range_max in 0..4095"),
        (b'{"motor_names": ["shoulder_pan"], "homing_offset": [3]}', "before June 2025"),
        (b'{"shoulder_pan": {"range_min": 700, "range_max": 3000}}', "no motor 'shoulder_lift'; it has shoulder_pan"),
    ],
)
def test_what_is_no_calibration_file_is_refused_with_what_it_should_be(content, expected, tmp_path):
    file = tmp_path / "arm.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DatasetError, match=expected):
        from_normalised(np.zeros((3, 2)), ("shoulder_pan", "shoulder_lift"), file)


def test_another_calibration_is_another_dataset_and_is_read_anew(tmp_path):
    folder, file = write_so101(tmp_path / "data", Recorded("normalised")), write_calibration(tmp_path / "arm.json")
    before = open_dataset(folder, reading(file))
    poses = before.poses_actions(0)[0]
    write_calibration(file, RANGES | {"elbow_flex": (900, 3000)})
    os.utime(file, ns=(1, 1))
    after = open_dataset(folder, reading(file))
    assert read_calibration(file)["elbow_flex"].span == 2100
    assert after.fingerprint != before.fingerprint
    assert not np.allclose(after.poses_actions(0)[0], poses)
