"""A checkpoint in joint space drives LeRobot's arm: joints become poses within every limit, through SafeArm."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_arms import FakeArm
from vendor_arms import so101, vendor_libraries

from envs.arms.drivers.lerobot import JointConfig, LeRobotArm
from envs.arms.limits import JointLimits, SafetyLimits
from envs.pose import compose
from envs.spec import ActionSpec, Goal, SpecError
from planner.control.executor import ExecutorConfig
from tests.so101_recordings import JOINTS

__all__ = ["vendor_libraries"]  # a fixture
NAMES = (*JOINTS, "gripper")
SPEC = ActionSpec(NAMES, ("rad",) * 5 + ("1",), (-0.4,) * 6, (0.4,) * 6, "joints", 4.0)
START = np.radians([0.0, -20.0, 40.0, 60.0, 0.0])  # of the fake


class Server:
    """A plan server whose plans are given."""

    def __init__(self, *actions: list[float], spec: ActionSpec = SPEC, goal_pose: bool = False) -> None:
        self.metadata = {"action_spec": spec.to_dict(), "goal_pose": goal_pose}
        self.actions, self.asked, self.told = np.array(actions), [], ([], -1, {})

    def reset(self, goals, seed, action_spec) -> None:
        self.told = (goals, seed, action_spec)

    def infer(self, observation, committed=None, deadline=None) -> dict:
        self.asked.append(observation)
        return {"actions": self.actions, "cost": 1.0, "seconds": 0.1}


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "scripts"))


@pytest.fixture
def arm(vendor_libraries: None, tmp_path: Path) -> Iterator[LeRobotArm]:
    arm = LeRobotArm(so101(tmp_path))
    try:
        arm.connect()
        yield arm
    finally:
        arm.close()


def plans(server: Server, arm: object, limits: JointLimits | None = None):
    return importlib.import_module("planner.deployment.joints").plans_for(server, arm, limits or JointLimits())


def test_the_server_sees_joints_and_its_actions_lead_where_they_say(arm):
    first, second = [0.03, -0.02, 0.02, -0.03, 0.1, -0.2], [-0.02, 0.01, 0.0, 0.02, 0.05, 0.1]
    server = Server(first, second)
    seen = arm.observe()
    actions = plans(server, arm).infer(seen)["actions"]
    np.testing.assert_allclose(server.asked[0].pose, [*START, 0.0], atol=1e-3)
    after = compose(seen.pose, actions[0])
    np.testing.assert_allclose(arm.joints_of(after[:6]), START + first[:5], atol=2e-3)
    np.testing.assert_allclose(after[:6], arm.pose_of(server.asked[0].pose[:5] + first[:5]), atol=1e-6)
    last = compose(after, actions[1])
    np.testing.assert_allclose(last[:6], arm.pose_of(server.asked[0].pose[:5] + first[:5] + second[:5]), atol=1e-6)
    assert (after[6], last[6]) == (0.0, pytest.approx(0.1))  # closedness is held to 0 .. 1


def test_an_action_is_held_to_the_joint_s_step_its_range_and_the_pose_s_bounds(arm):
    limits = JointLimits(max_step=0.05, margin=0.1)
    seen, state = arm.observe(), [0.9, 0.0, 0.0, 0.0, -0.9, 0.0]
    actions = plans(Server(*[state] * 60), arm, limits).infer(seen)["actions"]
    pose, joints = seen.pose, [START]
    assert (np.abs(actions) <= np.array(arm.action_spec.high) + 1e-9).all()
    for action in actions:
        pose = compose(pose, action)
        joints.append(arm.joints_of(pose[:6]) if len(joints) < 4 else joints[-1])
    assert np.abs(np.diff(joints, axis=0)).max() <= 0.05 + 2e-3
    end = arm.pose_of(np.array([1.9 - 0.1, *START[1:4], -(2.8 - 0.1)]))
    np.testing.assert_allclose(pose[:3], end[:3], atol=2e-3)
    wide = plans(Server([0.4, 0.4, 0.4, 0.4, 0.4, 0.0]), arm, JointLimits(max_step=0.4)).infer(seen)["actions"]
    assert (np.abs(wide) <= np.array(arm.action_spec.high) + 1e-9).all() and np.abs(wide).max() > 0.05


def test_a_joint_beyond_its_range_may_come_back_but_not_go_on():
    ranges, limits = np.array([[-1.0, 1.0]]), JointLimits(max_step=0.2, margin=0.1)
    held = [limits.held(np.array([1.05]), np.array([end]), ranges)[0] for end in (1.5, 1.0, 0.0)]
    assert held == pytest.approx([1.05, 1.0, 0.85])


def test_the_server_is_told_how_far_joints_may_go_and_whether_the_gripper_stays(arm):
    server, goal = Server([0.0] * 6), Goal(np.zeros((8, 8, 3), np.uint8), np.full(7, 0.1))
    still = {"low": [-1.0] * 6 + [0.0], "high": [1.0] * 6 + [0.0]}
    plans(server, arm, JointLimits(max_step=0.3)).reset([goal], 7, still)
    goals, seed, spec = server.told
    assert (seed, goals[0].pose) == (7, None) and goals[0].image is goal.image
    assert (spec["high"], spec["low"][5]) == ([0.3] * 5 + [0.0], 0.0)
    with pytest.raises(ValueError, match="pose_weight: 0"):
        plans(Server([0.0] * 6, goal_pose=True), arm).reset([goal], 7, still)
    level = {"low": [-1.0] * 3 + [0.0, 0.0, -1.0, -1.0], "high": [1.0] * 3 + [0.0, 0.0, 1.0, 1.0]}
    with pytest.raises(ValueError, match=r"can't keep roll, pitch as they are.*Take them out of `fixed`"):
        plans(Server([0.0] * 6), arm).reset([goal], 7, level)


def test_what_can_not_be_driven_is_refused_with_the_reason(arm):
    with pytest.raises(SpecError, match="do not mean the same: names"):
        plans(Server(spec=ActionSpec(("a", "b"), ("rad",) * 2, (-1.0,) * 2, (1.0,) * 2, "joints", 4.0)), arm)
    with pytest.raises(SpecError, match="rate"):
        plans(Server(spec=ActionSpec(NAMES, SPEC.units, SPEC.low, SPEC.high, "joints", 5.0)), arm)
    with pytest.raises(SpecError, match=r"takes poses alone.*--model ARM\.xml"):
        plans(Server(), FakeArm(time))
    seen = SimpleNamespace(pose=np.zeros(7))
    with pytest.raises(ValueError, match=r"--runtime\.mode blocking"):
        plans(Server([0.0] * 6), arm).infer(seen, committed=np.zeros((1, 7)))
    with pytest.raises(ValueError, match="a plan is"):
        plans(Server([np.nan] * 6), arm).infer(arm.observe())


def test_a_checkpoint_of_poses_is_asked_as_it_is(arm):
    server = Server(spec=arm.action_spec)
    assert plans(server, arm) is server


def test_motors_that_turn_against_the_model_keep_their_own_ranges(vendor_libraries, tmp_path):
    config = so101(tmp_path)
    turned = tuple(
        JointConfig(joint.motor, joint.joint, -1.0, 0.3) if joint.joint == "shoulder_lift" else joint
        for joint in config.joints
    )
    arm = LeRobotArm(type(config)(**{**vars(config), "joints": turned}))
    np.testing.assert_allclose(arm.joint_ranges[1], [0.3 - 1.8, 0.3 + 1.8])
    np.testing.assert_allclose(arm.joint_ranges[0], [-1.9, 1.9])


def test_a_dry_run_shows_where_joints_would_lead(arm):
    limits = SafetyLimits((0.0, -0.5, -0.5), (0.6, 0.5, 0.6), max_tilt=3.0, max_turn_speed=10.0)
    source = plans(Server([0.05, 0.0, 0.0, 0.0, 0.0, 0.0]), arm)
    steps = list(importlib.import_module("planner.deployment.dry").DryRun(arm, limits, source, ExecutorConfig()).run(1))
    assert not any("outside" in reason for reason in steps[0].reasons)
    expected = START + np.array([0.05, 0.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(arm.joints_of(steps[0].sent[:6]), expected, atol=5e-3)
