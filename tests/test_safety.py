"""What the safety filter lets through to an arm that only remembers."""

import numpy as np
import pytest

from envs.mujoco.arm import arm_action_spec
from envs.safety import SafeArm, SafetyLimits, SafetyStop
from envs.spec import Observation

START = np.array([0.5, 0.0, 0.2, np.pi, 0.0, 0.0, 0.0])


class RecordingArm:
    """An arm that goes at once where it is sent."""

    def __init__(self):
        self.action_spec = arm_action_spec()
        self.image_shape = (4, 4, 3)
        self.pose = START.copy()
        self.sent, self.stops = [], 0

    def connect(self):
        pass

    def observe(self):
        return Observation(np.zeros(self.image_shape, np.uint8), self.pose.copy(), 0.0)

    def command(self, target_pose, gripper, duration):
        self.pose = np.append(target_pose, gripper)
        self.sent.append(self.pose)
        return self.pose

    def stop(self):
        self.stops += 1

    def close(self):
        pass


def test_a_safe_command_passes_unchanged():
    arm = RecordingArm()
    target = START + np.array([0.05, -0.02, 0.03, 0, 0, 0, 0.4])
    np.testing.assert_allclose(SafeArm(arm).command(target[:6], target[6], 0.25), target)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_never_reach_the_arm(bad):
    for index in range(7):
        arm = RecordingArm()
        target = START.copy()
        target[index] = bad
        with pytest.raises(SafetyStop):
            SafeArm(arm).command(target[:6], target[6], 0.25)
        assert not arm.sent
        assert arm.stops == 1


def test_a_turn_over_the_limit_is_refused():
    arm = RecordingArm()
    with pytest.raises(SafetyStop, match="turns"):
        SafeArm(arm).command(START[:6] + np.array([0, 0, 0, 0, 0, 0.5]), 0.0, 0.25)
    assert not arm.sent


def test_random_commands_never_leave_the_workspace_nor_step_too_far():
    limits = SafetyLimits()
    arm = RecordingArm()
    safe = SafeArm(arm, limits)
    generator = np.random.default_rng(0)
    for _ in range(2000):
        before = safe.observe().pose
        safe.command(np.append(generator.uniform(-2, 2, 3), START[3:6]), generator.uniform(-3, 3), 0.25)
        sent = arm.sent[-1]
        assert np.all(sent[:3] >= limits.workspace_low)
        assert np.all(sent[:3] <= limits.workspace_high)
        assert np.linalg.norm(sent[:3] - before[:3]) <= limits.max_step + 1e-9
        assert 0 <= sent[6] <= 1


def test_impossible_limits_are_refused():
    with pytest.raises(ValueError, match="empty"):
        SafetyLimits(workspace_low=(1.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="positive"):
        SafetyLimits(max_step=0.0)
