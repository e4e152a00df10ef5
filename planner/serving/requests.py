"""What a client may ask of a plan server, read from a message strictly: names, shapes, numbers."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from envs.spec import POSE_NAMES, ActionSpec, Goal, Observation, SpecError

MAX_IMAGE_SIDE = 2048
MAX_GOALS = 16
MAX_COMMITTED = 32
_POSE_BOUND = 100.0
"""No pose of an arm is beyond this [m, rad, 1]: poses in millimetres or degrees are a mistake."""
_FLAT = {"observation/image", "observation/state", "observation/time", "goal/image", "goal/state", "seed"}


class RequestError(ValueError):
    """A message is no request that this server can do."""


@dataclass(frozen=True)
class Request:
    """What a client asks: to take up goals, to plan, or first the one and then the other.

    Attributes:
        goals: Goals that begin a new episode; none to go on with the old ones.
        seed: Of the planner's noise, where there are goals.
        action_spec: The arm's actions, where there are goals; None for the checkpoint's own.
        observation: What to plan from, None for no plan.
        committed: Actions (K, A) that will have been executed when the plan begins.
        seconds: Time that the answer may take [s].
        imagine: Whether to show what the plan is predicted to lead to.
    """

    goals: tuple[Goal, ...] = ()
    seed: int = 0
    action_spec: ActionSpec | None = None
    observation: Observation | None = None
    committed: Float[np.ndarray, "K A"] | None = None
    seconds: float | None = None
    imagine: bool = False


def read_request(message: Mapping[str, Any], actions: int, goal_pose: bool, now: float, can_imagine: bool) -> Request:
    """Returns the request that a message makes, ours or an openpi client's (docs/remote.md has both).

    Args:
        message: As `envs.arms.remote.messages.unpack` gives it.
        actions: Size of an action, A, and of a pose: an action is the difference of two.
        goal_pose: Whether a goal must come with its pose, because plans depend on it.
        now: Time of an observation that has none [s].
        can_imagine: Whether the server has pictures to show what a plan is predicted to lead to.

    Raises:
        RequestError: Saying what was expected and what came.
        SpecError: If the action spec is none.
    """
    if any("/" in name for name in message):
        return _read_flat(message, actions, goal_pose, now)
    if "reset" in message:
        _check_names(message, {"reset"})
        return _read_reset(_mapping(message["reset"], "reset"), actions, goal_pose)
    _check_names(message, {"observation", "committed", "deadline", "imagine"})
    if "observation" not in message:
        raise RequestError('a request has "reset" or "observation", or openpi\'s "observation/image"')
    seen = _mapping(message["observation"], "observation")
    _check_names(seen, {"image", "pose", "time"}, "observation.")
    seconds = message.get("deadline")
    return Request(
        observation=_read_observation(
            seen.get("image"), seen.get("pose"), actions, seen.get("time"), "the observation"
        ),
        committed=_read_committed(message.get("committed"), actions),
        seconds=None if seconds is None else _number(seconds, "the deadline", low=0.0),
        imagine=_read_imagine(message.get("imagine", False), can_imagine),
    )


def _read_reset(values: Mapping[str, Any], size: int, goal_pose: bool) -> Request:
    """Returns the request to take up goals."""
    _check_names(values, {"goals", "seed", "action_spec"}, "reset.")
    goals = values.get("goals")
    if not isinstance(goals, list) or not 1 <= len(goals) <= MAX_GOALS:
        raise RequestError(f"reset.goals is a list of 1 to {MAX_GOALS} goals")
    spec = values.get("action_spec")
    return Request(
        goals=tuple(_read_listed_goal(goal, size, goal_pose, i) for i, goal in enumerate(goals)),
        seed=_read_seed(values.get("seed", 0)),
        action_spec=None if spec is None else read_action_spec(_mapping(spec, "reset.action_spec")),
    )


def _read_flat(message: Mapping[str, Any], size: int, goal_pose: bool, now: float) -> Request:
    """Returns the request of an openpi client: an observation, in an episode's first message with the goal."""
    _check_names(message, _FLAT)
    goals: tuple[Goal, ...] = ()
    if "goal/image" in message:
        goal, state = message["goal/image"], message.get("goal/state")
        goals = (_read_goal(goal, state, None, size, goal_pose, "goal/image, goal/state"),)
    elif {"goal/state", "seed"} & message.keys():
        raise RequestError('"goal/state" and "seed" come with "goal/image", in the first message of an episode')
    image, pose = message.get("observation/image"), message.get("observation/state")
    time = message.get("observation/time", now)
    seen = _read_observation(image, pose, size, time, "observation/image, observation/state")
    return Request(goals=goals, seed=_read_seed(message.get("seed", 0)), observation=seen)


def read_action_spec(values: Mapping[str, Any]) -> ActionSpec:
    """Returns the action spec of a message.

    Raises:
        RequestError: If a field is of the wrong kind.
        SpecError: If a field is missing, unknown or out of its range.
    """
    for name in ("names", "units", "low", "high"):
        kind = str if name in {"names", "units"} else (int, float)
        entries = values.get(name)
        if not isinstance(entries, list) or not all(isinstance(entry, kind) for entry in entries):
            raise RequestError(f"action_spec.{name} is a list of {'words' if kind is str else 'numbers'}")
    if not isinstance(values.get("frame"), str):
        raise RequestError("action_spec.frame is a word")
    _number(values.get("rate"), "action_spec.rate", low=0.0)
    return ActionSpec.from_dict(dict(values))


