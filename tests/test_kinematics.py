"""Forward kinematics of an MJCF file, against the project's own arm."""

import mujoco
import numpy as np
import pytest
from recordings import arm_xml, trajectories

from envs.episodes.kinematics import forward_kinematics
from envs.pose import matrix_from_euler
from envs.simulation.arm import MujocoArm

NAMES = tuple(f"joint{number}" for number in range(1, 8))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "arm.xml"
    path.write_text(arm_xml())
    return path


def test_poses_are_those_that_the_simulated_arm_measures(model):
    joints, arm, measured = trajectories()[0].joints, MujocoArm(), []
    for row in joints:
        arm.data.qpos[:7] = row
        mujoco.mj_forward(arm.model, arm.data)
        measured.append(arm.pose()[:6])
    reached = forward_kinematics(model, NAMES, joints, site="tcp")
    np.testing.assert_allclose(reached, measured, atol=1e-5)  # MuJoCo saves six digits


def test_joints_are_found_by_name_whatever_their_order(model):
    joints = trajectories()[1].joints
    turned = forward_kinematics(model, NAMES[::-1], joints[:, ::-1], site="tcp")
    np.testing.assert_array_equal(turned, forward_kinematics(model, NAMES, joints, site="tcp"))


def test_poses_relative_to_a_body_are_seen_from_it(model):
    joints = trajectories()[2].joints
    hand, link = (forward_kinematics(model, NAMES, joints, body=name) for name in ("hand", "link4"))
    relative = forward_kinematics(model, NAMES, joints, body="hand", base="link4")
    turns = matrix_from_euler(link[:, 3:])
    positions = link[:, :3] + np.einsum("tij,tj->ti", turns, relative[:, :3])
    np.testing.assert_allclose(positions, hand[:, :3], atol=1e-12)
    rotations = turns @ matrix_from_euler(relative[:, 3:])
    np.testing.assert_allclose(rotations, matrix_from_euler(hand[:, 3:]), atol=1e-12)


@pytest.mark.parametrize(
    ("names", "places", "message"),
    [
        (("joint1", "elbow"), {"site": "tcp"}, r"has no joint 'elbow'; it has \['joint1', 'joint2'"),
        (("joint1", "joint2"), {"site": "hand"}, r"has no site 'hand'; it has \['tcp'\]"),
        (("joint1", "joint2"), {"site": "tcp", "base": "world2"}, "has no body 'world2'"),
    ],
)
def test_what_the_model_lacks_is_named(model, names, places, message):
    with pytest.raises(ValueError, match=message):
        forward_kinematics(model, names, np.zeros((3, 2)), **places)


def test_a_file_that_is_no_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no MuJoCo model .*arm\.xml"):
        forward_kinematics(tmp_path / "arm.xml", ("joint1",), np.zeros((3, 1)), site="tcp")
    (tmp_path / "arm.xml").write_text("<robot")
    with pytest.raises(ValueError, match=r"arm\.xml is no model that MuJoCo can load"):
        forward_kinematics(tmp_path / "arm.xml", ("joint1",), np.zeros((3, 1)), site="tcp")
