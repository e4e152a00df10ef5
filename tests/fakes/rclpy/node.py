from types import SimpleNamespace

from fake_robot import ROBOT
from scipy.spatial.transform import Rotation

from . import Time


class Publisher:
    def __init__(self, msg_type, topic: str) -> None:
        self.msg_type = msg_type
        self.topic = topic

    def get_subscription_count(self) -> int:
        return 0 if ROBOT.state.get("no controller") else 1

    def publish(self, msg) -> None:
        if not isinstance(msg, self.msg_type):
            raise TypeError(f"Expected {self.msg_type}, got {type(msg)}")
        p, q = msg.pose.position, msg.pose.orientation
        ROBOT.enter("publish", [p.x, p.y, p.z], msg.header.frame_id)
        ROBOT.aim([p.x, p.y, p.z], Rotation.from_quat([q.x, q.y, q.z, q.w]))


class Node:
    def __init__(self, node_name: str, *, context, namespace=None) -> None:
        assert context.ok()
        self.subscriptions: list[tuple] = []

    def create_subscription(self, msg_type, topic: str, callback, qos_profile):
        self.subscriptions.append((msg_type, topic, callback))

    def create_publisher(self, msg_type, topic: str, qos_profile) -> Publisher:
        return Publisher(msg_type, topic)

    def get_clock(self) -> SimpleNamespace:
        return SimpleNamespace(now=Time.now)

    def destroy_node(self) -> None:
        self.subscriptions.clear()
