"""What is suspicious about recordings, in words: their numbers, their clocks, what a Reading makes of an episode."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float64, UInt8

from envs.episodes import Episode
from envs.inspection.survey import NEVER_POSES, Column, Survey
from envs.pose import END_EFFECTOR, matrix_from_euler, motion_of

Kind = Literal["position", "angle", "quaternion", "gripper", ""]

_GRIPPER = re.compile(r"grip|finger|claw")
_ANGLE = re.compile(
    r"euler|rot|rpy|roll|pitch|yaw|orient|angle|joint|shoulder|elbow|wrist|waist|forearm|motor|qpos|theta"
    r"|(^|[._])r[xyz]([._]|$)"
)
_POSE = re.compile(r"cartesian|(^|[._/])(eef?|tcp|end_effector|flange)_?(pose|state)|(^|[._/])pose$")
_POSITION = re.compile(r"(eef?|tcp|end_effector)_?(pos|xyz|trans)|(^|[._])[xyz]([._]|$)|translation|(^|[._/])xyz$")
_RATE = re.compile(r"velocit|speed|accel|torque|effort|force|vel($|[._])")
_CLOCK = re.compile(r"time|stamp")
_CONTROL = re.compile(r"controller|is_|valid|success|done|reward|rewards|mode|intrinsic|extrinsic")
_POSE_KINDS: tuple[Kind, ...] = ("position", "position", "position", "angle", "angle", "angle", "gripper")
_QUATERNION: tuple[Kind, ...] = ("quaternion", "quaternion", "quaternion", "quaternion")
_RATE_TOLERANCE = 0.02
JUMP = 0.5  # m a step: no arm that is recorded several times a second moves so fast
TURN = 1.5  # rad a step
JOINT_TURN = 2.0  # rad a step
MOVED = 0.01  # m or rad a step, that a camera should show
STILL = 12  # grey levels: what compression does to a pixel of a picture that does not change
DARK = 8.0  # grey levels
FEW = 0.05  # share of the frames that is worth a word


def is_clock(key: str) -> bool:
    """Returns whether a key is called like the time of a frame."""
    return bool(_CLOCK.search(key.lower()))


def kinds(column: Column) -> tuple[Kind, ...]:
    """Returns what each number of a column seems to be, by its name and its values; "" where nothing tells."""
    key = column.key.lower()
    if is_clock(key) or key in NEVER_POSES or _RATE.search(key) or _CONTROL.search(key):
        return ("",) * column.size
    found: tuple[Kind, ...]
    if column.size in {6, 7} and _POSE.search(key):
        found = _POSE_KINDS[: column.size]
    else:
        names = column.names or ("",) * column.size
        found = tuple(_kind(key, name.lower()) for name in names)
    for start in quaternions(column.values):
        found = found[:start] + _QUATERNION + found[start + 4 :]
    return found


def _kind(key: str, name: str) -> Kind:
    """Returns what one number seems to be: by its own name, else by its key's."""
    if _RATE.search(name):
        return ""
    for text in filter(None, (name, key)):
        if _GRIPPER.search(text):
            return "gripper"
        if _POSITION.search(text):
            return "position"
        if _ANGLE.search(text):
            return "angle"
    return ""


def quaternions(values: Float64[np.ndarray, "n d"]) -> list[int]:
    """Returns where four numbers of unit norm begin that are not three constants and a 1."""
    starts, start = [], 0
    while start + 4 <= values.shape[1]:
        four = values[:, start : start + 4]
        unit = bool(np.isfinite(four).all()) and bool((np.abs(np.linalg.norm(four, axis=1) - 1.0) < 1e-3).all())
        if unit and (four.std(axis=0) > 1e-6).sum() >= 2:
            starts.append(start)
            start += 4
        else:
            start += 1
    return starts


