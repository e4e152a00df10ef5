"""What each driver of a real arm says and does when its robot, gripper, camera or library fails."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from vendor_arms import (
    CAMERA,
    FAKES,
    PAGE,
    VENDORS,
    documented_driver,
    library,
    make_arm,
    make_documented_arm,
    robot,
    so101,
    vendor_libraries,  # noqa: F401
)

from envs.arm_choice import build_arm
from envs.arms.base import ArmError, OutOfReach
from envs.arms.drivers.camera import CameraConfig, OpenCVCamera
from envs.arms.drivers.child import JsonChild
from envs.arms.drivers.franka import FrankaArm, FrankaConfig
from envs.arms.drivers.history import PoseHistory
from envs.arms.drivers.kinematics import Kinematics
from envs.arms.drivers.lerobot import LeRobotArm, LeRobotConfig
from envs.arms.drivers.robotiq import RobotiqConfig
from envs.arms.drivers.ros2 import Ros2Arm, Ros2Config
from envs.arms.drivers.tool import ToolOffset
from envs.arms.drivers.ur import URArm, URConfig
from envs.config import load_config

pytestmark = pytest.mark.usefixtures("vendor_libraries")
PATIENCE = 5.0


@pytest.fixture
def arm(request, tmp_path):
    for made in make_arm(request.param, tmp_path):
        made.connect()
        yield made
        made.close()


only = {vendor: pytest.mark.parametrize("arm", [vendor], indirect=True) for vendor in VENDORS}
every = pytest.mark.parametrize("arm", VENDORS, indirect=True)


def becomes(what) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.005)
    return False


def failure_of(arm) -> str:
    """The line that observing raises, once the arm has failed."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            arm.observe()
        except ArmError as error:
            return str(error)
        time.sleep(0.01)
    pytest.fail("the arm did not fail")


def nudge(arm, height: float = 0.01) -> np.ndarray:
    set_point = arm.observe().pose.copy()
    set_point[2] += height
    return set_point


# Every arm.


@every
def test_a_driver_measures_the_pose_of_its_robot(arm):
    if isinstance(arm, LeRobotArm):
        kinematics = Kinematics(FAKES / "so101.xml", tuple(joint.joint for joint in arm.config.joints), "gripper")
        expected = kinematics.forward(np.radians([0.0, -20.0, 40.0, 60.0, 0.0]))
    else:
        expected = np.concatenate([robot().position, robot().rotation.as_euler("xyz")])
    pose = arm.observe().pose
    np.testing.assert_allclose(pose[:3], expected[:3], atol=1e-6)
    turn = Rotation.from_euler("xyz", pose[3:6]).inv() * Rotation.from_euler("xyz", expected[3:6])
    assert turn.magnitude() < 1e-6


@pytest.mark.parametrize("arm", ["franka", "ur", "ros2"], indirect=True)
def test_a_driver_sends_orientations_as_its_robot_understands_them(arm):
    set_point = arm.observe().pose.copy()
    set_point[3:6] = [3.0, 0.2, -0.4]
    arm.send(set_point)
    turn = robot().target_rotation.inv() * Rotation.from_euler("xyz", set_point[3:6])
    assert turn.magnitude() < 1e-9


@pytest.mark.parametrize("arm", ["franka"], indirect=True)
def test_a_set_point_that_is_not_seven_finite_numbers_is_refused(arm):
    for set_point in (np.full(7, np.nan), np.full(7, np.inf), np.zeros(6), np.zeros((1, 7))):
        with pytest.raises(ValueError, match="7 finite numbers"):
            arm.send(set_point)
    assert "set_target" not in robot().names()


@every
def test_images_are_rgb(arm):
    image = arm.observe().image
    red, blue = image[..., 0].max(), image[..., 2].max()
    assert (red, blue) == (0, 200)


@pytest.mark.parametrize("arm", ["franka", "ur", "ros2"], indirect=True)
def test_a_gripper_that_blocks_does_not_keep_set_points_from_being_sent(arm):
    blocked = robot().blocked["gripper"] = threading.Event()
    set_point = nudge(arm)
    set_point[6] = 1.0
    arm.send(set_point)
    time.sleep(0.1)
    for _ in range(10):
        arm.send(set_point)
    assert becomes(lambda: abs(arm.observe().pose[2] - set_point[2]) < 1e-3)
    assert robot().target_closedness == 0.0
    blocked.set()
    assert becomes(lambda: robot().closedness > 0.9)


