"""UFACTORY's XArmAPI: millimetres, return codes instead of exceptions, modes and states."""

from fake_robot import ROBOT
from scipy.spatial.transform import Rotation


class XArmAPI:
    def __init__(self, port=None, is_radian=False, do_not_open=False, **kwargs) -> None:
        ROBOT.enter("XArmAPI")
        self.connected, self.mode, self.state = not ROBOT.state.get("cable unplugged", False), 0, 4

    @property
    def error_code(self) -> int:
        return ROBOT.state.get("error_code", 0)

    def motion_enable(self, enable=True, servo_id=None) -> int:
        return 0

    def set_mode(self, mode=0, detection_param=0) -> int:
        self.mode = mode
        return 0

    def set_state(self, state=0) -> int:
        self.state = state
        return 0

    def get_position(self, is_radian=None):
        ROBOT.advance()
        assert is_radian
        return ROBOT.state.get("code", 0), [*(1000 * ROBOT.position), *ROBOT.rotation.as_euler("xyz")]

    def set_servo_cartesian(self, mvpose, speed=None, mvacc=None, mvtime=0, is_radian=None, is_tool_coord=False) -> int:
        ROBOT.enter("set_servo_cartesian", list(mvpose))
        if self.mode != 1 or self.state != 0:
            return 9
        ROBOT.aim([value / 1000 for value in mvpose[:3]], Rotation.from_euler("xyz", mvpose[3:]))
        return ROBOT.state.get("code", 0)

    def set_gripper_enable(self, enable) -> int:
        return 0

    def set_gripper_mode(self, mode) -> int:
        return 0

    def get_gripper_position(self):
        ROBOT.advance()
        return 0, 850 * (1 - ROBOT.closedness)

    def set_gripper_position(self, pos, wait=False, speed=None, auto_enable=False, timeout=None) -> int:
        ROBOT.enter("gripper", pos)
        ROBOT.aim_gripper(1 - pos / 850)
        return 0

    def disconnect(self) -> None:
        self.connected = False