def suspicions(column: Column) -> list[str]:
    """Returns what is suspicious about a column, in words."""
    values, found = column.values, []
    broken = ~np.isfinite(values).all(axis=1)
    if broken.any():
        found.append(f"{broken.sum()} of {len(values)} rows are not finite numbers")
    finite = values[~broken]
    if len(finite) < 2:
        return found
    still = np.flatnonzero(np.ptp(finite, axis=0) == 0)
    if len(still) and column.key.lower() not in NEVER_POSES and not is_clock(column.key):
        names = ", ".join(column.names[i] if column.names else str(i) for i in still)
        found.append("never changes" if len(still) == column.size else f"never change: {names}")
    told = np.array(kinds(column))
    largest = {kind: np.abs(finite[:, told == kind]).max(initial=0.0) for kind in ("angle", "position")}
    if largest["angle"] > 2 * np.pi + 1e-3:
        found.append(f"angles up to {largest['angle']:.4g}, over 2 pi: degrees, or units of a motor?")
    if largest["position"] > 10:
        found.append(f"positions up to {largest['position']:.4g}, over 10: mm or cm?")
    if "gripper" in told:
        low, high = gripper_range(finite[:, told == "gripper"])
        which = "which end is open is to be confirmed (look at the contact sheet)"
        found.append(f"a gripper of {low:g} .. {high:g}; {which}")
    if "quaternion" in told:
        starts = [f"{start}..{start + 3}" for start in quaternions(values)]
        found.append(f"numbers {', '.join(starts)} have unit norm: a quaternion; xyzw or wxyz is to be confirmed")
    return found


def gripper_range(values: Float64[np.ndarray, "n d"]) -> tuple[float, float]:
    """Returns the range that a gripper's values seem to be given in: 0..1, 0..100, 0..255, or as measured."""
    low, high = float(values.min()), float(values.max())
    for end in (1.0, 100.0, 255.0):
        if low >= -0.02 * end and 0.3 * end < high <= 1.02 * end:
            return 0.0, end
    return round(low, 4), round(high, 4)


def clock_remarks(survey: Survey) -> list[str]:
    """Returns what the timestamps say against the rate that the header states, and about gaps and jumps."""
    stated, found = stated_rate(survey.stated), []
    for key, times in _clocks(survey).items():
        steps = np.concatenate([np.diff(each) for each in times])
        rate = _rate_of(steps)
        if rate is None:
            found.append(f"{key}: no clock that moves on")
            continue
        if stated is None:
            found.append(f"{key}: {rate:.4g} frames a second")
        elif abs(rate / stated - 1) > _RATE_TOLERANCE:
            found.append(f"{key}: says {rate:.4g} frames a second, the header {stated:g}")
        period = float(np.median(steps))
        for count, text in (
            ((steps < 0).sum(), "runs backwards"),
            ((steps == 0).sum(), "stands still"),
            ((steps > 1.5 * period).sum(), f"has gaps, the longest {steps.max() / (rate * period):.3g} s"),
        ):
            if count:
                found.append(f"{key}: {text} ({count} of {len(steps)} steps)")
    return found


def camera_remarks(survey: Survey) -> list[str]:
    """Returns where a video's header does not say what meta/info.json or the camera's own clock does."""
    stated, found = stated_rate(survey.stated), []
    clocks = {} if survey.stated else _clocks(survey)
    rates = {f"the clock {key}": _rate_of(np.concatenate(list(map(np.diff, times)))) for key, times in clocks.items()}
    for camera in survey.cameras.values():
        said = {"meta/info.json": stated} | {source: rate for source, rate in rates.items() if camera.key in source}
        for source, rate in said.items():
            if rate and camera.rate and abs(camera.rate / rate - 1) > _RATE_TOLERANCE:
                text = f"the video's header says {camera.rate:g} frames a second, {source} {rate:.4g}"
                found.append(f"{camera.key}: {text}")
    return found


def stated_rate(stated: Mapping[str, Any]) -> float | None:
    """Returns the fps that meta/info.json states [Hz], if it does."""
    rate = stated.get("fps")
    return float(rate) if isinstance(rate, int | float) and rate > 0 else None


