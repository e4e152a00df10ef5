"""What the documentation says of versions, and the programs that it has readers save and run."""

from __future__ import annotations

import importlib
import inspect
import re
import runpy
import shutil
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fake_arms import FakeArm, TestClock
from huggingface_hub import constants
from plan_servers import START, look, url

from envs.arm_file import ArmFile
from envs.arms.base import OutOfReach
from envs.arms.drivers.kinematics import Kinematics
from envs.arms.limits import JointLimits
from envs.arms.remote.arm import RemoteArm, serve_arm
from envs.arms.safety import SafeArm
from envs.config import load_config
from envs.episodes.reading import Reading
from planner.evaluation.config import EvaluateConfig
from planner.evaluation.suite_config import SuiteConfig
from planner.subgoals.searched import SearchedConfig
from tests.fakes.hub import WRITER, Hub
from world_model import load_world_model
from world_model.checkpoints import hub

__all__ = ["url"]

ROOT = Path(__file__).resolve().parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def python_of(page: str) -> list[str]:
    """Returns the Python of a page of docs/, block by block."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


def test_the_changelog_begins_with_this_version_and_is_dated() -> None:
    newest = re.search(r"^## (\S+) - (\d{4}-\d{2}-\d{2})$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (newest[1], newest[2]) == (VERSION, str(citation["date-released"]))
    assert citation["version"] == VERSION


def test_a_manifest_of_0_1_becomes_one_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, program = tmp_path / "mine", tmp_path / "new_manifest.py"
    shutil.copytree(ROOT / "checkpoints/franka-tiny", folder)
    new = yaml.safe_load((folder / "manifest.yaml").read_text())
    encoder = {name: value for name, value in new["parts"]["encoder"].items() if name != "kind"}
    old = {name: value for name, value in new.items() if name not in {"kind", "image_size", "parts", "heads"}}
    old |= {"format": 1, "encoder": {**encoder, "components": None}, "predictor": new["parts"]["predictor"]}
    (folder / "manifest.yaml").write_text(yaml.safe_dump(old))
    program.write_text(python_of("upgrade.md")[0])
    monkeypatch.setattr(sys, "argv", [program.name, str(folder)])
    runpy.run_path(str(program), run_name="__main__")
    assert load_world_model(folder).image_size == load_world_model("franka-tiny").image_size
    assert yaml.safe_load((folder / "manifest-0.1.yaml").read_text()) == old


def settings_of(page: str) -> list[Any]:
    """Returns what the YAML of a page of docs/ says, block by block."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    return [yaml.safe_load(block) for block in blocks]


