"""What of the LeRobot plugin needs no LeRobot: a robot's units. Its other tests are in integrations/lerobot/tests."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from envs.pose import compose
from envs.simulation.arm import arm_action_spec
from envs.spec import ActionSpec

UNITS = Path(__file__).parents[1] / "integrations/lerobot/lerobot_policy_vjepa_planner/units.py"
JOINTS = ("shoulder_pan", "shoulder_lift", "gripper")
SPEC = ActionSpec(JOINTS, ("rad", "rad", "1"), (-0.2,) * 3, (0.2,) * 3, "joints", 4.0)


def units(spec=SPEC, **settings):
    name = "lerobot_policy_units"
    found = importlib.util.spec_from_file_location(name, UNITS)  # the package itself imports LeRobot
    assert found is not None and found.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.Units(spec, **settings)


def so101():
    return units(degrees=True, gripper=(100.0, 0.0))


def test_degrees_and_a_gripper_from_100_become_radians_and_closedness_and_back():
    pose = so101().to_pose(np.array([90.0, -45.0, 75.0]))
    np.testing.assert_allclose(pose, [np.pi / 2, -np.pi / 4, 0.25])
    actions = np.array([[0.1, 0.0, 0.5], [0.1, -0.2, 0.5]])
    first, second = so101().to_targets(pose, actions)
    np.testing.assert_allclose(first, [90 + np.degrees(0.1), -45.0, 25.0])
    np.testing.assert_allclose(second, [90 + np.degrees(0.2), -45 - np.degrees(0.2), 0.0], atol=1e-12)
    np.testing.assert_allclose(so101().to_changes(actions)[0], [np.degrees(0.1), 0.0, -50.0])


def test_targets_of_a_hand_follow_the_pose_convention():
    pose, action = np.array([0.5, 0.0, 0.3, 3.0, 0.1, 0.2, 0.4]), np.array([0.01, 0.02, 0.0, 0.1, 0.0, 0.1, 0.9])
    targets = units(arm_action_spec()).to_targets(pose, np.stack([action, action]))
    np.testing.assert_allclose(targets, [compose(pose, action), compose(compose(pose, action), action)])


@pytest.mark.parametrize(
    ("settings", "state", "why"),
    [
        ({"gripper": (100.0, 0.0)}, [2.0, -98.0, 50.0], r"shoulder_lift is at -98, .*--policy\.degrees=false"),
        ({"degrees": True}, [2.0, -98.0, 50.0], r"gripper is at 50, .*open at 0 and closed at 1"),
        ({}, [0.0, 0.0], "3 finite numbers .shoulder_pan, shoulder_lift, gripper"),
        ({}, [0.0, np.nan, 0.0], "3 finite numbers"),
    ],
)
def test_a_state_in_other_units_is_refused(settings, state, why):
    with pytest.raises(ValueError, match=why):
        units(**settings).to_pose(np.array(state))


def test_other_joints_and_rates_are_refused():
    names = [f"{joint}.pos" for joint in JOINTS]
    so101().check_robot(names, 4)
    so101().check_robot(None, 4)
    with pytest.raises(ValueError, match=r"shoulder_pan, .* the robot on gripper, .*trained for this robot"):
        so101().check_robot(names[::-1], 4)
    with pytest.raises(ValueError, match="acts 4 times a second, LeRobot 30: set its fps"):
        so101().check_robot(names, 30)
    with pytest.raises(ValueError, match="does not move"):
        units(gripper=(1.0, 1.0))
