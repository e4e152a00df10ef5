"""The file of the arm that recordings were made with, for deploy.py: `scripts/dataset.py arm`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
import yaml
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from envs.config import load_config
from envs.episodes import DatasetError, EpisodeSource
from envs.episodes.columns import JointAngles
from envs.episodes.kinematics import forward_kinematics
from envs.episodes.open import describe_recordings, find_format, load_reading, open_dataset
from envs.episodes.reading import ForwardKinematics, Reading
from envs.folders import write_text
from envs.inspection.families import FAMILIES, Family, base_name, find_family, is_old, motors_of, old_convention
from envs.inspection.named import survey_named
from envs.inspection.survey import Survey, spread
from envs.pose import matrix_from_euler

_READ = 50  # episodes whose poses the limits are taken from
_ROOM = 0.02  # m around where the hand was recorded; none below, where the table is
_TILT = 0.2  # rad beyond how far it was tilted
_SAME = 1e-3  # m, rad
_UNITS = {
    "workspace_low": "m",
    "workspace_high": "m",
    "reference_orientation": "rad",
    "max_tilt": "rad",
    "max_speed": "m/s",
    "max_acceleration": "m/s^2",
    "max_turn_speed": "rad/s",
    "max_turn_acceleration": "rad/s^2",
}
_HEAD = """\
# Proposed by scripts/dataset.py arm of {folder} and {reading}.
# The workspace is where the hand was recorded and {room:g} cm around. Look at each number before the arm moves; what
# follows a (?) is not known from the recordings.
"""


@dataclass(frozen=True)
class MakeArm:
    """Writes the file of the arm that recordings were made with, as deploy.py --arm takes it.

    Attributes:
        folder: Of the recordings.
        output: The file to write.
        reading: YAML file that says how to read them, with kind forward_kinematics.
        port: That the arm is connected to.
        id: What the arm is called in LeRobot; by default as its calibration file.
        camera: That looks at it, the one of the recordings: number, path or address.
        python: Of the environment that LeRobot is installed in.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.yaml")]
    reading: Path
    port: str | None = None
    id: str | None = None
    camera: str | None = None
    python: Path = Path("python3")

    def __post_init__(self) -> None:
        if self.output.exists():
            raise ValueError(f"{self.output} is there already; name another file for the arm")


def make_arm(config: MakeArm) -> str:
    """Writes the arm's file and returns what was done, in words.

    Raises:
        DatasetError: If the recordings or the Reading do not say enough for it.
        ValueError: If what would be written is no arm's file.
    """
    from envs.arm_file import ArmFile  # MuJoCo and the drivers, which nothing else here needs

    reading = load_reading(config.reading)
    if not isinstance(reading.pose, ForwardKinematics):
        raise DatasetError(
            f"{config.reading} has no forward kinematics, which an arm driven joint by joint needs: propose it with "
            f"`dataset.py inspect {config.folder} --propose FILE.yaml --model ARM.xml --site NAME`"
        )
    if find_format(config.folder, reading.format) == "ours":
        raise DatasetError(f"{config.folder} is a dataset of ours, of poses: name the recordings that it was made of")
    rule, found = reading.pose, survey_named(config.folder, reading, 1)
    recorded = _recorded_names(rule.joints, found)
    family, (robot, module) = _driver(found.stated.get("robot_type"), recorded)
    source = open_dataset(config.folder, reading)
    _check_base(rule)
    arm: dict[str, Any] = {
        "kind": "lerobot",
        "model": str(rule.model),
        **({"site": rule.site} if rule.site is not None else {"body": rule.body}),
        "python": str(config.python),
        "module": module,
        "robot": robot,
        "options": _options(config, rule),
        "joints": _joints(rule, recorded),
        **_gripper(rule),
        "camera": _camera(config, reading),
        "rate": source.spec.rate,
    }
    content = {"arm": arm, "limits": _limits(source), "fixed": ["roll", "pitch", "yaw"], "robot_type": robot}
    load_config(ArmFile, content)
    head = _HEAD.format(folder=config.folder, reading=config.reading, room=100 * _ROOM)
    listed = yaml.safe_dump(content, sort_keys=False, width=200, default_flow_style=None)
    text = head + _mark(listed, config, rule.joints.calibration is not None)
    write_text(config.output, text)
    options = arm["options"]
    return (
        f"wrote {config.output}: {family.title} on {options['port']}, called {options['id']}, seen by the camera "
        f"{arm['camera']['device']}. Look it through, then see what it would do:\n"
        f"python scripts/deploy.py --arm {config.output} --checkpoint CHECKPOINT --goal GOAL.png"
    )


def _recorded_names(joints: JointAngles, found: Survey) -> list[str]:
    """Returns what the joints' numbers were called when they were recorded.

    Raises:
        DatasetError: If there is no such column.
    """
    if joints.key not in found.columns:
        raise DatasetError(f"{found.folder} has no column {joints.key!r}; it has {', '.join(found.columns)}")
    column = found.columns[joints.key]
    unnamed = motors_of(find_family(found.stated.get("robot_type"), ()), column.size)
    column = column if column.names else replace(column, names=unnamed)
    return list(column.part(joints.indices or range(column.size)).names)


def _driver(stated: object, recorded: Sequence[str]) -> tuple[Family, tuple[str, str]]:
    """Returns the kind of arm, with its type in LeRobot and the module; raises DatasetError if there is none."""
    family = find_family(stated, recorded)
    if family is None or family.driver is None:
        known = ", ".join(family.title for family in FAMILIES if family.driver is not None)
        raise DatasetError(
            f"the recordings are of {stated or 'an unnamed robot'} with the joints {', '.join(recorded)}; a file can "
            f"be made of {known}. For other arms copy one of scripts/configs/deploy"
        )
    return family, family.driver


