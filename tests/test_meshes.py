"""Meshes change how the arm looks and nothing else; a stand-in of Menagerie's layout saves the download."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest

from envs.simulation import scene as scenes
from envs.simulation.meshes import MeshError, dress_arm
from envs.simulation.scene import SceneConfig, build_scene

TETRAHEDRON = "v 0 0 0\nv .05 0 0\nv 0 .05 0\nv 0 0 .05\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
NAMES = [*(f"link{i}" for i in range(8)), "hand", "left_finger", "right_finger"]


@pytest.fixture
def panda(tmp_path: Path) -> mujoco.MjSpec:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "part_0.obj").write_text(TETRAHEDRON)
    visual = '<geom class="visual" mesh="part_0" material="paint" pos=".01 0 0"/>'
    bodies = "".join(f'<body name="{name}">{visual}<geom group="3" size=".01"/></body>' for name in NAMES)
    (tmp_path / "panda.xml").write_text(
        '<mujoco><compiler meshdir="assets"/><default><default class="visual">'
        '<geom type="mesh" group="2"/></default></default>'
        '<asset><mesh file="part_0.obj"/><material name="paint" rgba="1 .5 0 1"/></asset>'
        f"<worldbody>{bodies}</worldbody></mujoco>"
    )
    return mujoco.MjSpec.from_file(str(tmp_path / "panda.xml"))


def test_the_dressed_arm_looks_other_and_moves_the_same(panda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "load_panda", lambda: panda)
    plain, dressed = build_scene(SceneConfig()), build_scene(SceneConfig(meshes=True))
    meshes = np.flatnonzero(dressed.geom_type == mujoco.mjtGeom.mjGEOM_MESH)
    assert len(meshes) == len(NAMES)
    np.testing.assert_allclose(dressed.geom_rgba[meshes], np.tile([1, 0.5, 0, 1], (len(meshes), 1)))
    assert not dressed.geom_contype[meshes].any() and not dressed.geom_conaffinity[meshes].any()
    finals = []
    for model in (plain, dressed):
        data = mujoco.MjData(model)
        data.qpos[:7] = scenes.HOME
        data.ctrl[:7] = np.array(scenes.HOME) + 0.2
        mujoco.mj_step(model, data, 200)
        finals.append(data.qpos.copy())
    np.testing.assert_allclose(finals[0], finals[1], atol=1e-9)


def test_the_right_fingers_mesh_is_turned(panda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "load_panda", lambda: panda)
    model = build_scene(SceneConfig(meshes=True))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    centres = {}
    for name in ("finger_left", "finger_right"):
        body = model.body(name).id
        (geom,) = (
            g for g in range(model.ngeom)
            if model.geom_bodyid[g] == body and model.geom_type[g] == mujoco.mjtGeom.mjGEOM_MESH
        )  # fmt: skip
        centres[name] = data.xmat[body].reshape(3, 3).T @ (data.geom_xpos[geom] - data.xpos[body])
    np.testing.assert_allclose(centres["finger_right"], centres["finger_left"] * [-1, -1, 1], atol=1e-9)


def test_another_robot_is_refused() -> None:
    other = mujoco.MjSpec.from_string('<mujoco><worldbody><body name="base"/></worldbody></mujoco>')
    with pytest.raises(MeshError, match="no body 'link0'"):
        dress_arm(mujoco.MjSpec.from_string('<mujoco><worldbody><body name="link0"/></worldbody></mujoco>'), other)


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mujoco_menagerie", None)
    with pytest.raises(MeshError, match=r"\.\[meshes\]"):
        build_scene(SceneConfig(meshes=True))