def _clocks(survey: Survey) -> dict[str, list[np.ndarray]]:
    """Returns the timestamps of each recording, by key."""
    columns = [column for column in survey.columns.values() if is_clock(column.key) and column.size == 1]
    times = {column.key: [part[:, 0] for part in column.recordings if len(part) > 2] for column in columns}
    return {key: parts for key, parts in times.items() if parts}


def _rate_of(steps: Float64[np.ndarray, "n"]) -> float | None:
    """Returns the frames a second [Hz] of a clock by its steps, whose size tells its unit; None if it stands still."""
    period = float(np.median(steps))
    if not period > 0:
        return None
    unit = next(unit for longest, unit in ((2, 1.0), (2e3, 1e-3), (2e6, 1e-6), (np.inf, 1e-9)) if period < longest)
    return 1 / (period * unit)


def implausible(episode: Episode) -> list[str]:
    """Returns what no real arm and camera would have recorded, in words."""
    spec, poses, found = episode.spec, episode.poses.astype(np.float64), []
    for name, low, high in zip(spec.names, poses.min(axis=0), poses.max(axis=0), strict=True):
        if name.startswith("gripper") and (low < -1e-3 or high > 1 + 1e-3):
            found = [f"{name} is {low:.3g} .. {high:.3g}, closedness is 0 .. 1: give its open and closed values"]
            break
    steps = _pose_steps(poses) if motion_of(spec) is END_EFFECTOR else _joint_steps(poses, spec.units)
    return [*found, *steps, *_pictures(episode.images, poses)]


def _pose_steps(poses: Float[np.ndarray, "T 7"]) -> list[str]:
    """Returns where an end effector jumps or turns too fast."""
    found = []
    jumps = np.linalg.norm(np.diff(poses[:, :3], axis=0), axis=1)
    if jumps.max() > JUMP:
        found.append(f"the position jumps {jumps.max():.2f} m at frame {jumps.argmax()}: a wrong unit, or a cut?")
    matrices = matrix_from_euler(poses[:, 3:6])
    traces = np.einsum("tij,tij->t", matrices[1:], matrices[:-1])
    turns = np.arccos(np.clip((traces - 1) / 2, -1, 1))
    if turns.max() > TURN:
        count = int((turns > TURN).sum())
        found.append(
            f"the rotation jumps {turns.max():.2f} rad at frame {turns.argmax()} ({count} such steps): degrees for "
            "radians, other axes, or quaternions in another order?"
        )
    return found


def _joint_steps(poses: Float[np.ndarray, "T P"], units: tuple[str, ...]) -> list[str]:
    """Returns where joints turn too fast or too far."""
    joints = poses[:, [unit == "rad" for unit in units]]
    if not joints.size:
        return []
    found, steps = [], np.abs(np.diff(joints, axis=0)).max(axis=1)
    if steps.max() > JOINT_TURN:
        found.append(f"a joint jumps {steps.max():.2f} rad at frame {steps.argmax()}: degrees for radians, or a cut?")
    if np.abs(joints).max() > 4 * np.pi:
        found.append(f"joints reach {np.abs(joints).max():.3g} rad: degrees for radians?")
    return found


def _pictures(images: UInt8[np.ndarray, "T h w 3"], poses: Float[np.ndarray, "T P"]) -> list[str]:
    """Returns whether pictures are dark, or stand still while the arm moves."""
    found = []
    dark = np.array([image.mean() < DARK for image in images])
    if dark.mean() > FEW:
        found.append(f"{dark.sum()} of {len(dark)} images are black")
    pairs = itertools.pairwise(images)  # one at a time: all of them at once are twice the episode
    changes = np.array([np.abs(after.astype(np.int16) - before).max() for before, after in pairs])
    moves = np.abs(np.diff(poses, axis=0)).max(axis=1) > MOVED
    frozen = moves & (changes <= STILL) & ~dark[1:]
    if frozen.sum() > max(1, FEW * moves.sum()):
        found.append(
            f"{frozen.sum()} of {moves.sum()} steps move the arm but not the image: a wrong time base, or a camera "
            "that hung"
        )
    if not moves.any() and (changes > STILL).mean() > 0.5:
        found.append("the images change while the pose never does: is it the pose of this arm?")
    return found
