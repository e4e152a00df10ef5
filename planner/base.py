"""What plans are made with: planners, which minimise a function of actions and know nothing else, and what helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from world_model.base import LatentGoal, LatentState

Score = Callable[[Float[Tensor, "S H A"]], Float[Tensor, "S"]]
"""Cost of each of S action sequences in physical units; lower is better."""

Objective = Callable[[LatentState, Float[Tensor, "S H A"]], Float[Tensor, "S"]]
"""Cost of S predicted rollouts and the actions that lead to them; lower is better."""

MakeObjective = Callable[[LatentGoal], Objective]
"""Makes the objective of a goal; raises ValueError if it needs what is open in it, or can't use what it has."""


@dataclass(frozen=True)
class Plan:
    """What a planner found.

    Attributes:
        actions: The plan, (H, A), physical units.
        cost: The plan's own cost.
        costs: Best cost after each iteration, (iterations,).
        evaluations: Action sequences scored in all; one with its gradient counts once.
        runners_up: Further good sequences, best first, (K, H, A): a controller offers them, shifted, as guesses to the
            next search. None where a planner keeps none.
    """

    actions: Float[Tensor, "H A"]
    cost: float
    costs: Float[Tensor, "iterations"]
    evaluations: int
    runners_up: Float[Tensor, "K H A"] | None = None


class Proposer(Protocol):
    """Gives a search sequences to begin with. Made of its settings, the world model and the arm's action spec."""

    def propose(
        self, state: LatentState, goal: LatentGoal, horizon: int, count: int, generator: torch.Generator
    ) -> Float[Tensor, "G H A"]:
        """Returns action sequences that may lead to a goal, the best first; physical units.

        Args:
            state: Frames up to the present one.
            goal: What is pursued.
            horizon: Actions of a sequence, H.
            count: Sequences wanted; G may be any number up to it, and 0.
            generator: Source of all randomness.

        Raises:
            ValueError: If it needs what is open in the goal.
        """
        ...


class SubgoalSource(Protocol):
    """Says what is pursued on the way to a goal, at a slower clock than actions.

    Made of its settings, the world model, the arm's action spec and a `MakeObjective`. It may keep state: it is reset
    with each episode and asked at each observation of it, and its clock is its own.
    """

    def reset(self, goals: Sequence[LatentGoal]) -> None:
        """Begins an episode.

        Args:
            goals: What the user wants, at least one, in order: the last one is where to stay.

        Raises:
            ValueError: If it can't pursue them; the episode before goes on.
        """
        ...

    def next(self, state: LatentState, generator: torch.Generator) -> LatentGoal | None:
        """Returns what is pursued from the last observation on; None to go on as before, at first with the last goal.

        What it returns may have no pose and no image.

        Args:
            state: Frames up to the present one, which is new at each call.
            generator: Source of all randomness.
        """
        ...


class Planner(Protocol):
    """Finds actions of low cost."""

    horizon: int

    def plan(
        self,
        score: Score,
        spec: ActionSpec,
        guesses: Float[Tensor, "G H A"],
        generator: torch.Generator,
        deadline: float | None = None,
    ) -> Plan:
        """Returns the best plan found within the spec's bounds.

        Args:
            score: The function to minimise.
            spec: Bounds of each action; a dimension with low == high stays at that value.
            guesses: At least one starting sequence: anyone's proposals first, then the shifted last plan or staying.
            generator: Source of all randomness; it lives across replans.
            deadline: `time.monotonic()` value [s] to return by with the best plan so far; None for no limit.

        Returns:
            A plan whose cost is infinite if no sequence has a finite one; a controller does not act on it.

        Raises:
            ValueError: If the guesses do not fit the horizon and the spec.
        """
        ...


def cost_or_worst(costs: Float[Tensor, "S"]) -> Float[Tensor, "S"]:
    """Returns the costs, infinite where they are not finite: such a sequence loses against every other."""
    return torch.where(costs.isfinite(), costs, torch.inf)


def cost_of_seen(cost: Objective, state: LatentState, spec: ActionSpec) -> float:
    """Returns the cost of what was seen last, as if it had been predicted and nothing were done."""
    return float(cost(state.last(), state.poses.new_zeros(1, 1, spec.size))[0])


def check_guesses(guesses: Float[Tensor, "G H A"], horizon: int, spec: ActionSpec) -> None:
    """Returns if the guesses are at least one sequence of the planner's horizon and the spec's size.

    Raises:
        ValueError: Saying what was expected and what came.
    """
    if guesses.ndim != 3 or len(guesses) == 0 or tuple(guesses.shape[1:]) != (horizon, spec.size):
        raise ValueError(
            f"guesses must be (at least 1, horizon {horizon}, actions {spec.size}), got {tuple(guesses.shape)}"
        )


def the_goal(goals: Sequence[LatentGoal], made: str) -> LatentGoal:
    """Returns the one goal that a source makes subgoals for.

    Args:
        goals: What the user wants.
        made: What is done to subgoals, as a participle.

    Raises:
        ValueError: If there are several.
    """
    if len(goals) != 1:
        raise ValueError(
            f"subgoals are {made} on the way to one goal, got {len(goals)}: give the last alone (--goals last), or "
            "take the subgoals listed (--controller.subgoals.kind listed)"
        )
    return goals[0]