def _read_listed_goal(value: Any, size: int, goal_pose: bool, index: int) -> Goal:
    """Returns a goal of a list."""
    goal = _mapping(value, f"goal {index}")
    _check_names(goal, {"image", "pose", "mask"}, f"reset.goals[{index}].")
    return _read_goal(goal.get("image"), goal.get("pose"), goal.get("mask"), size, goal_pose, f"goal {index}")


def _read_goal(image: Any, pose: Any, mask: Any, size: int, goal_pose: bool, name: str) -> Goal:
    """Returns a goal of the right shapes and of finite numbers; it may lack its pose where plans don't need it."""
    _check_image(image, name)
    numbers = _read_pose(pose, size, name) if goal_pose or pose is not None else None
    try:
        return Goal(image, numbers, mask)
    except SpecError as error:
        raise RequestError(f"{name}: {error}") from error


def _read_observation(image: Any, pose: Any, size: int, time: Any, name: str) -> Observation:
    """Returns an observation of the right shapes and of finite numbers."""
    _check_image(image, name)
    return Observation(image, _read_pose(pose, size, name), _number(time, f"{name}: the time"))


def _check_image(image: Any, name: str) -> None:
    """Returns if it is an RGB image of a reasonable size."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise RequestError(f"{name}: the image is an array (height, width, 3) of uint8, got {_kind(image)}")
    if not 1 <= min(image.shape[:2]) <= max(image.shape[:2]) <= MAX_IMAGE_SIDE:
        raise RequestError(f"{name}: an image is 1 to {MAX_IMAGE_SIDE} pixels high and wide, got {image.shape}")


def _read_pose(pose: Any, size: int, name: str) -> Float[np.ndarray, "P"]:
    """Returns a pose of the right size and of numbers that a pose may have."""
    numbers = _read_numbers(pose, f"{name}: the pose")
    if numbers.shape != (size,) or not np.all(np.abs(numbers) <= _POSE_BOUND):
        hand = " (position [m], Euler angles [rad], gripper closedness)" if size == len(POSE_NAMES) else ""
        raise RequestError(
            f"{name}: the pose is {size} numbers{hand}, got {numbers if numbers.size <= size else numbers.shape}"
        )
    return numbers


def _read_committed(values: Any, actions: int) -> Float[np.ndarray, "K A"] | None:
    """Returns the actions that will have been executed; none where there are none."""
    if values is None:
        return None
    numbers = _read_numbers(values, "committed")
    if numbers.ndim != 2 or numbers.shape[1] != actions or len(numbers) > MAX_COMMITTED:
        raise RequestError(f"committed is at most {MAX_COMMITTED} actions of {actions} numbers, got {numbers.shape}")
    if not np.all(np.isfinite(numbers)):
        raise RequestError("committed actions are finite numbers")
    return numbers if len(numbers) else None


def _read_imagine(value: Any, can_imagine: bool) -> bool:
    """Returns whether to imagine."""
    if type(value) is not bool:
        raise RequestError(f"imagine is true or false, got {_kind(value)}")
    if value and not can_imagine:
        raise RequestError('this server cannot imagine: start it with --imagine FOLDER, or leave "imagine" out')
    return value


def _read_numbers(values: Any, name: str) -> Float[np.ndarray, "..."]:
    """Returns an array, or a list of numbers, as float64."""
    if isinstance(values, list) and all(type(value) in {int, float} for value in values):
        values = np.array([float(value) for value in values])
    if not isinstance(values, np.ndarray):
        raise RequestError(f"{name} is an array of numbers, got {_kind(values)}")
    return values.astype(np.float64)


def _read_seed(value: Any) -> int:
    """Returns a seed."""
    if type(value) is not int or not 0 <= value < 2**63:
        raise RequestError(f"a seed is a whole number from 0 up, below 2^63, got {_kind(value)}")
    return value


def _number(value: Any, name: str, low: float = -math.inf) -> float:
    """Returns a finite number above `low`."""
    if type(value) not in {int, float} or not math.isfinite(value) or value <= low:
        bound = "" if low == -math.inf else f" above {low:g}"
        raise RequestError(f"{name} is a finite number{bound}, got {_kind(value)}")
    return float(value)


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    """Returns a value that is a map."""
    if not isinstance(value, dict):
        raise RequestError(f"{name} is a map of names to values, got {_kind(value)}")
    return value


def _check_names(values: Mapping[str, Any], known: Collection[str], prefix: str = "") -> None:
    """Returns if all names are known.

    Raises:
        RequestError: Naming the nearest known one.
    """
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name[:80], known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise RequestError(f"unknown {prefix + name[:80]!r}: {hint}Known: {', '.join(sorted(known))}")


def _kind(value: Any) -> str:
    """Returns a few words on a value from elsewhere, however long it is."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    if value is None:
        return "none"
    return f"{type(value).__name__} {value}" if isinstance(value, float | bool) else f"a {type(value).__name__}"
