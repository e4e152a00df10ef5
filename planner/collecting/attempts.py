"""A checkpoint's own attempts at the beginning of recorded episodes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from itertools import count

import numpy as np
from jaxtyping import Float

from envs.config import Choice
from envs.spec import ActionSpec, Goal, Observation
from envs.tasks.collecting import Practice
from planner.control.controller import Controller, ControllerConfig
from planner.proposals.config import PROPOSERS, GoalPolicyConfig, InverseDynamicsConfig, ProposerSettings
from planner.search.first_guess import FirstGuess
from planner.subgoals.listed import ListedConfig
from world_model.checkpoints.checkpoint import StoredModel
from world_model.heads.ways import INVERSE_DYNAMICS
from world_model.load import load_world_model

_ONE_GOAL = ListedConfig()


def begin_attempt(
    config: Practice,
    checkpoint: str,
    spec: ActionSpec,
    goals: Sequence[Goal],
    generator: np.random.Generator,
    subgoals: ListedConfig = _ONE_GOAL,
) -> Callable[[Observation], Float[np.ndarray, "A"] | None]:
    """Returns what gives the checkpoint's proposal for what is seen, and None once an expert is to take over.

    Args:
        config: How many actions are its own, and how quick a way it is asked for.
        checkpoint: What acts, by name or path.
        spec: The arm's actions.
        goals: What to reach, in order.
        generator: Draws the pace, and then the number of actions.
        subgoals: When a goal is left for the next.
    """
    pace, attempts = float(generator.choice(config.paces)), int(generator.integers(*config.attempts, endpoint=True))
    model = load_policy(checkpoint)
    settings = ControllerConfig(proposers=(policy_of(model, pace),), subgoals=subgoals)
    controller, taken = Controller(model, FirstGuess(), spec, settings), count()
    controller.reset(goals, seed=0)  # a first guess draws nothing
    return lambda seen: controller.step(seen)[0] if next(taken) < attempts else None


def policy_of(model: StoredModel, pace: float) -> ProposerSettings:
    """Returns the proposer that acts for a checkpoint: its inverse dynamics if it has any, or its goal policy."""
    return InverseDynamicsConfig(pace=pace) if INVERSE_DYNAMICS in model.heads else GoalPolicyConfig(pace=pace)


@cache
def load_policy(checkpoint: str) -> StoredModel:
    """Returns a checkpoint that can act without search, loaded once a process; ends the program without."""
    try:
        model = load_world_model(checkpoint)
        Choice("kind", PROPOSERS).make(policy_of(model, 1.0), model, model.action_spec)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    return model