def _options(config: MakeArm, rule: ForwardKinematics) -> dict[str, Any]:
    """Returns the options of LeRobot's robot."""
    calibrated = None if rule.joints.calibration is None else rule.joints.calibration.stem
    return {
        "port": config.port or "/dev/ttyACM0",
        "id": config.id or calibrated or "my_arm",
        "use_degrees": True,  # what the driver speaks, whatever was recorded
        "disable_torque_on_disconnect": False,
    }


def _mark(text: str, config: MakeArm, calibrated: bool) -> str:
    """Returns the YAML with units, and a mark on what nobody has said."""
    guessed = [name for name in ("port", "id") if getattr(config, name) is None and not (name == "id" and calibrated)]
    notes = dict(_UNITS)
    if guessed:
        notes["options"] = f"(?) {' and '.join(guessed)}"
    if config.camera is None:
        notes["camera"] = "(?) device"
    if config.python == Path("python3"):
        notes["python"] = "(?) of LeRobot's environment"
    lines = []
    for line in text.splitlines():
        note = notes.get(line.strip().partition(":")[0])
        lines.append(line if note is None else f"{line}  # {note}")
    return "\n".join(lines) + "\n"


def _joints(rule: ForwardKinematics, recorded: Sequence[str]) -> list[dict[str, Any]]:
    """Returns which motor turns which joint, as in the Reading, but by today's convention of LeRobot's."""
    count = len(rule.joints.names)
    signs, offsets = np.array(rule.joints.signs or [1.0] * count), np.array(rule.joints.offsets or [0.0] * count)
    bases, (old_signs, old_offsets) = [base_name(name) for name in recorded], old_convention(recorded)
    as_old = old_signs.min() < 0 and np.array_equal(signs, old_signs) and np.allclose(offsets, old_offsets, atol=_SAME)
    if is_old(recorded) or as_old:  # the driver speaks today's: old = sign (now - offset)
        offsets, signs = offsets - signs * old_signs * old_offsets, signs * old_signs
    listed = []
    for base, joint, sign, offset in zip(bases, rule.joints.names, signs, offsets, strict=True):
        entry: dict[str, Any] = {"motor": f"{base}.pos", "joint": joint}
        if sign != 1.0:
            entry["sign"] = float(sign)
        if abs(offset) > _SAME:
            entry["offset"] = round(float(offset), 6)
        listed.append(entry)
    return listed


def _gripper(rule: ForwardKinematics) -> dict[str, float]:
    """Returns the gripper's open and closed positions, which are 0 .. 100 to LeRobot."""
    if rule.gripper is None:
        return {}
    ends = rule.gripper.open, rule.gripper.closed
    scale = 100.0 if max(map(abs, ends)) <= 1.0 else 1.0
    return {"gripper_open": scale * ends[0], "gripper_closed": scale * ends[1]}


def _camera(config: MakeArm, reading: Reading) -> dict[str, Any]:
    """Returns the camera, with images of the recorded size where that is known."""
    cameras = describe_recordings(config.folder, reading.format).cameras
    size = cameras.get(reading.camera or next(iter(cameras), ""))
    device: int | str = "0" if config.camera is None else config.camera
    device = int(device) if device.isdecimal() else device
    return {"device": device} | ({} if size is None else {"width": size[1], "height": size[0]})


def _limits(source: EpisodeSource) -> dict[str, Any]:
    """Returns limits of the safety filter: where the hand was, how it was held, and a slow arm's speeds."""
    whole = [episode for episode in range(len(source)) if episode not in source.problems]
    poses = np.concatenate([source.poses_actions(episode)[0] for episode in spread(whole, _READ)]).astype(np.float64)
    low, high = poses[:, :3].min(axis=0), poses[:, :3].max(axis=0)
    turns = Rotation.from_matrix(matrix_from_euler(poses[:, 3:6]))
    middle = turns.mean()
    tilt = float((middle.inv() * turns).magnitude().max())
    return {
        "workspace_low": _rounded(low - [_ROOM, _ROOM, 0.0]),
        "workspace_high": _rounded(high + _ROOM),
        "reference_orientation": _rounded(middle.as_euler("xyz")),
        "max_tilt": round(min(tilt + _TILT, np.pi), 2),
        "max_speed": 0.2,
        "max_acceleration": 2.0,
        "max_turn_speed": 1.0,
        "max_turn_acceleration": 8.0,
    }


def _check_base(rule: ForwardKinematics) -> None:
    """Returns if poses are in the model's world, as the driver's are.

    Raises:
        DatasetError: If they are relative to a body that stands elsewhere.
    """
    if rule.base is None:
        return
    joints = np.zeros((1, len(rule.joints.names)))
    poses = [
        forward_kinematics(rule.model, rule.joints.names, joints, rule.site, rule.body, base)
        for base in (rule.base, None)
    ]
    if np.abs(poses[0] - poses[1]).max() > _SAME:
        raise DatasetError(
            f"poses are relative to the body {rule.base!r}, which does not stand in the origin of {rule.model}, but "
            "the arm's driver speaks of the model's world: leave `base` out of the Reading and train anew"
        )


def _rounded(values: Float[np.ndarray, "n"]) -> list[float]:
    return [round(float(value), 3) for value in values]
