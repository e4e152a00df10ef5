"""ur-rtde's receive interface: poses are position and rotation vector."""

from fake_robot import ROBOT


class RTDEReceiveInterface:
    def __init__(self, hostname: str, frequency: float = -1.0, variables=(), verbose: bool = False,
                 use_upper_range_registers: bool = False) -> None:  # fmt: skip
        ROBOT.enter("RTDEReceiveInterface")
        self.connected = True

    def isConnected(self) -> bool:
        return self.connected and not ROBOT.state.get("cable unplugged", False)

    def disconnect(self) -> None:
        self.connected = False

    def getActualTCPPose(self) -> list[float]:
        ROBOT.enter("getActualTCPPose")
        ROBOT.advance()
        return [*ROBOT.position, *ROBOT.rotation.as_rotvec()]

    def getRobotMode(self) -> int:
        return ROBOT.state.get("robot_mode", 7)

    def getSafetyMode(self) -> int:
        return ROBOT.state.get("safety_mode", 1)

    def isProtectiveStopped(self) -> bool:
        return ROBOT.state.get("protective", False)

    def isEmergencyStopped(self) -> bool:
        return ROBOT.state.get("emergency", False)
