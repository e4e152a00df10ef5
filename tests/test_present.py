"""An arm, a library, a camera or a port that is not there is noticed before a plan server starts or weights load."""

from __future__ import annotations

import importlib
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from vendor_arms import CAMERA, make_arm, robot, so101, vendor_libraries

from envs.arm_choice import build_arm
from envs.arms.base import ArmError
from envs.arms.drivers.camera import CameraConfig
from envs.arms.drivers.franka import FrankaConfig
from envs.arms.drivers.network import check_reachable
from envs.arms.drivers.real import RealArm
from envs.arms.drivers.ros2 import Ros2Config
from envs.arms.drivers.ur import URArm, URConfig

__all__ = ["vendor_libraries"]  # a fixture
ROOT = Path(__file__).resolve().parent.parent
HERE = "127.0.0.1"


@pytest.fixture
def port() -> Iterator[int]:
    """Where somebody listens."""
    with socket.create_server((HERE, 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    with socket.create_server((HERE, 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))


def present(config, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    for vendor, number in ports.items():
        monkeypatch.setattr(f"envs.arms.drivers.{vendor}._PORT", number)
    real(config).check_present()


def real(config) -> RealArm:
    arm = build_arm(config)
    assert isinstance(arm, RealArm)
    return arm


def test_what_is_there_is_found_without_being_opened(vendor_libraries, port, tmp_path, monkeypatch) -> None:
    present(FrankaConfig(address=HERE, camera=CAMERA), {"franka": port}, monkeypatch)
    present(replace(so101(tmp_path), camera=CAMERA), {}, monkeypatch)
    present(Ros2Config(), {}, monkeypatch)
    for driver in make_arm("ur", tmp_path):
        monkeypatch.setattr("envs.arms.drivers.ur._PORT", port)
        assert isinstance(driver, URArm)
        driver.check_present()
    assert not robot().calls


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (FrankaConfig(address=HERE), r"franky cannot be imported .*\.\[franka\]"),
        (URConfig(address=HERE), r"rtde_receive cannot be imported .*\.\[ur\]"),
        (Ros2Config(), "rclpy cannot be imported"),
    ],
)
def test_a_missing_library_is_named_with_what_installs_it(config, message: str) -> None:
    with pytest.raises(ArmError, match=message):
        real(config).check_present()


def test_a_robot_that_refuses_is_named_with_what_to_look_at(vendor_libraries, free, monkeypatch) -> None:
    with pytest.raises(ArmError, match=rf"Franka at {HERE} cannot be reached on port {free} .*refused.*FCI"):
        present(FrankaConfig(address=HERE, camera=CAMERA), {"franka": free}, monkeypatch)
    with pytest.raises(ArmError, match=r"UR at no-such-robot.invalid cannot be reached .*is this its address"):
        present(URConfig(address="no-such-robot.invalid", camera=CAMERA), {}, monkeypatch)


def test_a_robot_that_never_answers_is_waited_for_no_longer_than_said() -> None:
    with socket.create_server((HERE, 0), backlog=0) as full:
        address: tuple[str, int] = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        began = time.monotonic()
        with pytest.raises(ArmError, match=r"Franka did not answer within 0.3 s on port \d+: is it on"):
            check_reachable("Franka", *address, "is it on?", seconds=0.3)
        assert time.monotonic() - began < 3
        for one in waiting:
            one.close()


def test_a_missing_camera_is_named(vendor_libraries, port, monkeypatch) -> None:
    with pytest.raises(ArmError, match="camera 'missing' cannot be opened"):
        present(FrankaConfig(address=HERE, camera=CameraConfig("missing")), {"franka": port}, monkeypatch)


def test_lerobot_s_python_library_and_port_are_looked_for(vendor_libraries, tmp_path, monkeypatch) -> None:
    config = so101(tmp_path)
    with pytest.raises(ArmError, match=r"no/python cannot be started"):
        present(replace(config, python=Path("no/python")), {}, monkeypatch)
    with pytest.raises(ArmError, match=r"has no not_lerobot: name the Python"):
        present(replace(config, module="not_lerobot.robots"), {}, monkeypatch)
    with pytest.raises(ArmError, match="there is no /dev/no-arm"):
        present(replace(config, options={"port": "/dev/no-arm"}), {}, monkeypatch)


@pytest.mark.parametrize("program", ["deploy", "doctor"])
def test_an_absent_arm_ends_a_program_before_it_does_what_takes_long(program, tmp_path, capsys) -> None:
    (tmp_path / "arm.yaml").write_text(f"arm: {{kind: franka, address: {HERE}}}\n")
    image = ROOT / "docs/landscape.png"
    words = ["--arm", str(tmp_path / "arm.yaml"), "--output", str(tmp_path / "results")]
    words += ["--goal", str(image)] if program == "deploy" else []
    main = importlib.import_module(program).main
    try:
        status, said = main(words), ""
    except SystemExit as ended:
        status, said = 1, str(ended.code)
    assert status == 1 and "franky cannot be imported" in said + capsys.readouterr().err
    assert not (tmp_path / "results/server.log").exists()


def test_an_absent_arm_server_ends_a_dry_run_at_once(free: int, tmp_path: Path, capsys) -> None:
    words = ["--arm", f"ws://{HERE}:{free}", "--goal", str(ROOT / "docs/landscape.png"), "--output", str(tmp_path)]
    assert importlib.import_module("planner.deployment.program").main(words) == 1
    assert str(free) in capsys.readouterr().err and not (tmp_path / "server.log").exists()


def test_a_busy_port_is_said_before_weights_are_loaded(port: int, free: int, monkeypatch) -> None:
    serve = importlib.import_module("planner.serving.program")
    monkeypatch.setattr(serve, "make_server", lambda config: pytest.fail("weights were loaded"))
    with pytest.raises(SystemExit, match=rf"error: cannot listen on {HERE} port {port} .*another --port"):
        serve.main(["--port", str(port)])
    serve.check_free(HERE, free)
    serve.check_free(HERE, 0)
    with pytest.raises(ValueError, match=r"cannot listen on 203\.0\.113\.7"):
        serve.check_free("203.0.113.7", 8000)
