"""What the safety filter lets through to an arm that only remembers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from envs.arms.base import ArmError
from envs.arms.safety import SafeArm, SafetyLimits, SafetyStop
from envs.arms.set_points import interpolate, matrix_from_vector, vector_from_matrix
from envs.pose import difference
from envs.simulation.arm import arm_action_spec
from envs.spec import Observation
from tests.fake_arms import START as FROM
from tests.fake_arms import FakeArm, TestClock

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


def test_why_a_blocking_command_is_not_sent_as_it_is_can_be_read():
    safe = SafeArm(RecordingArm())
    safe.command(START[:6] + np.array([0.01, 0, 0, 0, 0, 0]), 0.0, 0.25)
    assert not safe.events
    safe.command(START[:6] - np.array([0.5, 0, 0, 0, 0, 0]), 0.0, 0.25)
    (event,) = safe.events
    assert event.commanded is not None and event.sent is not None and event.commanded[0] < event.sent[0]
    assert event.reasons == ("a step longer than max_step",)


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


def streaming(limits: SafetyLimits | None = None) -> tuple[SafeArm, FakeArm, TestClock]:
    """Returns a filtered arm that was looked at, the arm and its clock."""
    clock = TestClock()
    arm = FakeArm(clock)
    safe = SafeArm(arm, limits, clock)
    safe.connect()
    safe.observe()
    return safe, arm, clock


def send_for(safe: SafeArm, clock: TestClock, target: np.ndarray, seconds: float) -> None:
    for _ in range(round(seconds / 0.008)):
        safe.observe()
        safe.send(target)
        clock.sleep(0.008)


def test_a_stream_reaches_a_step_within_its_limits_and_comes_to_rest_there():
    safe, arm, clock = streaming()
    target = FROM + np.array([0.075, -0.075, 0.075, 0.1, -0.1, 0.1, 1.0])
    send_for(safe, clock, target, 0.25)
    np.testing.assert_allclose(difference(arm.pose, target), 0.0, atol=1e-4)
    velocities = np.diff(np.array(arm.sent)[:, :3], axis=0) / 0.008
    accelerations = np.diff(velocities, axis=0, prepend=np.zeros((1, 3))) / 0.008
    assert 1.0 < np.linalg.norm(velocities, axis=1).max() <= 1.7
    assert np.linalg.norm(accelerations, axis=1).max() <= 13.0 + 1e-6


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_no_stream_leaves_the_workspace_or_its_limits_however_its_targets_jump(seed):
    limits = SafetyLimits(max_step=10.0, max_turn=7.0)
    safe, arm, clock = streaming(limits)
    generator = np.random.default_rng(seed)
    for _ in range(8):
        target = np.append(generator.uniform(-1, 1.5, 3), generator.uniform(-3, 3, 4))
        send_for(safe, clock, target, float(generator.uniform(0.01, 0.2)))
    sent = np.array(arm.sent)
    velocities = np.diff(sent[:, :3], axis=0) / 0.008
    assert np.all(sent[:, :3] >= limits.workspace_low) and np.all(sent[:, :3] <= limits.workspace_high)
    assert np.linalg.norm(velocities, axis=1).max() <= limits.max_speed + 1e-6
    assert np.linalg.norm(np.diff(velocities, axis=0), axis=1).max() <= limits.max_acceleration * 0.008 + 1e-6
    turned = Rotation.from_euler("xyz", sent[:, 3:6]) * Rotation.from_euler("xyz", sent[0, 3:6]).inv()
    assert turned.magnitude().max() <= limits.max_tilt + 1e-5
    spins = (Rotation.from_euler("xyz", sent[1:, 3:6]) * Rotation.from_euler("xyz", sent[:-1, 3:6]).inv()).as_rotvec()
    assert np.linalg.norm(spins, axis=1).max() <= limits.max_turn_speed * 0.008 + 1e-6
    assert np.abs(np.diff(sent[:, 6])).max() <= limits.max_gripper_rate * 0.008 + 1e-9


@pytest.mark.wrong_arrays
@pytest.mark.parametrize("bad", [np.full(7, np.nan), FROM + 0.2, np.zeros(3), FROM * 1000.0])
def test_a_refused_set_point_brakes_the_arm_and_too_many_stop_it(bad):
    safe, arm, clock = streaming(SafetyLimits(hold_limit=20))
    send_for(safe, clock, FROM + np.array([0.1, 0, 0, 0, 0, 0, 0]), 0.08)
    moving = len(arm.sent)
    with pytest.raises(SafetyStop, match="20 set-points in a row"):
        send_for(safe, clock, bad, 1.0)
    braking = np.linalg.norm(np.diff(np.array(arm.sent[moving - 1 :])[:, :3], axis=0), axis=1) / 0.008
    assert braking[0] > 0.5 and braking[-1] == 0.0 and np.all(np.diff(braking) <= 0.0)
    assert len(arm.sent) == moving + 20 and arm.stops == 1
    assert safe.latest is not None and safe.latest.commanded is not None and safe.events[-1].reasons


def test_an_old_observation_forbids_motion_but_not_holding():
    safe, _, clock = streaming()
    send_for(safe, clock, FROM, 0.1)
    clock.sleep(1.0)
    for _ in range(100):
        safe.send(FROM)
        clock.sleep(0.008)
    assert safe.latest is not None and safe.latest.reasons == ()
    safe.send(FROM + 0.01)
    assert safe.latest.reasons[0].startswith("the newest observation is 1.") and safe.latest.sent is not None
    np.testing.assert_array_equal(safe.latest.sent, FROM)


def test_a_pose_is_the_same_however_its_angles_are_written():
    safe, arm, clock = streaming()
    target = FROM + np.array([0, 0, 0, 0.01, 0, 0, 0])  # roll beyond pi
    send_for(safe, clock, target, 0.2)
    assert arm.sent[-1][3] < 0 and safe.latest is not None and safe.latest.reasons == ()
    clock.sleep(1.0)
    safe.send(target)
    assert safe.latest.reasons == (), "that is no motion, for which the observation would be too old"


def test_a_stream_begins_again_where_the_arm_stands_after_a_stop_and_only_after_a_new_look():
    safe, arm, clock = streaming()
    send_for(safe, clock, FROM + 0.02, 0.2)
    safe.stop()
    arm.pose = FROM - 0.02
    clock.sleep(0.1)
    count = len(arm.sent)
    safe.send(FROM + 0.02)
    assert len(arm.sent) == count and "observe() first" in safe.events[-1].reasons[0]
    safe.observe()
    safe.send(FROM + 0.02)
    np.testing.assert_allclose(arm.sent[-1], safe.allowed(FROM - 0.02))


def test_a_stop_that_comes_while_a_set_point_is_sent_is_repeated_after_it():
    safe, arm, _ = streaming()
    send = arm.send
    order = []

    def send_slowly(set_point: np.ndarray) -> None:
        safe.stop()  # as another thread would
        send(set_point)
        order.append("sent")

    arm.send, arm.stop = send_slowly, lambda: order.append("stopped")
    safe.send(FROM)
    assert order == ["stopped", "sent", "stopped"]


def test_an_arm_that_stands_outside_of_its_limits_is_not_moved():
    clock = TestClock()
    arm = FakeArm(clock)
    arm.pose[2] = 0.6
    safe = SafeArm(arm, None, clock)
    safe.observe()
    safe.send(arm.pose)
    assert not arm.sent and "by hand" in safe.events[-1].reasons[0]


@pytest.mark.parametrize("change", [np.array([0.2, 0, 0, 0, 0, 0, 0]), np.array([0, 0, 0, 0, 0, 1.0, 0])])
def test_a_measured_pose_that_jumps_is_an_error_that_names_units_and_frame(change):
    safe, arm, clock = streaming()
    arm.pose = arm.pose + change
    clock.sleep(0.02)
    with pytest.raises(ArmError, match="units and frame"):
        safe.observe()


def test_a_blocking_command_to_a_streaming_arm_is_a_stream_that_arrives():
    safe, arm, clock = streaming()
    target = FROM + np.array([0.075, 0.05, -0.05, 0, 0, 0.1, 1.0])
    begin = clock.now
    np.testing.assert_allclose(safe.command(target[:6], target[6], 0.25), target, atol=1e-4)
    assert len(arm.sent) > 25 and clock.now - begin < 0.3
    assert np.linalg.norm(np.diff(np.array(arm.sent)[:, :3], axis=0), axis=1).max() <= 1.7 * 0.008 + 1e-9


@pytest.mark.parametrize("angle", [1e-12, 0.3, 3.0, np.pi - 1e-6, np.pi])
def test_rotation_vectors_are_scipys(angle):
    for axis in np.random.default_rng(0).normal(size=(20, 3)):
        vector = axis / np.linalg.norm(axis) * angle
        matrix = Rotation.from_rotvec(vector).as_matrix()
        np.testing.assert_allclose(matrix_from_vector(vector), matrix, atol=1e-12)
        np.testing.assert_allclose(matrix_from_vector(vector_from_matrix(matrix)), matrix, atol=1e-6)


def test_the_way_between_two_poses_is_straight_and_geodesic():
    start, end = START.copy(), START + np.array([0.1, 0, -0.1, 0.2, 0.3, -0.4, 1.0])
    middle = interpolate(start, end, 0.5)
    np.testing.assert_allclose(middle[[0, 1, 2, 6]], (start + end)[[0, 1, 2, 6]] / 2)
    np.testing.assert_allclose(difference(start, middle)[3:6], difference(middle, end)[3:6], atol=1e-9)
    np.testing.assert_allclose(difference(interpolate(start, end, 1.0), end), 0.0, atol=1e-12)
