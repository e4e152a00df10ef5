"""How to read what `recordings` writes."""

from pathlib import Path

import h5py
import numpy as np
import recordings as fixtures
from recordings import GRIPPER, JOINTS, MATRIX, STATE, VECTOR

from envs.config import load_config
from envs.episodes.open import open_dataset
from envs.episodes.reading import Reading

V3_GRIPPER = {"key": STATE, "indices": [7], "open": 100, "closed": 0}
MILLIMETRES = {"key": STATE, "indices": [0, 1, 2], "unit": "mm"}
JOINT_ANGLES = {"key": JOINTS, "names": [f"joint{number}" for number in range(1, 8)], "unit": "deg"}
V21_POSE = {
    "kind": "end_effector",
    "position": {"key": STATE, "indices": [3, 4, 5], "unit": "cm"},
    "rotation": {"key": STATE, "indices": [0, 1, 2], "kind": "euler", "axes": "ZYX", "unit": "deg"},
    "gripper": {"key": GRIPPER, "open": 0.01, "closed": 0.09},
    "frame": {
        "translation": fixtures.TABLE_POSITION.tolist(),
        "rotation": fixtures.TABLE_TURN.as_euler("xyz").tolist(),
    },
}
LAYOUTS = ("ours", "quaternion", "rotation vector", "matrix", "joint angles", "v2.1", "droid", "robomimic")


def write_all(root: Path) -> Path:
    """Every layout in a folder of its own, and the arm as MJCF."""
    fixtures.write_ours(root / "ours")
    fixtures.write_v3(root / "v3.0")
    fixtures.write_v21(root / "v2.1")
    fixtures.write_droid(root / "droid")
    fixtures.write_robomimic(root / "robomimic")
    (root / "arm.xml").write_text(fixtures.arm_xml())
    return root


def end_effector(**rotation) -> dict:
    return {"kind": "end_effector", "position": MILLIMETRES, "rotation": rotation, "gripper": V3_GRIPPER}


def describe_layout(root: Path, layout: str) -> tuple[Path, dict]:
    """Returns the folder of a layout and how to read it, as YAML would have it."""
    kinematics = {"kind": "forward_kinematics", "joints": JOINT_ANGLES, "model": root / "arm.xml", "site": "tcp"}
    v3 = {
        "quaternion": end_effector(key=STATE, indices=[3, 4, 5, 6], kind="quaternion_xyzw"),
        "rotation vector": end_effector(key=VECTOR, kind="rotation_vector"),
        "matrix": end_effector(key=MATRIX, kind="matrix"),
        "joint angles": {**kinematics, "gripper": V3_GRIPPER},
    }
    if layout in v3:
        return root / "v3.0", {"pose": v3[layout], "extrinsics": "camera_extrinsics.front"}
    given = {"v2.1": {"pose": V21_POSE}, "robomimic": {"flip": "vertical"}}
    return root / layout, given.get(layout, {})


def open_layout(root: Path, layout: str, **changes):
    folder, values = describe_layout(root, layout)
    return open_dataset(folder, load_config(Reading, values | changes))


def counters(images: np.ndarray) -> list[int]:
    return [fixtures.read_counter(image) for image in images]


def edit_h5(path: Path, key: str, change) -> None:
    with h5py.File(path, "r+") as file:
        found = file[key]
        assert isinstance(found, h5py.Dataset)
        values = change(found[()])
        del file[key]
        if values is not None:
            file[key] = values
