"""What a gripper was told, which recordings of measured poses do not say where something stopped it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.moving_square import MovingSquare
from world_model.data.batches import RecordedWindows
from world_model.data.gripper import told_actions


def test_a_gripper_that_a_thing_stopped_was_told_to_shut() -> None:
    poses = np.zeros((10, 7), np.float32)
    poses[:, 6] = [0.0, 0.0, 0.2, 0.4, 0.4, 0.4, 0.4, 0.0, 0.5, 0.0]
    actions = np.diff(poses, axis=0)
    told = told_actions(poses, actions, gripper=6)
    expected = actions.copy()
    expected[1:3, 6] = [1.0, 0.8]
    np.testing.assert_allclose(told, expected)


class Gripper(MovingSquare):
    """A moving square whose second number is a gripper that something stops."""

    def poses_actions(self, episode: int) -> tuple[np.ndarray, np.ndarray]:
        poses = np.zeros((8, 2), np.float32)
        poses[:, 1] = [0.0, 0.0, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]
        return poses, np.diff(poses, axis=0)


@pytest.mark.parametrize(("stride", "closes"), [(1, [0, 1, 0, 0, 0, 0, 0]), (2, [1, 1, 0, 0, 0, 0])])
def test_windows_have_what_was_told_if_that_is_asked_for(stride: int, closes: list[float]) -> None:
    data = Gripper((8,), spec=replace(MovingSquare((8,)).spec, names=("x", "gripper"), units=("m", "1")))
    measured, told = (RecordedWindows(data, stride, told=told) for told in (False, True))
    np.testing.assert_allclose(told.actions[0][:, 1], closes, atol=1e-6)
    np.testing.assert_allclose(measured.actions[0][:, 1], 0.4 * np.array(closes), atol=1e-6)
    assert np.array_equal(measured.actions[0][:, 0], told.actions[0][:, 0])
    assert not RecordedWindows(MovingSquare((4,)), told=True).actions[0][:, 0].max() > 1.0  # has no gripper
