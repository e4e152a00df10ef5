"""Every real arm's driver over a fake of its vendor's library, for the tests."""

import contextlib
import importlib
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from envs.arms.base import StreamingArm
from envs.arms.drivers.camera import CameraConfig
from envs.arms.drivers.franka import FrankaArm, FrankaConfig
from envs.arms.drivers.lerobot import LeRobotArm, LeRobotConfig
from envs.arms.drivers.robotiq import RobotiqConfig
from envs.arms.drivers.ros2 import Ros2Arm, Ros2Config
from envs.arms.drivers.tool import ToolOffset
from envs.arms.drivers.ur import URArm, URConfig

FAKES = Path(__file__).parent / "fakes"
PAGE = Path(__file__).parent.parent / "docs" / "bring-your-own-arm.md"
VENDORS = ("franka", "ur", "lerobot", "ros2")
CAMERA = CameraConfig(width=64, height=48, rate=100.0)


@pytest.fixture
def vendor_libraries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes the fakes what `import franky` and so on find, here and in processes that are started."""
    ours = {path.stem for path in FAKES.iterdir() if path.suffix == ".py" or path.is_dir()}

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] in ours]:
            del sys.modules[name]

    forget()
    monkeypatch.syspath_prepend(str(FAKES))
    monkeypatch.setenv("PYTHONPATH", str(FAKES))
    yield
    forget()


def library(name: str) -> Any:
    """A fake library, only after `vendor_libraries`."""
    return importlib.import_module(name)


def robot() -> Any:
    """The robot behind the fakes."""
    return library("fake_robot").ROBOT


def so101(folder: Path, **options: object) -> LeRobotConfig:
    settings = {"port": str(folder / "faults"), "disable_torque_on_disconnect": False, **options}
    return LeRobotConfig(FAKES / "so101.xml", "gripper", python=Path(sys.executable), options=settings, camera=CAMERA)


def documented_driver() -> str:
    """The file that docs/bring-your-own-arm.md shows."""
    return PAGE.read_text().split("```python\n", 1)[1].split("```", 1)[0]


def make_documented_arm() -> StreamingArm:
    namespace: dict = {"__name__": "my_xarm"}
    exec(compile(documented_driver(), "my_xarm.py", "exec"), namespace)
    return namespace["make_arm"]()


def make_arm(vendor: str, folder: Path) -> Generator[StreamingArm, None, None]:
    """A driver of one vendor's, not connected; closed afterwards."""
    match vendor:
        case "franka":
            yield FrankaArm(FrankaConfig(camera=CAMERA, tool=ToolOffset((0.0, 0.0, 0.1034), (0.0, 0.0, -0.785))))
        case "ur":
            server = library("robotiq_server").RobotiqServer()
            robot().state["gripper server"] = server
            with contextlib.closing(server):
                yield URArm(URConfig(address="127.0.0.1", camera=CAMERA, gripper=RobotiqConfig(port=server.port)))
        case "lerobot":
            yield LeRobotArm(so101(folder))
        case "ros2":
            yield Ros2Arm(Ros2Config(width=64, height=48))
        case "documented":
            yield make_documented_arm()
