"""What is suspicious about recorded numbers, in words: units, quaternions, grippers, clocks, what never moves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from envs.inspection.survey import NEVER_POSES, Column, Survey

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
    if column.key.lower() not in NEVER_POSES and not is_clock(column.key):
        found += _constants(column, finite)
    is_kind = {kind: np.array([each == kind for each in kinds(column)]) for kind in kinds(column)}
    for kind, say in (("angle", _angles), ("position", _positions), ("gripper", _grippers)):
        if kind in is_kind:
            found += say(finite[:, is_kind[kind]])
    if "quaternion" in is_kind:
        starts = [f"{start}..{start + 3}" for start in quaternions(values)]
        found.append(f"numbers {', '.join(starts)} have unit norm: a quaternion; xyzw or wxyz is to be confirmed")
    return found


def _constants(column: Column, values: np.ndarray) -> list[str]:
    """Returns which numbers never change."""
    still = np.flatnonzero(np.ptp(values, axis=0) == 0)
    if not len(still):
        return []
    if len(still) == column.size:
        return ["never changes"]
    return [f"never change: {', '.join(column.names[i] if column.names else str(i) for i in still)}"]


def _angles(values: np.ndarray) -> list[str]:
    largest = np.abs(values).max()
    if largest <= 2 * np.pi + 1e-3:
        return []
    return [f"angles up to {largest:.4g}, over 2 pi: degrees, or units of a motor?"]


def _positions(values: np.ndarray) -> list[str]:
    largest = np.abs(values).max()
    return [f"positions up to {largest:.4g}, over 10: mm or cm?"] if largest > 10 else []


def _grippers(values: np.ndarray) -> list[str]:
    low, high = gripper_range(values)
    return [f"a gripper of {low:g} .. {high:g}; which end is open is to be confirmed (look at the contact sheet)"]


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
        found += [f"{key}: {text}" for text in _clock(times, stated)]
    return found


def _clocks(survey: Survey) -> dict[str, list[np.ndarray]]:
    """Returns the timestamps of each recording, by key."""
    columns = [column for column in survey.columns.values() if is_clock(column.key) and column.size == 1]
    times = {column.key: [part[:, 0] for part in column.recordings if len(part) > 2] for column in columns}
    return {key: parts for key, parts in times.items() if parts}


def stated_rate(stated: Mapping[str, Any]) -> float | None:
    """Returns the fps that meta/info.json states [Hz], if it does."""
    rate = stated.get("fps")
    return float(rate) if isinstance(rate, int | float) and rate > 0 else None


def _clock(times: list[np.ndarray], stated: float | None) -> list[str]:
    """Returns what is odd about the timestamps of some recordings."""
    steps = np.concatenate([np.diff(each) for each in times])
    period, seconds = float(np.median(steps)), _seconds(times)
    if seconds is None:
        return ["no clock that moves on"]
    rate, found = 1 / (period * seconds), []
    if stated is None:
        found.append(f"{rate:.4g} frames a second")
    elif abs(rate / stated - 1) > _RATE_TOLERANCE:
        found.append(f"says {rate:.4g} frames a second, the header {stated:g}")
    for count, text in (
        ((steps < 0).sum(), "runs backwards"),
        ((steps == 0).sum(), "stands still"),
        ((steps > 1.5 * period).sum(), f"has gaps, the longest {steps.max() * seconds:.3g} s"),
    ):
        if count:
            found.append(f"{text} ({count} of {len(steps)} steps)")
    return found


def _seconds(times: list[np.ndarray]) -> float | None:
    """Returns what the unit of timestamps seems to be [s], by the time between frames; None if they don't move on."""
    period = float(np.median(np.concatenate([np.diff(each) for each in times])))
    if not period > 0:
        return None
    return next(unit for longest, unit in ((2, 1.0), (2e3, 1e-3), (2e6, 1e-6), (np.inf, 1e-9)) if period < longest)


def camera_remarks(survey: Survey) -> list[str]:
    """Returns where a video's header does not say what meta/info.json or the camera's own clock does."""
    stated, found = stated_rate(survey.stated), []
    rates = {f"the clock {key}": _rate_of(times) for key, times in _clocks(survey).items() if not survey.stated}
    for camera in survey.cameras.values():
        said = {"meta/info.json": stated} | {source: rate for source, rate in rates.items() if camera.key in source}
        for source, rate in said.items():
            if rate and camera.rate and abs(camera.rate / rate - 1) > _RATE_TOLERANCE:
                text = f"the video's header says {camera.rate:g} frames a second, {source} {rate:.4g}"
                found.append(f"{camera.key}: {text}")
    return found


def _rate_of(times: list[np.ndarray]) -> float | None:
    """Returns the frames a second that timestamps show [Hz]."""
    seconds = _seconds(times)
    return 1 / (seconds * float(np.median(np.concatenate([np.diff(each) for each in times])))) if seconds else None
