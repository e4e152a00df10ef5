from types import SimpleNamespace


class JointState:
    def __init__(self) -> None:
        self.header = SimpleNamespace(stamp=None, frame_id="")
        self.name, self.position = [], []


class Image:
    def __init__(self) -> None:
        self.header = SimpleNamespace(stamp=None, frame_id="")
        self.height = self.width = self.step = 0
        self.encoding, self.data = "", b""