@pytest.mark.slow  # the README's, which is like it, is run by default
def test_the_program_of_the_quickstart_reaches_the_goal(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = python_of("quickstart.md")
    exec(compile(program, "first_plan.py", "exec"), {"__name__": "__main__"})
    told = re.findall(r"step +(\d+)  cost ([\d.]+)  then (\d+) mm from the goal", capsys.readouterr().out)
    assert [int(step) for step, _, _ in told] == list(range(12))
    assert float(told[-1][1]) < float(told[0][1]) and int(told[-1][2]) < 40


def test_the_imports_that_upgrading_names_are_there() -> None:
    exec(compile(python_of("upgrade.md")[1], "upgrade.md", "exec"), {})
    table = (ROOT / "docs/upgrade.md").read_text().split("### Imports")[1]
    rows = re.findall(r"^\|.*\|(.*)\|$", table, re.MULTILINE)
    names = {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    assert len(names) > 12
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:  # it is in the module
            module, _, last = name.rpartition(".")
            assert hasattr(importlib.import_module(module), last), name


def test_the_robots_side_of_the_page_on_remote_planning_gets_a_plan(url: str) -> None:
    program = python_of("remote.md")[0].replace("ws://127.0.0.1:8000", url)
    program = program.replace("Goal(image)", "Goal(image, pose)")  # the toy model plans by poses
    seen = look(START, time.monotonic())
    known: dict[str, Any] = {"arm": FakeArm(TestClock()), "observation": seen, "image": seen.image, "pose": START}
    exec(compile(program, "remote.md", "exec"), known)
    assert np.shape(known["plan"]["actions"])[1] == 7 and np.isfinite(known["plan"]["cost"])


def test_the_arm_on_another_machine_is_served_and_asked_as_the_page_says() -> None:
    serving, arm = inspect.signature(serve_arm).bind, inspect.signature(RemoteArm).bind
    known = {"serve_arm": serving, "RemoteArm": arm, "SafeArm": SafeArm, "arm": FakeArm(TestClock()), "token": "a" * 16}
    exec(compile(python_of("remote.md")[1], "remote.md", "exec"), known)


def test_what_the_page_on_sharing_pushes_is_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Hub()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    place = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    settings = {"ENDPOINT": server.url, "HUGGINGFACE_CO_URL_TEMPLATE": place, "HF_HUB_DISABLE_XET": True}
    for name, value in (settings | {"HF_HUB_OFFLINE": False}).items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", WRITER)
    monkeypatch.setattr(hub, "CHECKPOINTS", tmp_path)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "checkpoints/franka-tiny", tmp_path / "my-checkpoint")
    known: dict[str, Any] = {}
    try:
        exec(compile(python_of("sharing.md")[0], "sharing.md", "exec"), known)
    finally:
        server.shutdown()
        server.server_close()
    assert known["model"].image_size == 96


def load_settings(kind: type, values: Any) -> Any:
    """Returns the settings that values are, as a file of them would be read."""
    Path("settings.yaml").write_text(yaml.safe_dump(values))
    return load_config(kind, Path("settings.yaml"))


def test_settings_that_pages_show_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for page in ("plugins.md", "bring-your-own-arm.md"):
        for program in python_of(page):
            if named := re.match(r'(?:# |""")(\w+\.py)', program):
                (tmp_path / named[1]).write_text(program)
    for name in ("scripts", "checkpoints"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    objective, own_arm = settings_of("plugins.md")
    assert load_settings(EvaluateConfig, objective)
    franka, plan = settings_of("deploy.md")
    assert load_settings(EvaluateConfig, plan).planner.samples == 64
    for arm in (own_arm, franka, *settings_of("bring-your-own-arm.md")):
        assert load_settings(ArmFile, arm).limits.max_speed <= 0.3
    (reading, joints), (suite,), (learnt, way, slower) = (
        settings_of(f"{page}.md") for page in ("recordings", "evaluation", "planning")
    )
    assert load_settings(ArmFile, {**franka, **joints}).joint_limits == JointLimits()  # the defaults, as it says
    searched = load_settings(EvaluateConfig, learnt)
    assert searched.objective.kind == "transition_energy" and searched.controller.gripper_modes
    generated = load_settings(EvaluateConfig, way)
    assert generated.planner.horizon == generated.controller.subgoals.ahead == 2
    macros = load_settings(EvaluateConfig, slower).controller.subgoals
    assert macros == SearchedConfig()  # the defaults
    assert load_settings(Reading, reading).rate == 4.0
    assert len(load_settings(SuiteConfig, suite).variants) == 3


def test_the_python_of_the_page_on_ones_own_arm_makes_limits_and_an_so101() -> None:
    _, joints, limits, so101 = python_of("bring-your-own-arm.md")
    known: dict[str, Any] = {}
    exec(compile(joints, "joints", "exec"), known)
    joints_of_so101 = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")
    arm = Kinematics(ROOT / "tests/fakes/so101.xml", joints_of_so101, "gripper")
    angles = np.full(5, 0.1)
    np.testing.assert_allclose(known["joints_for"](arm, known["pose_of"](arm, angles), angles), angles, atol=1e-3)
    with pytest.raises(OutOfReach):
        known["joints_for"](arm, np.array([9.0, 0.0, 0.0, 0.0, 0.0, 0.0]), angles)
    exec(compile(limits, "limits", "exec"), known)
    assert known["LIMITS"].max_speed == 0.2
    model = str(ROOT / "tests/fakes/so101.xml")
    exec(
        compile(so101.replace("so101_new_calib.xml", model).replace("gripperframe", "gripper"), "so101", "exec"), known
    )
    assert known["arm"].action_spec.rate == 4.0
