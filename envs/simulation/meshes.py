"""Real looks for the arm: the visual meshes of MuJoCo Menagerie's Panda on the same bodies, joints and contacts."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

# Menagerie's body, ours, and the turn from ours to Menagerie's frame (w, x, y, z)
_SAME = (1.0, 0.0, 0.0, 0.0)
_BODIES = (
    *((f"link{i}", f"link{i}", _SAME) for i in range(8)),
    ("hand", "hand", _SAME),
    ("left_finger", "finger_left", _SAME),
    ("right_finger", "finger_right", (0.0, 0.0, 0.0, 1.0)),
)
_VISUAL_GROUP = 2


class MeshError(ValueError):
    """The meshes are not installed, could not be loaded or are not the Panda's."""


def load_panda() -> mujoco.MjSpec:
    """Returns Menagerie's Panda, downloaded on first use (its own licence is beside it).

    Raises:
        MeshError: If the package is missing or the download fails.
    """
    try:
        import mujoco_menagerie  # pyright: ignore[reportMissingModuleSource]
    except ModuleNotFoundError as error:
        raise MeshError("meshes need the extra of that name: pip install -e '.[meshes]'") from error
    try:
        return mujoco_menagerie.get("franka_emika_panda").spec("panda")
    except mujoco_menagerie.MenagerieError as error:
        raise MeshError(f"the Panda's meshes could not be loaded: {error}") from error


def dress_arm(scene: mujoco.MjSpec, panda: mujoco.MjSpec) -> None:
    """Hides the scene's primitive arm and hangs the Panda's visual meshes on its bodies.

    Primitive shapes stay where they touch things. Both arms have Franka's frames, so nothing moves differently.

    Raises:
        MeshError: If the other model lacks one of the Panda's bodies.
    """
    folder = Path(panda.modelfiledir) / panda.meshdir
    colours = {material.name: material.rgba for material in panda.materials}
    meshes = {mesh.name or Path(mesh.file).stem: mesh for mesh in panda.meshes}
    copied: set[str] = set()
    for theirs, ours, turn in _BODIES:
        source, body = panda.body(theirs), scene.body(ours)
        if source is None:
            raise MeshError(f"the model has no body {theirs!r}, so it is not Menagerie's franka_emika_panda")
        for geom in body.geoms:
            geom.rgba = (0, 0, 0, 0)
        for geom in source.geoms:
            if geom.group != _VISUAL_GROUP or geom.type != mujoco.mjtGeom.mjGEOM_MESH:
                continue
            if geom.meshname not in copied:
                mesh = meshes[geom.meshname]
                scene.add_mesh(name=geom.meshname, file=str(folder / mesh.file), scale=mesh.scale)
                copied.add(geom.meshname)
            position, quaternion = np.zeros(3), np.zeros(4)
            mujoco.mju_rotVecQuat(position, geom.pos, np.array(turn))
            mujoco.mju_mulQuat(quaternion, np.array(turn), geom.quat)
            body.add_geom(
                type=mujoco.mjtGeom.mjGEOM_MESH, meshname=geom.meshname, pos=position, quat=quaternion, mass=0,
                rgba=colours.get(geom.material, geom.rgba), contype=0, conaffinity=0,
            )  # fmt: skip
