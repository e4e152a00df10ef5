"""The doctor finds each fault planted in a simulated set-up, and nothing in a correct one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from envs.arms.safety import SafeArm
from envs.simulation.arm import MujocoArm, MujocoArmConfig
from envs.simulation.scene import SceneConfig
from envs.spec import Observation
from planner.diagnostics import doctor_program as doctor
from planner.diagnostics.doctor import Recording, Training, examine, fit_rotation, record_moves
from planner.diagnostics.examination import what_it_knows
from world_model.base import LatentState
from world_model.checkpoints.checkpoint import read_manifest
from world_model.vjepa2_ac import load_vjepa2_ac

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def model():
    """The bundled checkpoint, which encodes an image once: most faults leave the images as they are."""
    model, seen = load_vjepa2_ac("franka-tiny"), {}
    encode = model.encode

    def remember(observations: Sequence[Observation]) -> LatentState:
        key = tuple((each.image.tobytes(), np.asarray(each.pose).tobytes()) for each in observations)
        if key not in seen:
            seen[key] = encode(observations)
        return seen[key]

    model.encode = remember
    return model


@pytest.fixture(scope="module")
def training() -> Training:
    return what_it_knows(read_manifest("franka-tiny"))


def record(training: Training, scene: SceneConfig | None = None, seed: int = 0) -> Recording:
    arm = MujocoArm(MujocoArmConfig(scene or SceneConfig(), 128))
    try:
        arm.reset()
        return record_moves(SafeArm(arm), arm.action_spec, training.step, 36, np.random.default_rng(seed))
    finally:
        arm.close()


@pytest.fixture(scope="module")
def correct(training: Training) -> Recording:
    return record(training)


def with_poses(recording: Recording, columns: slice, change: Callable[[np.ndarray], np.ndarray]) -> Recording:
    poses = np.array(recording.poses)
    poses[:, columns] = change(poses[:, columns])
    return replace(recording, poses=poses)


def as_quaternions(recording: Recording) -> Recording:
    turns = Rotation.from_euler("xyz", recording.poses[:, 3:6]).as_quat()
    return replace(recording, poses=np.concatenate([recording.poses[:, :3], turns], axis=1))


ANGLES, POSITION, GRIPPER = slice(3, 6), slice(0, 3), slice(6, 7)
FAULTS: dict[str, tuple[str, Callable[[Recording], Recording]]] = {
    "degrees": ("degrees", lambda r: with_poses(r, ANGLES, np.degrees)),
    "quaternion": ("quaternion", as_quaternions),
    "flipped gripper": ("gripper sign", lambda r: with_poses(r, GRIPPER, lambda g: 1 - g)),
    "gripper in millimetres": ("gripper range", lambda r: with_poses(r, GRIPPER, lambda g: 80 * (1 - g))),
    "positions ten times too large": ("scale", lambda r: with_poses(r, POSITION, lambda p: 10 * p)),
    "positions ten times too small": ("scale", lambda r: with_poses(r, POSITION, lambda p: p / 10)),
    "commands ten times too large": ("scale", lambda r: replace(r, commands=10 * np.asarray(r.commands))),
    "15 Hz": ("rate", lambda r: replace(r, times=r.times * 4 / 15)),
    "lost frames": ("rate", lambda r: replace(r, times=r.times + (np.arange(len(r.times)) > 20))),
    "clock backwards": ("clock", lambda r: replace(r, times=r.times[::-1])),
    "BGR": ("colour order", lambda r: replace(r, images=np.ascontiguousarray(r.images[..., ::-1]))),
    "mirrored": ("mirrored", lambda r: replace(r, images=np.ascontiguousarray(r.images[:, :, ::-1]))),
    "upside down": ("upside down", lambda r: replace(r, images=np.ascontiguousarray(r.images[:, ::-1, ::-1]))),
    "small images": ("image size", lambda r: replace(r, images=np.ascontiguousarray(r.images[:, ::2, ::2]))),
}


def test_nothing_is_found_in_a_correct_set_up(model, training: Training, correct: Recording) -> None:
    findings, view = examine(model, training, correct, steps=16)
    assert findings == []
    assert view is not None and view.rank < 0.1 and view.angle < np.radians(10)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(model, training: Training, correct: Recording, fault: str) -> None:
    name, plant = FAULTS[fault]
    findings, _ = examine(model, training, plant(correct), steps=8)
    assert name in [finding.name for finding in findings]


def test_a_rotated_camera_is_found_and_its_angle_read(model, training: Training) -> None:
    scene = SceneConfig()
    target, position = np.array(scene.camera_target), np.array(scene.camera_position)
    moved = Rotation.from_euler("z", 40, degrees=True).apply(position - target) + target
    findings, view = examine(model, training, record(training, replace(scene, camera_position=tuple(moved))), steps=16)
    assert [finding.name for finding in findings] == ["camera angle"]
    assert view is not None and np.degrees(view.angle) == pytest.approx(40, abs=15)


def test_the_fitted_rotation_is_the_one_that_was_applied() -> None:
    generator = np.random.default_rng(0)
    source = generator.normal(size=(20, 3))
    rotation = Rotation.from_euler("xyz", [0.3, -0.2, 1.1]).as_matrix()
    noisy = source @ rotation.T + 0.01 * generator.normal(size=(20, 3))
    np.testing.assert_allclose(fit_rotation(source, noisy), rotation, atol=0.02)
    assert np.linalg.det(fit_rotation(source, -source)) == pytest.approx(1)


def test_too_little_motion_is_said(model, training: Training, correct: Recording) -> None:
    still = replace(correct, poses=correct.poses[:5], images=correct.images[:5], times=correct.times[:5], commands=None)
    findings, view = examine(model, training, still)
    assert view is None and findings[-1].name == "too little motion"


def test_the_script_examines_the_simulated_arm_and_stores_the_correction(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("max_steps: 7\n")
    flags = ["--arm", "simulated", "--steps", "12", "--output", str(tmp_path / "results"), "--store", str(plan)]
    assert doctor.main(flags) == 0
    assert "nothing found" in capsys.readouterr().out and (tmp_path / "results/looks.png").is_file()
    stored = yaml.safe_load(plan.read_text())
    assert stored["max_steps"] == 7 and np.linalg.norm(stored["controller"]["camera_rotation"]) < 0.2
    with pytest.raises(ValueError, match="either an arm"):
        doctor.DoctorConfig()
