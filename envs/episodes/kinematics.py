"""Where an arm's hand is, given its joint angles and a MuJoCo model of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from envs.episodes.files import read_once
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

    model = _load_model(path)
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


@dataclass(frozen=True)
class Chain:
    """The joints on the way from a model's world to a hand.

    Attributes:
        path: Of the model.
        hand: Name of the site or body.
        joints: Their names, from the base on.
        ranges: How far each goes [rad, m]; infinite where the model does not say.
    """

    path: Path
    hand: str
    joints: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...]

    def ranges_of(self, names: Sequence[str]) -> Float[np.ndarray, "joints 2"]:
        """Returns the ranges of some of the joints, (lowest, highest) each."""
        return np.array([self.ranges[self.joints.index(name)] for name in names])


def read_chain(path: Path, site: str | None = None, body: str | None = None) -> Chain:
    """Returns the joints that move a site or body of a model.

    Args:
        path: MJCF or URDF file.
        site: Whose joints; or
        body: whose joints.

    Raises:
        ValueError: If the model is missing, is none, or not exactly one of site and body is named that it has.
    """
    model = _load_model(path)
    name = site if body is None else body
    if name is None or (site is not None and body is not None):
        raise ValueError(
            f"name the hand of {path}, a site between the fingertips or a body: it has the sites "
            f"{_names(model, 'site')} and the bodies {_names(model, 'body')}"
        )
    kind = "body" if site is None else "site"
    hand = _find(path, model, kind, name)
    place = hand if site is None else int(model.site_bodyid[hand])
    numbers: list[int] = []
    while place:
        first, count = int(model.body_jntadr[place]), int(model.body_jntnum[place])
        numbers = [*range(first, first + count), *numbers]
        place = int(model.body_parentid[place])
    joints = [model.joint(number) for number in numbers]
    ranges = [tuple(joint.range.tolist()) if model.jnt_limited[joint.id] else (-np.inf, np.inf) for joint in joints]
    return Chain(path, name, tuple(joint.name for joint in joints), tuple(ranges))


@read_once(4)
def _load_model(path: Path) -> Any:
    """Returns a compiled model."""
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
    known = _names(model, kind)
    if name not in known:
        raise ValueError(f"{path} has no {kind} {name!r}; it has {[other for other in known if other]}")
    return known.index(name)


def _names(model: Any, kind: str) -> list[str]:
    """Returns the names of all joints, sites or bodies, in the order of their numbers."""
    counts = {"joint": model.njnt, "site": model.nsite, "body": model.nbody}
    return [getattr(model, kind)(number).name for number in range(counts[kind])]
