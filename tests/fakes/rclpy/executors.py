import threading
import time

import numpy as np
from fake_robot import ROBOT

from . import Time


class SingleThreadedExecutor:
    """Delivers what the arm's own nodes would publish: poses and joints at 200 Hz, images at 30 Hz."""

    def __init__(self, *, context) -> None:
        self._context, self._nodes, self._stopped = context, [], threading.Event()

    def add_node(self, node) -> bool:
        self._nodes.append(node)
        return True

    def spin(self) -> None:
        last_image = 0.0
        while self._context.ok() and not self._stopped.wait(0.005):
            if ROBOT.state.get("silent"):
                continue
            for node in self._nodes:
                for msg_type, _, callback in list(node.subscriptions):
                    if msg_type.__name__ == "Image" and time.monotonic() - last_image < 1 / 30:
                        continue
                    last_image = time.monotonic() if msg_type.__name__ == "Image" else last_image
                    callback(_message(msg_type))

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        self._stopped.set()
        return True


def _message(msg_type):
    ROBOT.advance()
    message = msg_type()
    message.header.stamp = Time.now().to_msg()
    message.header.frame_id = ROBOT.state.get("frame", "base_link")
    if msg_type.__name__ == "PoseStamped":
        p, q = message.pose.position, message.pose.orientation
        p.x, p.y, p.z = ROBOT.position
        q.x, q.y, q.z, q.w = ROBOT.rotation.as_quat()
    elif msg_type.__name__ == "JointState":
        message.name, message.position = ["shoulder", "finger_joint"], [1.0, 0.8 * ROBOT.closedness]
    else:
        message.height, message.width, message.encoding = 48, 64, ROBOT.state.get("encoding", "bgr8")
        message.step = 64 * 3 + 8  # rows may be padded
        rows = np.zeros((48, message.step), np.uint8)
        rows[:, 0 : 64 * 3 : 3] = 200
        message.data = rows.tobytes()
    return message
