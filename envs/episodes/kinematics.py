"""Where an arm's hand is, given its joint angles and a MuJoCo model of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from envs.pose import euler_from_matrix


def forward_kinematics(
    path: Path,
    names: tuple[str, ...],
    joints: Float[np.ndarray, "T joints"],
    site: str | None = None,
    body: str | None = None,
    base: str | None = None,
) -> Float[np.ndarray, "T 6"]:
    """Returns positions [m] and extrinsic-xyz Euler angles [rad] of a site or body of a model.

    Joints that are not named stay where the model has them.

    Args:
        path: MJCF or URDF file.
        names: Joints that turn or slide, in the order of their positions.
        joints: Their positions [rad, m].
        site: Whose pose; or
        body: whose pose.
        base: Body that poses are relative to; None: the model's world.

    Raises:
        ValueError: If the model is missing, is none or lacks something named, with what it has.
    """
    import mujoco

    model = _load_model(path, path.stat().st_mtime_ns if path.is_file() else 0)
    data = mujoco.MjData(model)
    address = [_joint_address(path, model, name) for name in names]
    kind, name = ("site", site) if site is not None else ("body", body)
    hand, foot = _find(path, model, kind, name), None if base is None else _find(path, model, "body", base)
    positions, turns = (data.site_xpos, data.site_xmat) if kind == "site" else (data.xpos, data.xmat)
    poses = np.empty((len(joints), 6))
    for row, values in zip(poses, joints, strict=True):
        data.qpos[address] = values
        mujoco.mj_kinematics(model, data)
        position, turn = positions[hand], turns[hand].reshape(3, 3)
        if foot is not None:
            from_base = data.xmat[foot].reshape(3, 3)
            position, turn = from_base.T @ (position - data.xpos[foot]), from_base.T @ turn
        row[:3], row[3:] = position, euler_from_matrix(turn)
    return poses


@functools.lru_cache(maxsize=4)
def _load_model(path: Path, stamp: int) -> Any:
    """Returns a compiled model; ``stamp`` tells versions of the file apart."""
    import mujoco

    if not path.is_file():
        raise ValueError(f"there is no MuJoCo model {path}; name an MJCF or URDF file of the arm")
    try:
        return mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        raise ValueError(f"{path} is no model that MuJoCo can load: {error}") from error


def _joint_address(path: Path, model: Any, name: str) -> int:
    """Returns where in qpos the position of a joint with one degree of freedom is."""
    import mujoco

    joint = model.joint(_find(path, model, "joint", name))
    if int(joint.type[0]) not in (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)):
        raise ValueError(f"the joint {name!r} of {path} neither turns nor slides about one axis")
    return int(joint.qposadr[0])


def _find(path: Path, model: Any, kind: str, name: str | None) -> int:
    """Returns the number of a named joint, site or body."""
    counts: Mapping[str, int] = {"joint": model.njnt, "site": model.nsite, "body": model.nbody}
    known = [getattr(model, kind)(index).name for index in range(counts[kind])]
    if name not in known:
        raise ValueError(f"{path} has no {kind} {name!r}; it has {[other for other in known if other]}")
    return known.index(name)
