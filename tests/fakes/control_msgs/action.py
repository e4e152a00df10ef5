from types import SimpleNamespace


class GripperCommand:
    class Goal:
        def __init__(self) -> None:
            self.command = SimpleNamespace(position=0.0, max_effort=0.0)
