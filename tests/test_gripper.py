"""What a gripper was told, which recordings of measured poses do not say where something stopped it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.moving_square import MovingSquare
from world_model.data.batches import RecordedWindows
from world_model.data.gripper import told_actions


def test_a_gripper_was_told_to_shut_or_open_until_something_stops_it_and_nothing_while_it_holds_that() -> None:
    closedness = [0.0, 0.0, 0.2, 0.4, 0.4, 0.38, 0.4, 0.0, 0.5, 0.8, 1.0, 0.9, 0.5, 0.1, 0.1]
    told = [0.0, 0.6, 0.6, 0.0, 0.0, 0.0, -0.4, 0.6, 0.5, 0.2, -0.6, -0.6, -0.5, 0.0]
    poses = np.zeros((len(closedness), 7), np.float32)
    poses[:, 6] = closedness
    actions = np.diff(poses, axis=0)
    expected = actions.copy()
    expected[:, 6] = told
    np.testing.assert_allclose(told_actions(poses, actions, gripper=6, most=0.6), expected, atol=1e-6)


def test_a_grip_that_takes_two_actions_was_told_to_shut_by_both() -> None:
    poses = np.array([[0.0], [0.51], [0.562], [0.562], [0.55], [0.562]], np.float32)  # OGBench's, at a cube
    told = told_actions(poses, np.diff(poses, axis=0), gripper=0, most=0.6)
    np.testing.assert_allclose(told[:, 0], [0.6, 0.49, 0.0, 0.0, 0.0], atol=1e-6)


def test_fingers_that_give_way_hold_all_the_same() -> None:
    poses = np.array([[0.0], [0.58], [0.52], [0.52], [0.52]], np.float32)  # Fetch's, at a block
    told = told_actions(poses, np.diff(poses, axis=0), gripper=0, most=0.8)
    np.testing.assert_allclose(told[:, 0], [0.8, 0.0, 0.0, 0.0], atol=1e-6)


class Gripper(MovingSquare):
    """A moving square whose second number is a gripper that something stops."""

    def poses_actions(self, episode: int) -> tuple[np.ndarray, np.ndarray]:
        poses = np.zeros((8, 2), np.float32)
        poses[:, 1] = [0.0, 0.0, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]
        return poses, np.diff(poses, axis=0)


@pytest.mark.parametrize(("stride", "closes"), [(1, [0, 1, 0, 0, 0, 0, 0]), (2, [1, 1, 0, 0, 0, 0])])
def test_windows_have_what_was_told_if_that_is_asked_for(stride: int, closes: list[float]) -> None:
    spec = replace(MovingSquare((8,)).spec, names=("x", "gripper"), units=("m", "1"), low=(-0.1, -1.0), high=(0.1, 1.0))
    data = Gripper((8,), spec=spec)
    measured, told = (RecordedWindows(data, stride, told=told) for told in (False, True))
    np.testing.assert_allclose(told.actions[0][:, 1], closes, atol=1e-6)
    np.testing.assert_allclose(measured.actions[0][:, 1], 0.4 * np.array(closes), atol=1e-6)
    assert np.array_equal(measured.actions[0][:, 0], told.actions[0][:, 0])
    assert not RecordedWindows(MovingSquare((4,)), told=True).actions[0][:, 0].max() > 1.0  # has no gripper
