"""The goals that the user gave, pursued one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, ClassVar, Literal

from envs.ranges import check_range

if TYPE_CHECKING:  # they import torch, which takes seconds, and settings are read without
    import torch

    from envs.spec import ActionSpec
    from planner.base import MakeObjective, Objective
    from world_model.base import LatentGoal, LatentState, WorldModel


@dataclass(frozen=True)
class ListedConfig:
    """Settings of `Listed`: when a goal of the list is left for the next one.

    The last one is never left, so with one goal nothing here matters.

    Distances are costs of what is seen: the objective of the subgoal, applied to the observation as if it had been
    predicted. They are compared with each other only, because what a cost is worth depends on the model, the objective
    and the scene.

    Attributes:
        kind: Names this source in YAML.
        by: "steps" leaves a subgoal after a number of actions, whether it is reached or not (the paper's way); "cost"
            when the observation is near enough to it; "plateau" when the observation comes no nearer, because it is
            reached as well as it can be or because the arm is stuck.
        steps: Actions spent on a subgoal, by "steps": one number for all, or one for each of them in turn (the last
            one's may be left out).
        threshold: Near enough, by "cost": at most this share of the subgoal's cost when it was taken up, in [0, 1).
        min_drop: Nearer, by "plateau": the cost is lower than it last counted as nearer by this share of that, in
            [0, 1).
        patience: Observations in a row without coming nearer that make a plateau.
        max_steps: Actions on a subgoal at most, by "cost" and by "plateau": nothing is pursued for ever.

    Raises:
        ValueError: If a setting is unknown or out of its range.
    """

    kind: Literal["listed"] = "listed"
    by: Literal["steps", "cost", "plateau"] = "steps"
    steps: tuple[int, ...] = (10,)
    threshold: float = 0.2
    min_drop: float = 0.05
    patience: int = 3
    max_steps: int = 20

    def __post_init__(self) -> None:
        if self.by not in {"steps", "cost", "plateau"}:
            raise ValueError(f"subgoals are left by 'steps', 'cost' or 'plateau', got {self.by!r}")
        if not self.steps or min(self.steps) < 1:
            raise ValueError(f"the steps of a goal schedule are whole numbers from 1 up, got {self.steps}")
        check_range(self, "[0, 1)", "threshold", "min_drop", of="a goal schedule's ")
        check_range(self, "[1, inf)", "patience", "max_steps", of="a goal schedule's ")

    def check_goals(self, count: int) -> None:
        """Returns if there is a number of steps for each goal that is left by steps.

        Raises:
            ValueError: Saying how many were expected and how many came.
        """
        if self.by == "steps" and count > 1 and len(self.steps) not in {1, count - 1, count}:
            raise ValueError(
                f"{count} subgoals need 1, {count - 1} or {count} numbers of steps, got {len(self.steps)}: {self.steps}"
            )


class Listed:
    """Pursues the goals that the user gave in their order, a `SubgoalSource`."""

    Config: ClassVar = ListedConfig

    def __init__(
        self, config: ListedConfig, model: WorldModel, spec: ActionSpec, make_objective: MakeObjective
    ) -> None:
        self.config, self._spec, self._make_objective = config, spec, make_objective
        self._goals: Sequence[LatentGoal] = ()
        self._costs: list[Objective] = []
        self._progress: GoalProgress | None = None

    def reset(self, goals: Sequence[LatentGoal]) -> None:
        """See `SubgoalSource.reset`.

        Raises:
            ValueError: If the settings are for another number of goals, or one has not what the objective needs.
        """
        self.config.check_goals(len(goals))
        costs = [self._make_objective(goal) for goal in goals]
        self._goals, self._costs, self._progress = goals, costs, None

    def next(self, state: LatentState, generator: torch.Generator) -> LatentGoal | None:
        """See `SubgoalSource.next`."""
        from planner.base import cost_of_seen

        before = self._progress
        self._progress = advance(
            self.config, before, len(self._goals), lambda index: cost_of_seen(self._costs[index], state, self._spec)
        )
        if before is not None and before.index == self._progress.index:
            return None
        return self._goals[self._progress.index]


@dataclass(frozen=True)
class Approach:
    """How near costs of what was seen have come to a goal.

    Attributes:
        lowest: The cost that last counted as nearer.
        stale: Observations since then.
    """

    lowest: float = inf
    stale: int = 0

    def after(self, cost: float, min_drop: float) -> Approach:
        """Returns it after a further cost; nearer is one that is lower by at least this share of the lowest."""
        nearer = cost < self.lowest and cost <= (1 - min_drop) * self.lowest
        return Approach(cost) if nearer else replace(self, stale=self.stale + 1)


@dataclass(frozen=True)
class GoalProgress:
    """Where a sequence of subgoals stands at an observation.

    Attributes:
        index: The subgoal that is pursued, from 0.
        steps: Actions executed for it so far.
        first_cost: Its cost when it was taken up; infinite where no costs are compared.
        approach: How near its costs have come.
    """

    index: int = 0
    steps: int = 0
    first_cost: float = inf
    approach: Approach = Approach()


def advance(
    config: ListedConfig, progress: GoalProgress | None, goals: int, cost: Callable[[int], float]
) -> GoalProgress:
    """Returns where a sequence of subgoals stands at a new observation, after at most one switch.

    Args:
        config: When to switch.
        progress: Where it stood at the observation before, None at the first one. One action lies between them.
        goals: How many subgoals there are.
        cost: Cost of the new observation against a subgoal, by its index; asked for only where it matters.
    """
    if progress is None:
        return _take_up(config, 0, goals, cost)
    progress = replace(progress, steps=progress.steps + 1)
    if progress.index == goals - 1:
        return progress
    if config.by == "steps":
        done = progress.steps >= config.steps[progress.index if len(config.steps) > 1 else 0]
    else:
        now = cost(progress.index)
        progress = replace(progress, approach=progress.approach.after(now, config.min_drop))
        plateau = progress.approach.stale >= config.patience
        reached = now <= config.threshold * progress.first_cost if config.by == "cost" else plateau
        done = reached or progress.steps >= config.max_steps
    return _take_up(config, progress.index + 1, goals, cost) if done else progress


def _take_up(config: ListedConfig, index: int, goals: int, cost: Callable[[int], float]) -> GoalProgress:
    """Returns the progress of a subgoal that nothing was done for yet."""
    if config.by == "steps" or index == goals - 1:
        return GoalProgress(index)
    first = cost(index)
    return GoalProgress(index, first_cost=first, approach=Approach(first))
