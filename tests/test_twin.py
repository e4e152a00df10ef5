"""The simulated arm in real time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from envs.arm import ArmError, OutOfReach
from envs.mujoco.arm import DOWN, MujocoArm, MujocoArmConfig
from envs.mujoco.twin import MujocoTwin, TwinConfig
from envs.safety import SafeArm

PLACE = np.array([0.5, 0.0, 0.25, *DOWN, 0.0])


@pytest.fixture
def twin() -> Iterator[MujocoTwin]:
    arm = MujocoArm(MujocoArmConfig(image_size=32))
    arm.set_pose(PLACE)
    twin = MujocoTwin(arm)
    twin.connect()
    yield twin
    twin.close()


def test_observations_come_at_the_cameras_rate_with_the_time_of_the_image(twin: MujocoTwin) -> None:
    seen = {twin.observe().time: twin.observe() for _ in range(100) if time.sleep(0.005) is None}
    assert 2 <= len(seen) <= 12
    assert all(observation.image.any() for observation in seen.values())
    assert 0.0 <= time.monotonic() - twin.observe().time < 1.0


def test_time_passes_by_itself_and_commands_arrive(twin: MujocoTwin) -> None:
    safe = SafeArm(twin)
    safe.observe()
    target = PLACE + np.array([0.075, 0.06, -0.05, 0, 0, 0, 1.0])
    for _ in range(4):  # a busy machine leaves out set-points
        safe.command(target[:6], target[6], 0.25)
    begin = twin.arm.data.time
    time.sleep(0.3)
    assert twin.arm.data.time > begin
    np.testing.assert_allclose(twin.observe().pose[:3], target[:3], atol=2e-3)
    assert twin.observe().pose[6] > 0.9


def test_a_set_point_out_of_reach_is_an_error_and_the_arm_holds(twin: MujocoTwin) -> None:
    with pytest.raises(OutOfReach, match="no joint angles"):
        twin.send(np.array([1.5, 0.0, 0.2, *DOWN, 0.0]))
    time.sleep(0.2)
    np.testing.assert_allclose(twin.observe().pose[:3], PLACE[:3], atol=2e-3)


def test_a_stop_holds_the_arm_where_it_is(twin: MujocoTwin) -> None:
    for step in range(12):  # 6 cm in 0.1 s
        twin.send(PLACE + np.array([0.005 * step, 0, 0, 0, 0, 0, 0]))
        time.sleep(0.008)
    twin.stop()
    time.sleep(0.2)
    standing = twin.observe().pose[0]
    time.sleep(0.2)
    assert PLACE[0] < standing < PLACE[0] + 0.075
    assert twin.observe().pose[0] == pytest.approx(standing, abs=1e-3)


def test_a_closed_twin_says_so_and_its_arm_is_the_callers_again(twin: MujocoTwin) -> None:
    twin.stop()
    twin.close()
    twin.close()
    with pytest.raises(ArmError, match="not connected"):
        twin.observe()
    with pytest.raises(ArmError, match="not connected"):
        twin.send(PLACE)
    assert twin.arm.render(32).any()
    twin.connect()
    assert twin.observe().image.any()


def test_an_impossible_camera_is_refused() -> None:
    with pytest.raises(ValueError, match="camera_rate"):
        TwinConfig(camera_rate=0.0)
