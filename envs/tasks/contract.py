"""What an environment of somebody's own must be to be a task, checked before anything is planned in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
from jaxtyping import Float

from envs.spec import ActionSpec, Goal, Observation, SpecError

TOLD = {
    "time": "seconds of a clock that only goes forward",
    "distance": "from the goal [m]",
    "success": "whether the goal is reached",
}
"""What ``info`` has beside every observation: for people, but for the time."""


class Practicable(Protocol):
    """A task that a checkpoint can practise, see `planner.collecting.practice`: an expert finishes what it began.

    ``reset(options={"practice": True})`` shows nothing that evaluations alone may show. An `envs.arms.base.ArmEnv`
    lacks `finish` and `play` alone.

    Attributes:
        action_spec: What an action of the task means.
        robot_type: Name of the arm, for the dataset.
    """

    action_spec: ActionSpec
    robot_type: str

    @property
    def recorded_spec(self) -> ActionSpec:
        """What an action of the dataset means: experts may go further than the task's actions."""
        ...

    def drive(self, choose: Callable[[Observation], Float[np.ndarray, "A"]], frames: int) -> list[Observation]:
        """Returns what is seen from now on, so many frames, while an action is chosen for each but the last."""
        ...

    def finish(self) -> Iterator[Float[np.ndarray, "A"]]:
        """Yields what an expert does next, wherever things are by now, until the goal is reached: privileged."""
        ...

    def play(self, generator: np.random.Generator) -> Iterator[Float[np.ndarray, "A"]]:
        """Yields whatever experts do, from wherever things are, without an end: privileged."""
        ...


def check_task(env: gymnasium.Env, name: str) -> None:
    """Returns if an environment is a task; it is reset, and does one action.

    ::

        action_spec       envs.spec.ActionSpec of what an action means; its rate is the task's
        action_space      Box (A,), A numbers as the spec names them, with its bounds
        observations      a dict of image (h, w, 3) uint8 and pose (P,), see envs.spec.Observation
        info              time, distance and success, see `TOLD`; after a reset also goals, a list of envs.spec.Goal
                          to be reached in turn

    Args:
        env: The environment.
        name: Of the task, for errors.

    Raises:
        ValueError: If it is none, naming all that is missing.
    """
    spec = getattr(env.unwrapped, "action_spec", None)
    if not isinstance(spec, ActionSpec):
        raise ValueError(
            f"{name} is no task: its environment needs an attribute action_spec, an envs.spec.ActionSpec that says "
            f"what an action means, got {spec!r} (docs/plugins.md has a whole one)"
        )
    problems = _check_space(env, spec)
    values, info = env.reset(seed=0)
    problems += [f"after reset: {problem}" for problem in _check_moment(values, info)]
    goals = info.get("goals")
    if not isinstance(goals, Sequence) or not goals or not all(isinstance(goal, Goal) for goal in goals):
        given = f"it has {set(info)}" if goals is None else f"they are {goals!r:.80}"
        problems.append(f"after reset: info lacks goals, a list of envs.spec.Goal to be reached in turn; {given}")
    if not problems:
        action = np.clip(np.zeros(spec.size), spec.low, spec.high).astype(env.action_space.dtype)
        values, _, _, _, info = env.step(action)
        problems += [f"after step: {problem}" for problem in _check_moment(values, info)]
    if problems:
        raise ValueError(f"{name} is no task that can be planned in. " + "; ".join(problems))


def _check_space(env: gymnasium.Env, spec: ActionSpec) -> list[str]:
    """Returns what is wrong with the space of actions."""
    space = env.action_space
    if not isinstance(space, gymnasium.spaces.Box) or space.shape != (spec.size,):
        return [f"action_space must be a Box ({spec.size},), as many numbers as action_spec names, it is {space}"]
    low, high = (np.asarray(bound, space.dtype) for bound in (spec.low, spec.high))
    if (low < space.low).any() or (high > space.high).any():
        return [f"action_space {space} leaves out what action_spec allows, {spec.low} to {spec.high}"]
    return []


def _check_moment(values: Any, info: Mapping[str, Any]) -> list[str]:
    """Returns what is missing or wrong in an observation and what is told with it."""
    missing = [f"info lacks {name}, {meaning}" for name, meaning in TOLD.items() if name not in info]
    keys = set(values) if isinstance(values, Mapping) else set()
    if not {"image", "pose"} <= keys:
        what = f"has {keys}" if keys else f"is a {type(values).__name__}"
        return [*missing, f"an observation must be a dict with image and pose, it {what}"]
    try:
        Observation(values["image"], np.asarray(values["pose"], np.float64), float(info.get("time", 0.0)))
    except (SpecError, TypeError) as error:
        return [*missing, str(error)]
    return missing
