"""A Reading to start from, guessed from the names and the values of what was recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from envs.episodes import DatasetError
from envs.episodes.formats.registry import FORMATS, find_named
from envs.episodes.formats.robomimic import POSE
from envs.episodes.recordings import Contents
from envs.inspection.families import Family, find_family, motors_of
from envs.inspection.gripper import find_direction
from envs.inspection.joints import Hints, Proposed, propose_joints
from envs.inspection.remarks import Kind, gripper_range, kinds
from envs.inspection.survey import Column, Survey

USUAL_RATE = 20.0  # Hz, of robosuite's simulations
MODEL_RATE = 4.0  # Hz, of the released V-JEPA 2-AC
POSE_KNOWN = ("ours", "droid", "robomimic")  # formats that say what the pose is; robomimic's where robosuite wrote it
_GUESS = "(?)"
_HEAD = (
    f"# Proposed by scripts/dataset.py inspect. Lines with {_GUESS} are guesses; the contact sheet shows if they hold."
)


def propose(survey: Survey, contents: Contents, hints: Hints | None = None, named: str | None = None) -> str | None:
    """Returns the YAML of a Reading with comments, or None if no column looks like a pose or joints.

    Args:
        survey: What is there.
        contents: What its format says.
        hints: What a person says of the arm.
        named: The format, where a person names it.

    Raises:
        DatasetError: If a proposal could not be right, with the reason and what would help.
        ValueError: If the model or the calibration of the hints can't be read, or is not for these recordings.
    """
    hints, lines = hints or Hints(), [_HEAD, *([] if named is None else [f"format: {_word(named)}"])]
    if contents.format == "robomimic":  # a Reading's keys are those of its obs
        observed = {key.removeprefix("obs/"): column for key, column in survey.columns.items() if "obs/" in key[:4]}
        survey = replace(survey, columns={key: replace(column, key=key) for key, column in observed.items()})
    family = find_family(survey.stated.get("robot_type"), [name for column in _states(survey) for name in column.names])
    survey = _with_names(survey, family)
    if len(contents.cameras) > 1:
        first = "left" if contents.format == "droid" else next(iter(contents.cameras))
        lines.append(f"camera: {_word(first)}  # {_GUESS} of {', '.join(contents.cameras)}")
    if contents.rate is None:
        lines.append(f"recorded_rate: {USUAL_RATE}  # {_GUESS} frames a second, which no file says")
    if (contents.rate or USUAL_RATE) > 1.2 * MODEL_RATE:
        recorded = f"{contents.rate or USUAL_RATE:g}"
        lines.append(f"rate: {MODEL_RATE}  # recorded at {recorded}; the released V-JEPA 2-AC learnt at 4")
    if contents.format == "droid":
        lines.append("time_base: physical  # or vjepa2_compat, which the released V-JEPA 2-AC learnt with")
    if contents.format == "robomimic":
        lines.append(f"flip: none  # {_GUESS} vertical, if the contact sheet stands on its head")
    lines.append("crop: square  # or official_squash, which the released V-JEPA 2-AC learnt from")
    robosuite = set(POSE.keys) <= set(contents.columns)
    known = contents.format in POSE_KNOWN and (contents.format != "robomimic" or robosuite)
    if named is not None and not FORMATS.is_builtin(named):
        known = find_named(named).pose(survey.folder) is not None
    if known:
        if hints.given:
            raise DatasetError(f"{contents.format} says its poses itself: leave what is said of joints out")
        return "\n".join(lines) + "\n"
    pose = (None if hints.model else _end_effector(survey, family)) or _joints(survey, family, hints)
    return "\n".join(lines + pose) + "\n" if pose else None


def _with_names(survey: Survey, family: Family | None) -> Survey:
    """Returns a survey whose state and action have the names that the kind of arm gives them, if none were written."""
    columns = {
        key: replace(column, names=motors_of(family, column.size))
        if not column.names and re.fullmatch("observation.state|action", key)
        else column
        for key, column in survey.columns.items()
    }
    return replace(survey, columns=columns)


def _end_effector(survey: Survey, family: Family | None) -> list[str] | None:
    """Returns the lines of an end-effector pose, if there are a position and a rotation."""
    for column in _states(survey):
        found = kinds(column)
        position = _run(found, "position", 3)
        if position is None:
            continue
        others = [column, *(other for other in _states(survey) if other is not column)]
        rotation = next((lines for other in others if (lines := _rotation(other)) is not None), None)
        if rotation is not None:
            largest = np.nanmax(np.abs(column.values[:, position]))
            unit = "m" if largest <= 10 else "cm" if largest <= 200 else "mm"
            place = f"{{key: {_word(column.key)}, indices: {position}, unit: {unit}}}"
            guess = "" if unit == "m" else f"  # {_GUESS} {unit}"
            lines = ["pose:", "  kind: end_effector", f"  position: {place}{guess}", rotation]
            return [*lines, *_gripper(others, 1, survey, family)]
    return None


def _rotation(column: Column) -> str | None:
    """Returns the line of a rotation, if the column holds one."""
    found, key = kinds(column), _word(column.key)
    quaternion = _run(found, "quaternion", 4)
    if quaternion is not None:
        place = f"key: {key}, kind: quaternion_xyzw, indices: {quaternion}"
        return f"  rotation: {{{place}}}  # {_GUESS} or quaternion_wxyz"
    angles = _run(found, "angle", 3)
    names = " ".join(column.names) + column.key
    if angles is None or re.search("joint|shoulder|elbow|motor|qpos", names.lower()):
        return None
    unit = "deg" if np.nanmax(np.abs(column.values[:, angles])) > 2 * np.pi + 1e-3 else "rad"
    axes = _axes([column.names[i] for i in angles] if column.names else [])
    place = f"key: {key}, kind: euler, indices: {angles}, axes: {axes}, unit: {unit}"
    return f"  rotation: {{{place}}}  # {_GUESS} or axes {axes.upper()}, or a rotation_vector"


def _axes(names: Sequence[str]) -> str:
    """Returns the order of Euler angles by their names, such as yaw, pitch, roll; xyz where they don't tell."""
    words = {"x": r"roll|(^|[._])r?x([._]|$)", "y": r"pitch|(^|[._])r?y([._]|$)", "z": r"yaw|(^|[._])r?z([._]|$)"}
    found = [axis for name in names for axis, word in words.items() if re.search(word, name.lower())]
    return "".join(found) if sorted(found) == ["x", "y", "z"] else "xyz"


