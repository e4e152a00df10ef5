"""ur-rtde's control interface: commands return whether they were carried out; one at a time."""

import threading
import time

from fake_robot import ROBOT
from scipy.spatial.transform import Rotation


class RTDEControlInterface:
    def __init__(self, hostname: str, frequency: float = -1.0, flags: int = 1, ur_cap_port: int = 50002) -> None:
        ROBOT.enter("RTDEControlInterface")
        self.busy = threading.Lock()
        ROBOT.state["control"] = self

    def _command(self, name: str, *details: object) -> bool:
        if not self.busy.acquire(blocking=False):
            raise AssertionError(f"{name} came while another command ran: the interface is not thread-safe")
        try:
            time.sleep(0.001)  # until the controller is ready for a command
            ROBOT.enter(name, *details)
            refused = ("protective", "emergency", "cable unplugged", "program stopped")
            return not any(ROBOT.state.get(state) for state in refused)
        finally:
            self.busy.release()

    def servoL(self, pose: list[float], speed: float, acceleration: float, time: float, lookahead_time: float,
               gain: float) -> bool:  # fmt: skip
        if not 0.03 <= lookahead_time <= 0.2 or not 100 <= gain <= 2000:
            raise ValueError("The value is not within [min, max]")
        done = self._command("servoL", list(pose))
        if done:
            ROBOT.aim(pose[:3], Rotation.from_rotvec(pose[3:]))
        return done

    def servoStop(self, a: float = 10.0) -> bool:
        ROBOT.freeze()
        return self._command("servoStop", a)

    def setTcp(self, tcp_offset: list[float]) -> bool:
        return self._command("setTcp", list(tcp_offset))

    def setWatchdog(self, min_frequency: float = 10.0) -> bool:
        return self._command("setWatchdog", min_frequency)

    def kickWatchdog(self) -> bool:
        return self._command("kickWatchdog", "kick")

    def stopScript(self) -> None:
        self._command("stopScript", "stop")

    def disconnect(self) -> None:
        ROBOT.calls.append(("disconnect",))

    def reconnect(self) -> bool:
        raise AssertionError("nothing reconnects by itself")
