"""A checkpoint's own attempts at the beginning of recorded episodes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
from jaxtyping import Float

from envs.config import load_config
from envs.spec import ActionSpec, Goal, Observation
from planner.collecting.practice import PracticeConfig
from planner.control.controller import Controller, ControllerConfig
from planner.evaluation.config import EvaluateConfig
from planner.evaluation.episodes import make_controller
from planner.proposals.config import InverseDynamicsConfig
from planner.proposals.inverse_dynamics import InverseDynamicsProposer
from planner.search.first_guess import FirstGuess
from planner.subgoals.listed import ListedConfig
from world_model.checkpoints.checkpoint import StoredModel
from world_model.load import load_world_model

_SUBGOALS = ListedConfig(by="steps", steps=(7,))  # when a goal is left for the next, where there are several


def begin_attempt(
    config: PracticeConfig, spec: ActionSpec, goals: Sequence[Goal], generator: np.random.Generator
) -> Callable[[Observation], Float[np.ndarray, "A"] | None]:
    """Returns what gives the checkpoint's next action for what is seen, and None once an expert is to take over.

    Args:
        config: What acts, how many actions are its own, what chooses them, and how much noise is added.
        spec: The arm's actions.
        goals: What to reach, in order.
        generator: Draws the pace, the number of actions, the plan and the noise.
    """
    pace, attempts = float(generator.choice(config.paces)), int(generator.integers(*config.attempts, endpoint=True))
    if config.plans:
        plan = config.plans[int(generator.integers(len(config.plans)))]
        controller, seed = load_planner(config.checkpoint, plan, spec), int(generator.integers(2**31))
    else:
        model = load_policy(config.checkpoint)
        settings = ControllerConfig(proposers=(InverseDynamicsConfig(pace=pace),), subgoals=_SUBGOALS)
        controller, seed = Controller(model, FirstGuess(), spec, settings), 0  # a first guess draws nothing
    controller.reset(goals, seed)
    share = float(generator.choice(config.shaky)) if any(config.shaky) else 0.0
    low, high, taken = np.array(spec.low), np.array(spec.high), count()

    def attempt(seen: Observation) -> Float[np.ndarray, "A"] | None:
        if next(taken) >= attempts:
            return None
        action = controller.step(seen)[0]
        if share:
            noise = share * (high - low) / 2 * generator.standard_normal(len(low))
            action = np.clip(action + noise, low, high)
        return action

    return attempt


@cache
def load_planner(checkpoint: str, plan: Path, spec: ActionSpec) -> Controller:
    """Returns what plans as a file of an evaluation says, made once a process; ends the program if it can't."""
    try:
        config = load_config(EvaluateConfig, plan)
        if isinstance(config.controller.subgoals, ListedConfig):
            config = replace(config, controller=replace(config.controller, subgoals=_SUBGOALS))
        return make_controller(config, _load(checkpoint), spec)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def check_actors(config: PracticeConfig, spec: ActionSpec) -> None:
    """Ends the program with one line if the checkpoint can't act by itself, or a plan can't with it."""
    if not config.plans:
        load_policy(config.checkpoint)
    for plan in config.plans:
        load_planner(config.checkpoint, plan, spec)


@cache
def load_policy(checkpoint: str) -> StoredModel:
    """Returns a checkpoint that can act without search, loaded once a process; ends the program without."""
    try:
        model = _load(checkpoint)
        InverseDynamicsProposer(InverseDynamicsConfig(), model, model.action_spec)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    return model


@cache
def _load(checkpoint: str) -> StoredModel:
    """Returns a checkpoint, loaded once a process, whatever acts with it."""
    return load_world_model(checkpoint)