def _joints(survey: Survey, family: Family | None, hints: Hints) -> list[str] | None:
    """Returns the lines of joint positions: of the column with the most angles, or else of what is called state.

    Raises:
        DatasetError: If they can't be what they would have to be.
    """
    states = _states(survey)
    angles = {column.key: [i for i, kind in enumerate(kinds(column)) if kind == "angle"] for column in states}
    column = max(states, key=lambda column: len(angles[column.key]), default=None)
    if column is None or not angles[column.key]:
        column = next((column for column in states if "state" in column.key.lower()), None)
    if column is None:
        return None
    indices = angles[column.key] or list(range(column.size))
    found = propose_joints(column.part(indices), family, hints)
    gripper = _gripper(
        [column, *(other for other in states if other is not column)],
        1 if hints.model else column.size,
        survey,
        family,
    )
    if hints.model is None:
        lines = ["pose:  # joint space; --model ARM.xml --site NAME proposes end-effector poses", "  kind: joints"]
    else:
        kind, hand = ("site", hints.site) if hints.site is not None else ("body", hints.body)
        lines = [
            "pose:",
            "  kind: forward_kinematics",
            f"  model: {_word(str(hints.model))}",
            f"  {kind}: {_word(hand or '')}",
        ]
    return [*lines, *_joint_lines(column.key, indices, found, hints), *gripper]


def _joint_lines(key: str, indices: list[int], found: Proposed, hints: Hints) -> list[str]:
    """Returns the lines of joint angles."""
    mark = "" if found.certain else f"{_GUESS} "
    lines = [
        "  joints:",
        f"    key: {_word(key)}",
        f"    indices: {indices}",
        f"    names: [{', '.join(map(_word, found.names))}]",
        f"    unit: {found.unit}  # {mark}{found.why}",
    ]
    if found.unit == "normalised":
        lines.append(f"    calibration: {_word(str(hints.calibration))}")
    if found.motors is not None:
        lines.append(f"    motors: [{', '.join(map(_word, found.motors))}]")
    if found.unit == "normalised" and found.make != "feetech":
        lines.append(f"    make: {found.make}")
    if found.signs is not None:
        lines.append(f"    signs: {found.signs}")
    if found.offsets is not None:
        lines.append(f"    offsets: {found.offsets}")
    return [*lines, *(f"    # {remark}" for remark in found.remarks)]


def _gripper(columns: Iterable[Column], most: int, survey: Survey, family: Family | None) -> list[str]:
    """Returns the lines of the gripper, from the first column that has one."""
    for column in columns:
        indices = [i for i, kind in enumerate(kinds(column)) if kind == "gripper"][:most]
        values = column.values[:, indices]
        values = values[np.isfinite(values).all(axis=1)]
        low, high = gripper_range(values) if values.size else (0.0, 0.0)
        if low < high:
            usual = None if family is None or family.gripper is None else (family.title, family.gripper)
            parts = [(part[:, i], command) for i in indices for part, command in _commanded(column, i, survey)]
            commands = [command for _, command in parts if command is not None]
            told = find_direction(low, high, usual, [part for part, _ in parts] if commands else [], commands)
            mark = "" if told.certain else f"{_GUESS} "
            place = f"key: {_word(column.key)}, indices: {indices}, open: {told.open}, closed: {told.closed}"
            remark = [f"  # {told.remark}"] if told.remark else []
            return [f"  gripper: {{{place}}}  # {mark}{told.why}", *remark]
    return [f"  gripper: null  # {_GUESS} nothing that moves is called a gripper"]


def _commanded(column: Column, index: int, survey: Survey) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Returns each recording of a column with what was commanded of one of its numbers, None where it was not.

    A command belongs to a number if the column of actions has as many, called alike.
    """
    for other in survey.columns.values():
        alike = other.size == column.size and (not other.names or other.names == column.names)
        together = [*map(len, other.recordings)] == [*map(len, column.recordings)]
        if "action" in other.key.lower() and alike and together:
            return [(part, sent[:, index]) for part, sent in zip(column.recordings, other.recordings, strict=True)]
    return [(part, None) for part in column.recordings]


def _states(survey: Survey) -> list[Column]:
    """Returns the columns that were measured, not commanded; those called state or observation first."""
    measured = [column for column in survey.columns.values() if "action" not in column.key.lower()]
    return sorted(measured, key=lambda column: not re.search("state|obs", column.key.lower()))


def _run(found: Sequence[Kind], kind: Kind, size: int) -> list[int] | None:
    """Returns the first indices at which so many numbers of a kind stand side by side."""
    for start in range(len(found) - size + 1):
        if all(each == kind for each in found[start : start + size]):
            return list(range(start, start + size))
    return None


def _word(text: str) -> str:
    """Returns a string as YAML takes it inside a flow mapping."""
    return text if re.fullmatch(r"[A-Za-z_/][\w./-]*", text) else json.dumps(text)
