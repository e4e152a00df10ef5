"""The doctor moves any arm that deploy.py takes: a little, when asked, within its limits, and back."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_arms import START, FakeArm
from vendor_arms import VENDORS, make_arm, vendor_libraries

from envs.arms.base import ArmError
from envs.arms.limits import SafetyLimits
from envs.spec import Observation
from planner.diagnostics import doctor_arm, doctor_program, examination
from planner.diagnostics.doctor import Recording

__all__ = ["vendor_libraries"]  # a fixture
ROOT = Path(__file__).parent.parent
ARM_FILE = """
arm: {kind: franka}
limits: {workspace_low: [-2, -2, -2], workspace_high: [2, 2, 2], max_tilt: 3.1}
"""


class Bench:
    """An arm under test, the person beside it, and where its hand has been."""

    def __init__(self, driver: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers, self.file, self.driver = ["yes"], folder / "arm.yaml", driver
        self.file.write_text(ARM_FILE)
        monkeypatch.setattr(doctor_arm, "make_driver", lambda config: driver)
        monkeypatch.setattr(doctor_arm, "check_present", lambda driver: None)  # the fakes have no address
        monkeypatch.setattr(doctor_arm, "ask", lambda prompt: self.answers.pop(0) if self.answers else None)

    def record(self, steps: int = 12, yes: bool = False) -> Recording:
        config = doctor_program.DoctorConfig(arm=str(self.file), steps=steps, yes=yes)
        return doctor_arm.record_arm(config)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    driver = FakeArm(time, image_size=32)
    driver.action_spec = replace(driver.action_spec, rate=10.0)  # the tests' time is real
    return Bench(driver, tmp_path, monkeypatch)


def test_a_correct_arm_in_real_time_is_found_correct(tmp_path: Path, capsys) -> None:
    flags = ["--arm", "twin", "--yes", "--steps", "12", "--output", str(tmp_path)]
    assert doctor_program.main(flags) == 0
    told = capsys.readouterr().out
    assert "nothing found" in told and "workspace" in told and "12, each 2.0 cm from where it stands and back" in told


def test_every_move_is_small_along_one_axis_and_leads_back(fake: Bench) -> None:
    recording = fake.record(18)
    away = np.array([set_point - START for set_point in fake.driver.sent])
    assert np.linalg.norm(away[:, :3], axis=1).max() <= 0.02 + 1e-9
    assert not away[:, 3:6].any() and set(np.round(away[:, 6], 6)) >= {0.0, 1.0}
    np.testing.assert_allclose(fake.driver.pose, START, atol=1e-6)
    assert fake.driver.stops and fake.driver.closes
    reached = np.round(recording.poses[:, :3] - START[:3], 3)
    for axis in range(3):
        assert {-0.02, 0.0, 0.02} == set(reached[:, axis])


def test_what_the_file_fixes_does_not_move(fake: Bench) -> None:
    fake.file.write_text(ARM_FILE + "fixed: [z, gripper]\n")
    fake.record()
    away = np.array([set_point - START for set_point in fake.driver.sent])
    assert not away[:, 2:].any() and np.abs(away[:, :2]).max(axis=0) == pytest.approx([0.02, 0.02], abs=1e-3)


@pytest.mark.parametrize("vendor", VENDORS)
def test_each_vendor_s_arm_is_moved_and_brought_back(vendor, vendor_libraries, tmp_path, monkeypatch) -> None:
    for driver in make_arm(vendor, tmp_path):
        bench = Bench(driver, tmp_path, monkeypatch)
        recording = bench.record()
        away = np.linalg.norm(recording.poses[:, :3] - recording.poses[0, :3], axis=1)
        assert 0.01 < away.max() < 0.025 and away[-1] < 0.004
        with pytest.raises(ArmError, match="not connected"):
            driver.observe()


@pytest.mark.parametrize("answer", ["y", "", None])
def test_without_a_typed_yes_nothing_moves(fake: Bench, answer: str | None) -> None:
    fake.answers = [] if answer is None else [answer]
    with pytest.raises(ValueError, match="not confirmed"):
        fake.record()
    assert not fake.driver.sent and fake.driver.closes


def test_yes_in_advance_is_for_unattended_arms_alone(fake: Bench) -> None:
    fake.answers = []
    with pytest.raises(ValueError, match="someone must look at it"):
        fake.record(yes=True)
    assert not fake.driver.sent
    fake.file.write_text(ARM_FILE + "unattended: true\n")
    fake.record(yes=True)
    assert fake.driver.sent


def test_an_arm_that_measures_degrees_is_not_moved(fake: Bench, monkeypatch) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    pose = np.append(START[:3], [180.0, 0.0, 45.0, 0.0])
    monkeypatch.setattr(fake.driver, "observe", lambda: Observation(image, pose, time.monotonic()))
    with pytest.raises(ValueError, match=r"nothing moved.*degrees: angles reach 180"):
        fake.record()
    assert not fake.driver.sent and fake.driver.closes


def test_an_arm_at_the_edge_of_its_workspace_is_not_moved(fake: Bench) -> None:
    fake.file.write_text(ARM_FILE.replace("[2, 2, 2]", "[0.51, 2, 2]"))
    with pytest.raises(ValueError, match=r"nothing moved: the arm stands at x = 0.500 m .* -2 to 0.51 m"):
        fake.record()
    assert not fake.driver.sent and fake.driver.closes


@pytest.mark.parametrize("error", [ArmError, KeyboardInterrupt])
def test_whatever_ends_the_moves_stops_and_releases_the_arm(fake: Bench, monkeypatch, error) -> None:
    send = fake.driver.send

    def fails_later(set_point: np.ndarray) -> None:
        if len(fake.driver.sent) > 20:
            raise error("the cable is out")
        send(set_point)

    monkeypatch.setattr(fake.driver, "send", fails_later)
    with pytest.raises(ValueError if error is ArmError else error, match="the cable is out"):
        fake.record()
    assert fake.driver.stops and fake.driver.closes


def test_slow_limits_are_kept_and_the_clock_is_judged_as_if_moves_took_one_period(fake: Bench) -> None:
    fake.file.write_text(ARM_FILE.replace("max_tilt", "max_speed: 0.2, max_tilt"))
    began = time.monotonic()
    recording = fake.record()
    assert time.monotonic() - began > 12 * 0.2
    steps = np.diff(recording.poses[:, :3], axis=0)
    np.testing.assert_allclose(np.abs(steps).max(axis=1), 0.02, atol=1e-3)
    assert np.median(np.diff(recording.times)) == pytest.approx(0.1, abs=0.02)


def test_limits_that_say_too_little_are_named() -> None:
    slow = replace(SafetyLimits(), max_speed=0.005)
    with pytest.raises(ValueError, match="raise max_speed"):
        doctor_arm.periods(0.02, 0.25, slow)
    assert doctor_arm.periods(0.02, 0.25, SafetyLimits()) == 1


def test_a_checkpoint_of_joints_is_told_before_anything_is_opened(monkeypatch) -> None:
    joints = replace(examination.read_manifest("franka-tiny").action_spec, frame="joints")
    manifest = replace(examination.read_manifest("franka-tiny"), action_spec=joints)
    monkeypatch.setattr(examination, "read_manifest", lambda name: manifest)
    with pytest.raises(ValueError, match="acts on joints"):
        examination.consult(doctor_program.DoctorConfig(arm="nowhere.yaml"))
