"""A critic's own attempts at the beginning of recorded episodes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from itertools import count

import numpy as np
from jaxtyping import Float

from envs.spec import ActionSpec, Goal, Observation
from envs.tasks.collecting import Practice
from planner.control.controller import Controller, ControllerConfig
from planner.proposals.config import GoalPolicyConfig
from planner.search.first_guess import FirstGuess
from planner.subgoals.listed import ListedConfig
from world_model.heads.goal_policy.goal_policy import GoalPolicy
from world_model.vjepa2_ac import VJEPA2AC, load_vjepa2_ac

_ONE_GOAL = ListedConfig()


def begin_attempt(
    config: Practice,
    checkpoint: str,
    spec: ActionSpec,
    goals: Sequence[Goal],
    generator: np.random.Generator,
    subgoals: ListedConfig = _ONE_GOAL,
) -> Callable[[Observation], Float[np.ndarray, "A"] | None]:
    """Returns what gives the critic's proposal for what is seen, and None once an expert is to take over.

    Args:
        config: How many actions are the critic's, and how quick a way it is asked for.
        checkpoint: Whose critic it is, by name or path.
        spec: The arm's actions.
        goals: What to reach, in order.
        generator: Draws the pace, and then the number of actions.
        subgoals: When a goal is left for the next.
    """
    pace, attempts = float(generator.choice(config.paces)), int(generator.integers(*config.attempts, endpoint=True))
    settings = ControllerConfig(proposers=(GoalPolicyConfig(pace=pace),), subgoals=subgoals)
    controller, taken = Controller(load_critic(checkpoint), FirstGuess(), spec, settings), count()
    controller.reset(goals, seed=0)  # a first guess draws nothing
    return lambda seen: controller.step(seen)[0] if next(taken) < attempts else None


@cache
def load_critic(checkpoint: str) -> VJEPA2AC:
    """Returns a checkpoint with a critic, loaded once a process; ends the program without."""
    try:
        model = load_vjepa2_ac(checkpoint)
        GoalPolicy(model)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    return model
