"""The pose and delta convention, against SciPy and against itself, in NumPy and torch."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from envs.pose import compose, difference, euler_from_matrix, matrix_from_euler


def random_poses(count, seed=0):
    generator = np.random.default_rng(seed)
    euler = Rotation.random(count, generator).as_euler("xyz")
    return np.concatenate([generator.normal(size=(count, 3)), euler, generator.uniform(size=(count, 1))], axis=-1)


def rotation_error(pose, other):
    return (Rotation.from_euler("xyz", pose[:, 3:6]).inv() * Rotation.from_euler("xyz", other[:, 3:6])).magnitude()


def test_matrices_and_euler_angles_are_scipys_extrinsic_xyz():
    poses = random_poses(500)
    matrices = Rotation.from_euler("xyz", poses[:, 3:6]).as_matrix()
    np.testing.assert_allclose(matrix_from_euler(poses[:, 3:6]), matrices, atol=1e-12)
    np.testing.assert_allclose(euler_from_matrix(matrices), poses[:, 3:6], atol=1e-9)


def test_difference_then_compose_is_the_identity():
    start, end = random_poses(500, seed=1), random_poses(500, seed=2)
    reached = compose(start, difference(start, end))
    np.testing.assert_allclose(reached[:, [0, 1, 2, 6]], end[:, [0, 1, 2, 6]], atol=1e-12)
    assert rotation_error(reached, end).max() < 1e-9


def test_difference_is_the_rotation_from_start_to_end_in_the_base_frame():
    start, end = random_poses(200, seed=3), random_poses(200, seed=4)
    first, second = (Rotation.from_euler("xyz", pose[:, 3:6]) for pose in (start, end))
    np.testing.assert_allclose(
        difference(start, end)[:, 3:6], (second * first.inv()).as_euler("xyz"), atol=1e-9
    )  # fmt: skip


def test_gripper_closedness_stays_between_open_and_closed():
    pose, action = random_poses(2), np.zeros((2, 7))
    action[:, 6] = (5.0, -5.0)
    np.testing.assert_array_equal(compose(pose, action)[:, 6], (1.0, 0.0))


@settings(max_examples=200, deadline=None)
@given(st.floats(-np.pi, np.pi), st.sampled_from([-np.pi / 2, np.pi / 2]), st.floats(-np.pi, np.pi))
def test_gimbal_lock_keeps_the_rotation(roll, pitch, yaw):
    matrix = matrix_from_euler(np.array([roll, pitch, yaw]))
    np.testing.assert_allclose(matrix_from_euler(euler_from_matrix(matrix)), matrix, atol=1e-5)


def test_torch_and_numpy_agree_and_broadcast():
    poses, actions = random_poses(8, seed=5), random_poses(8, seed=6) * 0.1
    in_torch = compose(torch.from_numpy(poses)[:, None], torch.from_numpy(actions)[None])
    assert in_torch.shape == (8, 8, 7)
    np.testing.assert_allclose(in_torch.numpy(), compose(poses[:, None], actions[None]), atol=1e-12)


def test_compose_and_difference_have_right_gradients():
    start, end = (torch.from_numpy(random_poses(4, seed=seed)).requires_grad_() for seed in (7, 8))
    small = (end.detach() * 0.05).requires_grad_()
    assert torch.autograd.gradcheck(compose, (start, small))
    assert torch.autograd.gradcheck(difference, (start, end))


def test_float32_stays_float32():
    poses = torch.from_numpy(random_poses(3)).float()
    assert compose(poses, poses * 0.1).dtype == torch.float32
    assert difference(poses.numpy(), poses.numpy()).dtype == np.float32