@pytest.mark.parametrize("arm", ["franka", "ur", "ros2"], indirect=True)
def test_the_gripper_is_not_told_what_it_was_told_already(arm):
    set_point = arm.observe().pose.copy()
    for closedness in (0.01, 0.02, 1.0, 1.0):
        set_point[6] = closedness
        arm.send(set_point)
        time.sleep(0.08)
    assert robot().names().count("gripper") == 1


@pytest.mark.parametrize("arm", ["franka", "ur", "ros2"], indirect=True)
def test_a_gripper_that_holds_something_keeps_its_command_until_it_is_to_open(arm):
    robot().thing = 0.6
    set_point = arm.observe().pose.copy()
    set_point[6] = 1.0
    arm.send(set_point)
    assert becomes(lambda: abs(arm.observe().pose[6] - 0.6) < 0.02)
    time.sleep(0.4)
    told = robot().names().count("gripper")
    for closedness in (0.6, 0.53):  # differences of measured poses that change nothing, or nearly so
        set_point[6] = closedness
        arm.send(set_point)
        time.sleep(0.12)
    assert robot().names().count("gripper") == told and robot().target_closedness > 0.9
    set_point[6] = 0.4
    arm.send(set_point)
    assert becomes(lambda: abs(robot().target_closedness - 0.4) < 0.01)


@only["lerobot"]
def test_a_gripper_that_was_told_nothing_is_kept_where_it_was_found(arm, monkeypatch):
    goals, ask = [], JsonChild.ask

    def creeping(child, request, timeout):
        goals.append(request["goal"])
        answer = ask(child, request, timeout)
        answer["positions"]["gripper.pos"] -= 0.5 * len(goals)  # what it holds gives way
        return answer

    monkeypatch.setattr(JsonChild, "ask", creeping)
    arm.send(nudge(arm))
    assert becomes(lambda: len([goal for goal in goals if goal]) > 5)
    assert len({goal["gripper.pos"] for goal in goals if goal}) == 1


@only["franka"]
def test_what_an_earlier_connection_left_behind_does_not_fail_the_next(arm):
    blocked = robot().blocked["gripper"] = threading.Event()
    set_point = arm.observe().pose.copy()
    set_point[6] = 1.0
    arm.send(set_point)
    time.sleep(0.1)
    arm.close()
    arm.connect()
    robot().faults["gripper"] = library("franky").NetworkException("libfranka: of the connection before")
    blocked.set()
    time.sleep(0.2)
    assert arm.observe().pose.shape == (7,)


@only["franka"]
def test_a_measured_pose_that_is_none_is_named(arm):
    robot().position = robot().target_position = np.full(3, np.nan)
    assert "is no pose" in failure_of(arm)


@only["franka"]
def test_a_write_that_hangs_does_not_keep_the_arm_from_being_held(arm):
    arm.send(nudge(arm))
    blocked = robot().blocked["set_target"] = threading.Event()
    writer = threading.Thread(target=arm.send, args=(nudge(arm),))
    writer.start()
    arm.stop()
    assert robot().names()[-1] == "tracker.stop"
    blocked.set()
    writer.join(PATIENCE)


@every
def test_a_camera_that_is_pulled_out_is_named(arm):
    if isinstance(arm, Ros2Arm):
        robot().state["encoding"] = "mono8"
        assert "mono8" in failure_of(arm)
    else:
        robot().state["camera unplugged"] = True
        assert "camera 0 delivers no images any more" in failure_of(arm)


def test_an_arm_that_failed_connects_again_when_the_robot_is_well(tmp_path):
    for arm in make_arm("ur", tmp_path):
        arm.connect()
        robot().state["protective"] = True
        assert "protective stop" in failure_of(arm)
        with pytest.raises(ArmError, match="protective stop"):
            arm.connect()
        robot().state["protective"] = False
        arm.connect()
        arm.send(nudge(arm))
        arm.close()


def test_a_missing_library_names_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "franky", None)
    with pytest.raises(ArmError, match=r"\.\[franka\]"):
        FrankaArm(FrankaConfig(camera=CAMERA)).connect()
    monkeypatch.setitem(sys.modules, "rclpy", None)
    with pytest.raises(ArmError, match=r"setup\.bash"):
        Ros2Arm().connect()


