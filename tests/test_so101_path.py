"""An SO-101 from recordings to motion through the public commands: no YAML by hand, model and site are named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from vendor_arms import FAKES, library, vendor_libraries

from envs.arm_choice import build_arm
from envs.arm_file import ArmFile
from envs.arms.drivers.lerobot import LeRobotConfig
from envs.config import load_config
from envs.episodes.formats.lerobot import read_dataset
from envs.episodes.kinematics import forward_kinematics
from envs.episodes.reading import ForwardKinematics, Reading
from envs.inspection.arm import _joints
from tests.so101_recordings import JOINTS, MODEL, SITE, Recorded, Unit, write_calibration, write_so101
from world_model.data import program as dataset

__all__ = ["vendor_libraries"]  # a fixture
ROOT = Path(__file__).parent.parent


def propose(folder: Path, unit: Unit) -> Path:
    """Recordings and the file of their arm, both proposed."""
    robot = "so100" if unit == "old degrees" else "so101_follower"
    write_so101(folder / "data", Recorded(unit, robot=robot))
    calibration = ["--calibration", str(write_calibration(folder / "blue.json"))] if unit == "normalised" else []
    told = ["--model", str(MODEL), "--site", SITE, *calibration, "--output", str(folder / "sheet")]
    assert dataset.main(["inspect", str(folder / "data"), "--propose", str(folder / "mine.yaml"), *told]) == 0
    arm = ["arm", str(folder / "data"), str(folder / "arm.yaml"), "--reading", str(folder / "mine.yaml")]
    assert dataset.main([*arm, "--python", sys.executable, "--port", str(folder / "port")]) == 0
    return folder / "arm.yaml"


@pytest.mark.parametrize("unit", ["deg", "normalised", "old degrees"])
def test_the_proposed_arm_is_the_recorded_one(unit, vendor_libraries, tmp_path):
    file = load_config(ArmFile, propose(tmp_path, unit))
    config = file.arm
    assert isinstance(config, LeRobotConfig)
    assert (config.options["id"], config.options["use_degrees"]) == ("blue" if unit == "normalised" else "my_arm", True)
    assert (config.camera.width, config.camera.height, config.rate) == (64, 48, 4.0)
    assert (config.gripper_open, config.gripper_closed) == (100.0, 0.0)
    arm = build_arm(config)
    try:
        arm.connect()
        seen = arm.observe()
    finally:
        arm.close()
    start = np.radians(library("lerobot.robots.so_follower").START[:5])
    np.testing.assert_allclose(seen.pose[:6], forward_kinematics(MODEL, JOINTS, start[None], SITE)[0], atol=1e-6)


def test_the_limits_hold_all_that_was_recorded_and_little_more(tmp_path):
    limits = yaml.safe_load(propose(tmp_path, "deg").read_text())["limits"]
    data = ["convert", str(tmp_path / "data"), str(tmp_path / "out"), "--reading", str(tmp_path / "mine.yaml")]
    assert dataset.main([*data, "--processes", "1"]) == 0
    poses = np.concatenate([episode.poses for episode in read_dataset(tmp_path / "out")])
    low, high = poses[:, :3].min(axis=0), poses[:, :3].max(axis=0)
    np.testing.assert_allclose(limits["workspace_low"], low - [0.02, 0.02, 0.0], atol=1e-3)
    np.testing.assert_allclose(limits["workspace_high"], high + 0.02, atol=1e-3)


def test_a_model_with_the_old_zeros_gets_signs_and_offsets_that_undo_today_s(tmp_path):
    rule = load_config(
        Reading,
        {
            "pose": {
                "kind": "forward_kinematics",
                "model": str(MODEL),
                "site": SITE,
                "gripper": None,
                "joints": {"key": "observation.state", "names": JOINTS, "indices": [0, 1, 2, 3, 4], "unit": "deg"},
            }
        },
    ).pose
    assert isinstance(rule, ForwardKinematics)
    lift, elbow = _joints(rule, [f"main_{joint}" for joint in JOINTS])[1:3]
    now = 20.0  # degrees of shoulder_lift, which were 70 before June 2025
    assert lift["sign"] * np.radians(now) + lift["offset"] == pytest.approx(np.radians(70.0), abs=1e-5)
    assert np.radians(now) + elbow["offset"] == pytest.approx(np.radians(110.0), abs=1e-5)
    assert all("sign" not in entry for entry in _joints(rule, [f"{joint}.pos" for joint in JOINTS]))


def test_what_no_arm_s_file_can_be_made_of_is_said(tmp_path):
    folder, file = write_so101(tmp_path / "data", Recorded(robot="stretch")), tmp_path / "mine.yaml"
    told = ["inspect", str(folder), "--output", str(tmp_path / "sheet"), "--propose"]
    assert dataset.main([*told, str(file)]) == 0
    arm = ["arm", str(folder), str(tmp_path / "arm.yaml"), "--reading"]
    with pytest.raises(SystemExit, match=r"has no forward kinematics, .*--model ARM\.xml"):
        dataset.main([*arm, str(file)])
    assert dataset.main([*told, str(tmp_path / "hand.yaml"), "--model", str(MODEL), "--site", SITE]) == 0
    with pytest.raises(SystemExit, match=r"recordings are of stretch .* made of SO-101, SO-100, Koch"):
        dataset.main([*arm, str(tmp_path / "hand.yaml")])
    based = yaml.safe_load((tmp_path / "hand.yaml").read_text())
    based["pose"]["base"] = "shoulder"
    (tmp_path / "based.yaml").write_text(yaml.safe_dump(based))
    so101 = write_so101(tmp_path / "so101")
    with pytest.raises(SystemExit, match="leave `base` out of the Reading"):
        dataset.main(["arm", str(so101), str(tmp_path / "arm.yaml"), "--reading", str(tmp_path / "based.yaml")])
    assert not (tmp_path / "arm.yaml").exists()
    converted = ["convert", str(so101), str(tmp_path / "out"), "--reading", str(tmp_path / "hand.yaml")]
    assert dataset.main([*converted, "--processes", "1"]) == 0
    with pytest.raises(SystemExit, match="name the recordings that it was made of"):
        dataset.main(
            ["arm", str(tmp_path / "out"), str(tmp_path / "arm.yaml"), "--reading", str(tmp_path / "hand.yaml")]
        )
    with pytest.raises(SystemExit, match="says its poses itself"):
        dataset.main(["inspect", str(tmp_path / "out"), "--model", str(MODEL), "--site", SITE, *told[2:4]])


def test_the_hand_may_be_a_body_of_the_model(vendor_libraries, tmp_path):
    told = ["inspect", str(write_so101(tmp_path / "data")), "--model", str(MODEL), "--body", "hand"]
    file, arm = str(tmp_path / "mine.yaml"), str(tmp_path / "arm.yaml")
    assert dataset.main([*told, "--propose", file, "--output", str(tmp_path / "sheet")]) == 0
    made = ["arm", str(tmp_path / "data"), arm, "--reading", file, "--python", sys.executable]
    assert dataset.main([*made, "--port", str(tmp_path / "port"), "--camera", "/dev/video2", "--id", "blue"]) == 0
    assert "(?)" not in Path(arm).read_text().partition("arm:")[2]
    config = load_config(ArmFile, arm).arm
    assert isinstance(config, LeRobotConfig) and config.camera.device == "/dev/video2"
    driver = build_arm(config)
    try:
        driver.connect()
        seen = driver.observe()
    finally:
        driver.close()
    start = np.radians(library("lerobot.robots.so_follower").START[:5])
    np.testing.assert_allclose(seen.pose[:6], forward_kinematics(MODEL, JOINTS, start[None], body="hand")[0], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "learnt"), [("deg", "poses"), ("normalised", "poses"), ("deg", "joints")])
def test_an_so101_goes_from_recordings_to_a_dry_run(unit, learnt, tmp_path):
    arm, reading, fresh = propose(tmp_path, unit), tmp_path / "mine.yaml", []
    if learnt == "joints":
        reading, fresh = tmp_path / "joints.yaml", ["--fresh-conditioning"]
        told = ["inspect", str(tmp_path / "data"), "--output", str(tmp_path / "sheet")]
        assert dataset.main([*told, "--propose", str(reading)]) == 0
    Image.fromarray(np.full((48, 64, 3), 120, np.uint8)).save(tmp_path / "goal.png")
    data, run = tmp_path / "out", tmp_path / "run"
    commands = [
        ["dataset.py", "convert", tmp_path / "data", data, "--reading", reading, "--processes", "1"],
        ["train.py", "--parent", "franka-tiny", "--data", data, "--output", run, "--steps", "3", "--batch", "4",
         "--frames", "3", "--held-out", "0.5", "--device", "cpu", *fresh],
        ["deploy.py", "--arm", arm, "--checkpoint", run / "checkpoint", "--goal", tmp_path / "goal.png",
         "--max-steps", "2", "--view", "none", "--output", tmp_path / "deploy"],
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{FAKES}"}
    for program, *flags in commands:
        command = [sys.executable, str(ROOT / "scripts" / program), *map(str, flags)]
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("would ") == 2 and "dry run: nothing moves" in done.stdout
    sent = [json.loads(line)[1] for line in (tmp_path / "port.goals").read_text().splitlines()]
    start = (0.0, -20.0, 40.0, 60.0, 0.0, 100.0)  # of the fake; at the end it is held where it stands
    assert all(tuple(goal.values()) == start for goal in sent)
