"""One loop for simulated and real arms."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium
import numpy as np
from jaxtyping import Float

from envs.spec import Goal, Observation

if TYPE_CHECKING:  # torch takes seconds
    from planner.base import Plan


class Actor(Protocol):
    """What `run_episode` drives an environment with: a `planner.control.controller.Controller` or a baseline."""

    def reset(self, goals: Sequence[Goal], seed: int) -> None:
        """Forgets the past and takes up the goals."""
        ...

    def step(self, observation: Observation) -> tuple[Float[np.ndarray, "A"], Plan | None]:
        """Returns the action to execute now and the plan that it begins, if there is one."""
        ...


@dataclass(frozen=True)
class Step:
    """One moment of an episode: what was seen and what is done about it.

    Attributes:
        observation: What was seen.
        info: What the environment told with that observation. It may be privileged (success, distance): it is for
            people, and the actor never sees it.
        action: What is about to be executed, (A,); None in the last step of an episode.
        plan: The plan that the action begins; None in the last step and for an actor without plans.
        seconds: Time the actor took: encoding and planning [s].
    """

    observation: Observation
    info: Mapping[str, Any]
    action: Float[np.ndarray, "A"] | None = None
    plan: Plan | None = None
    seconds: float = 0.0


def run_episode(
    env: gymnasium.Env,
    actor: Actor,
    goals: Sequence[Goal] | None,
    max_steps: int,
    stop: Callable[[Step], bool] | None = None,
    seed: int = 0,
    options: dict[str, Any] | None = None,
) -> Iterator[Step]:
    """Yields each moment of an episode: `max_steps` with an action, then what was seen last.

    An action is executed when the next moment is asked for, so whoever draws or records sees it first. Whether the
    episode is a success plays no part; it ends after `max_steps`, or when the environment or `stop` ends it.

    Args:
        env: Observations are ``{"image": (h, w, 3) uint8, "pose": (P,)}``; ``info["time"]`` [s] comes with each.
        actor: Chooses the actions.
        goals: What to reach; None for what the environment gives at its reset, ``info["goals"]``: the goal, before it
            subgoals in their order.
        max_steps: Actions at most.
        stop: Asked at each moment; True ends the episode there, and its action is not executed.
        seed: Seed of the environment's reset and of the actor.
        options: Options of the environment's reset.

    Raises:
        ValueError: If neither the caller nor the environment gives a goal.
    """
    values, info = env.reset(seed=seed, options=options)
    actor.reset(goals_of(info) if goals is None else goals, seed)
    for _ in range(max_steps):
        observation = _observation(values, info)
        start = time.monotonic()
        action, plan = actor.step(observation)
        step = Step(observation, info, action, plan, time.monotonic() - start)
        yield step
        if stop is not None and stop(step):
            return
        values, _, terminated, truncated, info = env.step(action.astype(env.action_space.dtype))
        if terminated or truncated:
            break
    yield Step(_observation(values, info), info)


def goals_of(info: Mapping[str, Any]) -> list[Goal]:
    """Returns the goals that an environment gave at its reset, the last one where to stay.

    Raises:
        ValueError: If it gave none, or something else.
    """
    goals = info.get("goals")
    if not isinstance(goals, Sequence) or not goals or not all(isinstance(goal, Goal) for goal in goals):
        told = f"as goals {goals!r:.80}" if "goals" in info else f"only {', '.join(sorted(info))}"
        raise ValueError(
            "no goal: pass run_episode a list of Goal(image), or use an environment whose reset gives one as "
            f"info['goals']; this one gives {told}"
        )
    return list(goals)


def _observation(values: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> Observation:
    """Returns a gymnasium observation as an `Observation`."""
    return Observation(values["image"], np.asarray(values["pose"], dtype=np.float64), float(info["time"]))