def test_an_unforeseen_error_in_a_thread_holds_the_arm_too(tmp_path, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    for arm in make_arm("franka", tmp_path):
        arm.connect()
        robot().faults["current_pose"] = KeyError("a bug")
        assert "measuring the pose ended with an unforeseen error" in failure_of(arm)
        arm.close()


# Franka.


@only["franka"]
def test_a_franka_sets_its_tool_column_by_column(arm):
    matrix = np.reshape(robot().state["NE_T_EE"], (4, 4), order="F")
    np.testing.assert_allclose(matrix, ToolOffset((0, 0, 0.1034), (0, 0, -0.785)).matrix())
    assert matrix[2, 3] == 0.1034


@only["franka"]
def test_a_franka_controller_starts_with_the_first_set_point_only(arm):
    assert "tracker" not in robot().names()
    arm.send(nudge(arm))
    arm.send(nudge(arm))
    assert robot().names().count("tracker") == 1
    arm.stop()
    assert robot().names()[-1] == "tracker.stop"


@only["franka"]
def test_a_franka_reflex_is_told_with_its_reason_and_never_cleared(arm):
    arm.send(nudge(arm))
    robot().state["errors"] = "[cartesian_reflex]"
    message = failure_of(arm)
    assert "cartesian_reflex" in message and "clear the error in Desk" in message
    with pytest.raises(ArmError, match="cartesian_reflex"):
        arm.send(np.array([0.45, 0.05, 0.26, np.pi, 0, 0, 0]))


@pytest.mark.parametrize(("mode", "what"), [("UserStopped", "user stop"), ("Guiding", "guiding")])
def test_a_franka_in_another_mode_is_not_driven(mode, what):
    robot().state["mode"] = library("franky").RobotMode[mode]
    with pytest.raises(ArmError, match=what):
        FrankaArm(FrankaConfig(camera=CAMERA)).connect()


def test_a_franka_that_is_not_there_is_named():
    robot().faults["Robot"] = library("franky").NetworkException("libfranka: Connection timeout")
    with pytest.raises(ArmError, match=r"Franka at 10\.0\.0\.9: connecting failed: libfranka: Connection timeout"):
        FrankaArm(FrankaConfig(address="10.0.0.9", camera=CAMERA)).connect()


def test_a_hand_that_was_not_homed_is_named():
    robot().state["max_width"] = 0.0
    with pytest.raises(ArmError, match="home it"):
        FrankaArm(FrankaConfig(camera=CAMERA)).connect()


@only["franka"]
@pytest.mark.parametrize("call", ["current_pose", "state", "width", "set_target", "gripper"])
def test_an_exception_in_any_call_to_a_franka_holds_it(arm, call):
    set_point = nudge(arm)
    arm.send(set_point)
    set_point[6] = 1.0
    robot().faults[call] = library("franky").NetworkException("libfranka: UDP receive: Timeout")
    try:
        arm.send(set_point)
    except ArmError as error:
        assert call == "set_target" and "UDP receive" in str(error)
    assert "UDP receive: Timeout" in failure_of(arm)
    assert becomes(lambda: "tracker.stop" in robot().names())


@only["franka"]
def test_a_franka_grasps_when_it_closes_and_moves_when_it_opens(arm):
    set_point = arm.observe().pose.copy()
    for closedness in (1.0, 0.0):
        set_point[6] = closedness
        arm.send(set_point)
        assert becomes(lambda wanted=closedness: abs(arm.observe().pose[6] - wanted) < 0.05)
    assert [call[1] for call in robot().calls if call[0] == "gripper"] == ["grasp", "move"]


# UR.


@only["ur"]
def test_a_ur_is_given_a_watchdog_that_is_told_of_us_while_nothing_moves(arm):
    assert ("setWatchdog", 10.0) in robot().calls
    assert becomes(lambda: robot().names().count("kickWatchdog") > 2)


@pytest.mark.parametrize("state", ["protective", "emergency", "cable unplugged"])
@only["ur"]
def test_a_ur_that_stopped_itself_is_told_of_and_not_moved(arm, state):
    arm.send(nudge(arm))
    robot().state[state] = True
    message = failure_of(arm)
    assert {"protective": "protective stop", "emergency": "emergency stop"}.get(state, "no longer connected") in message
    count = robot().names().count("servoL")
    with pytest.raises(ArmError):
        arm.send(np.array([0.45, 0.05, 0.26, np.pi, 0, 0, 0]))
    assert robot().names().count("servoL") == count


@only["ur"]
def test_a_command_that_a_ur_refuses_is_an_error(arm):
    robot().state["program stopped"] = True
    with pytest.raises(ArmError, match=r"refused (servoL|kickWatchdog)"):
        for _ in range(20):
            arm.send(nudge(arm))


@pytest.mark.parametrize(("state", "value"), [("robot_mode", 3), ("safety_mode", 5)])
def test_a_ur_that_does_not_run_is_not_driven(state, value, tmp_path):
    robot().state[state] = value
    for arm in make_arm("ur", tmp_path):
        with pytest.raises(ArmError, match="is not running"):
            arm.connect()


def test_a_ur_in_local_control_is_named(tmp_path):
    robot().faults["RTDEControlInterface"] = RuntimeError("ur_rtde: Please enable remote control on the robot!")
    for arm in make_arm("ur", tmp_path):
        with pytest.raises(ArmError, match="enable remote control"):
            arm.connect()


def test_a_ur_takes_its_tool_as_a_rotation_vector():
    config = URConfig("ur", "127.0.0.1", CAMERA, tool=ToolOffset((0.0, 0.0, 0.2), (0.1, 0.2, 0.3)), gripper=None)
    arm = URArm(config)
    arm.connect()
    arm.close()
    [(_, offset)] = [call for call in robot().calls if call[0] == "setTcp"]
    np.testing.assert_allclose(offset[:3], [0.0, 0.0, 0.2])
    np.testing.assert_allclose(offset[3:], Rotation.from_euler("xyz", [0.1, 0.2, 0.3]).as_rotvec())
    assert robot().names()[-1] == "disconnect"


@only["ur"]
def test_a_robotiq_that_vanishes_is_named(arm):
    robot().state["gripper server"].close()
    assert "Robotiq" in failure_of(arm) or "reading the gripper failed" in failure_of(arm)


def test_a_robotiq_that_is_missing_or_asleep_is_named(tmp_path):
    config = URConfig("ur", "127.0.0.1", CAMERA, gripper=RobotiqConfig(port=1))
    with pytest.raises(ArmError, match=r"no Robotiq gripper answers at 127\.0\.0\.1:1"):
        URArm(config).connect()
    for arm in make_arm("ur", tmp_path):
        robot().state["gripper server"].variables["STA"] = 0
        with pytest.raises(ArmError, match="activate it"):
            arm.connect()


# LeRobot.


def test_a_lerobot_robot_that_can_not_be_opened_says_why(tmp_path):
    with pytest.raises(ArmError, match="Could not connect on port 'missing'"):
        LeRobotArm(so101(tmp_path, port="missing")).connect()
    with pytest.raises(ArmError, match="lerobot-calibrate"):
        LeRobotArm(so101(tmp_path, id="uncalibrated")).connect()
    with pytest.raises(ArmError, match="unexpected keyword argument 'prot'"):
        LeRobotArm(so101(tmp_path, prot="x")).connect()


def test_a_python_that_is_not_there_is_named(tmp_path):
    config = LeRobotConfig(FAKES / "so101.xml", "gripper", python=tmp_path / "python", camera=CAMERA)
    with pytest.raises(ArmError, match="cannot be started"):
        LeRobotArm(config).connect()


@only["lerobot"]
@pytest.mark.parametrize(
    ("fault", "message"),
    [("die", "has ended"), ("hang", "did not answer within 0.5 s"), ("raise", "Failed to sync read")],
)
def test_a_lerobot_process_that_fails_in_any_way_fails_the_arm(arm, fault, message, monkeypatch):
    monkeypatch.setattr("envs.arms.drivers.child._ENDING", 0.1)
    Path(arm.config.options["port"]).write_text(fault)
    assert message in failure_of(arm)


@only["lerobot"]
def test_a_pose_out_of_reach_is_not_sent_and_does_no_harm(arm):
    before = arm.observe().pose
    far = before.copy()
    far[0] += 2.0
    with pytest.raises(OutOfReach, match="no joint angles"):
        arm.send(far)
    back = nudge(arm, 0.005)
    arm.send(back)
    assert becomes(lambda: abs(arm.observe().pose[2] - back[2]) < 2e-3)


@only["lerobot"]
def test_a_lerobot_robot_is_disconnected_as_its_options_say(arm):
    arm.close()
    log = Path(f"{arm.config.options['port']}.log")
    assert becomes(log.exists) and log.read_text() == "disconnected, torque off: False"


def test_a_lerobot_gripper_may_turn_either_way_and_motors_against_the_model(tmp_path):
    config = so101(tmp_path)
    flipped = [
        {"motor": joint.motor, "joint": joint.joint, "sign": -1.0 if index == 0 else 1.0}
        for index, joint in enumerate(config.joints)
    ]
    values = {"model": str(config.model), "site": config.site, "python": str(config.python), "joints": flipped}
    values |= {"options": config.options, "gripper_open": 0.0, "gripper_closed": 100.0}
    arm = LeRobotArm(load_config(LeRobotConfig, values), OpenCVCamera(CAMERA))
    arm.connect()
    assert arm.observe().pose[6] == 1.0
    sideways = arm.observe().pose.copy()
    sideways[1] += 0.01
    for _ in range(30):
        arm.send(sideways)
        time.sleep(0.01)
    assert becomes(lambda: abs(arm.observe().pose[1] - sideways[1]) < 2e-3)
    arm.close()


def test_cameras_among_lerobots_options_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not among LeRobot's options"):
        so101(tmp_path, cameras={"front": {}})


def test_inverse_kinematics_undo_forward_kinematics():
    names = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")
    kinematics, generator = Kinematics(FAKES / "so101.xml", names, "gripper"), np.random.default_rng(0)
    for _ in range(20):
        joints = generator.uniform([-1, -0.8, 0.2, 0.2, -1], [1, 0.2, 1.2, 1.2, 1])
        pose = kinematics.forward(joints)
        found = kinematics.inverse(pose, joints + generator.uniform(-0.05, 0.05, 5))
        assert found is not None
        np.testing.assert_allclose(kinematics.forward(found)[:3], pose[:3], atol=1e-4)


def test_a_model_without_the_named_joints_says_what_it_has():
    with pytest.raises(ValueError, match="shoulder_pan"):
        Kinematics(FAKES / "so101.xml", ("hip",), "gripper")


@pytest.mark.parametrize(("program", "message"), [("print('hello')", "no JSON object"), ("", "exit status 0")])
def test_a_child_that_speaks_otherwise_is_named(program, message):
    child = JsonChild([sys.executable, "-c", f"import sys; sys.stdin.readline(); {program}"], "the child")
    with pytest.raises(ArmError, match=message):
        child.ask({}, PATIENCE)
    child.close()
    child.close()


def test_an_answer_that_comes_late_is_not_taken_for_the_next():
    program = "import sys, time; [(time.sleep(0.3 * (i == 0)), print(line, end='', flush=True)) "
    child = JsonChild([sys.executable, "-c", program + "for i, line in enumerate(sys.stdin)]"], "the child")
    with pytest.raises(ArmError, match=r"did not answer within 0\.1 s"):
        child.ask({"number": 1}, 0.1)
    assert child.ask({"number": 2}, PATIENCE) == {"number": 2}
    assert child.ask({"number": 3}, PATIENCE) == {"number": 3}
    child.close()


def test_a_child_is_heard_by_a_process_with_a_thousand_open_files() -> None:
    with contextlib.ExitStack() as files:
        for _ in range(1100):
            files.enter_context(open(os.devnull))
        child = JsonChild(
            [sys.executable, "-c", "import sys; sys.stdin.readline(); print('{}', flush=True)"], "a child"
        )
        files.callback(child.close)
        assert child.ask({}, 10.0) == {}


# ROS 2.


@only["ros2"]
def test_targets_are_in_the_base_frame(arm):
    arm.send(nudge(arm))
    assert robot().calls[-1][2] == "base_link"


@only["ros2"]
def test_topics_that_fall_silent_fail_the_arm(arm):
    robot().state["silent"] = True
    assert "s old" in failure_of(arm)


@pytest.mark.parametrize(
    ("state", "message"),
    [("no controller", "no listener on /target_frame"), ("no gripper", "no server of /gripper"), ("silent", "no pose")],
)
def test_what_is_missing_in_ros_is_named(state, message, monkeypatch):
    monkeypatch.setattr("envs.arms.drivers.ros2._FIRST_MESSAGES", 0.2)
    robot().state[state] = True
    with pytest.raises(ArmError, match=message):
        Ros2Arm().connect()
    assert robot().names()[-1] == "rclpy.shutdown"


def test_poses_in_another_frame_are_refused():
    robot().state["frame"] = "world"
    with pytest.raises(ArmError, match="poses are in 'world', the configuration says 'base_link'"):
        Ros2Arm().connect()


@only["ros2"]
def test_a_controller_that_ends_fails_the_arm(arm):
    robot().state["no controller"] = True
    with pytest.raises(ArmError, match="no controller listens"):
        arm.send(nudge(arm))


# Parts.


def test_a_pose_between_two_measurements_is_interpolated_the_short_way_round():
    history = PoseHistory()
    history.add(1.0, np.array([0.0, 0, 0, np.pi - 0.1, 0, 0, 0.0]))
    history.add(2.0, np.array([1.0, 0, 0, -np.pi + 0.1, 0, 0, 1.0]))
    pose = history.at(1.5)
    np.testing.assert_allclose(pose[[0, 6]], 0.5)
    assert abs(abs(pose[3]) - np.pi) < 1e-9


def test_a_pose_waits_for_a_measurement_after_the_image():
    history = PoseHistory()
    history.add(1.0, np.zeros(7))
    threading.Timer(0.05, history.add, (2.0, np.ones(7))).start()
    np.testing.assert_allclose(history.at(2.0, timeout=PATIENCE), 1.0)
    with pytest.raises(ArmError, match="no pose was measured"):
        history.at(3.0, timeout=0.01)


def test_an_image_older_than_all_poses_is_refused():
    history = PoseHistory(seconds=1.0)
    for moment in np.arange(0.0, 5.0, 0.1):
        history.add(moment, np.zeros(7))
    with pytest.raises(ArmError, match=r"newest image is 4\.9 s old"):
        history.at(0.0)


def test_a_camera_dates_its_images_back_by_its_latency():
    camera = OpenCVCamera(CameraConfig(rate=100.0, latency=0.5))
    camera.connect()
    assert time.monotonic() - camera.newest()[1] >= 0.5
    camera.close()


def test_a_camera_that_is_missing_or_of_another_size_is_named():
    with pytest.raises(ArmError, match="'missing' cannot be opened"):
        OpenCVCamera(CameraConfig(device="missing")).connect()
    robot().state["camera has one size"] = True
    with pytest.raises(ArmError, match=r"delivers images of \(480, 640, 3\)"):
        OpenCVCamera(CameraConfig(width=1280, height=720)).connect()


@pytest.mark.parametrize(
    "make",
    [
        lambda: ToolOffset((0.0, 0.0, 103.4)),
        lambda: CameraConfig(width=0),
        lambda: FrankaConfig(gripper_force=1000.0),
        lambda: URConfig(gain=1.0),
        lambda: RobotiqConfig(speed=300),
        lambda: Ros2Config(gripper_open=0.8),
    ],
)
def test_numbers_in_other_units_are_refused(make):
    with pytest.raises(ValueError, match="got"):
        make()


def test_every_configuration_builds_its_arm(tmp_path):
    configs = {FrankaArm: FrankaConfig(), URArm: URConfig(), Ros2Arm: Ros2Config(), LeRobotArm: so101(tmp_path)}
    for kind, config in configs.items():
        assert type(build_arm(config)) is kind


# The documentation.


def test_the_documented_driver_is_short_and_tells_its_robots_errors():
    assert len(documented_driver().splitlines()) < 100
    robot().state["error_code"] = 23
    with pytest.raises(ArmError, match="error 23"):
        make_documented_arm().connect()


@pytest.mark.slow
def test_the_contract_runs_on_a_driver_of_ones_own(tmp_path):
    driver = tmp_path / "my_xarm.py"
    driver.write_text(documented_driver())
    environment = {**os.environ, "ARM": f"{driver}:make_arm"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-k",
        "none_moves or connected_says",
        "tests/test_arm_contract.py",
    ]
    ran = subprocess.run(command, cwd=PAGE.parent.parent, env=environment, capture_output=True, text=True, check=False)
    assert "2 passed" in ran.stdout, ran.stdout + ran.stderr
