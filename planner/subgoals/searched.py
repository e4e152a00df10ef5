"""Subgoals that a search at a slower clock finds: what several actions at once would lead to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from envs.config import Choice
from envs.ranges import check_range
from envs.spec import ActionSpec
from planner.objectives.objective_config import (
    OBJECTIVES,
    ObjectiveSettings,
    TemporalDistanceConfig,
    takes_goal_pose,
)
from planner.search.planner_config import PlannerConfig, make_planner
from planner.search.sampling_config import CEMConfig

if TYPE_CHECKING:  # they import torch, which takes seconds, and settings are read without
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from planner.base import MakeObjective, Objective
    from world_model.base import LatentGoal, LatentState, WorldModel

_FURTHEST = 3.0  # standard deviations of macros that a search goes to


@dataclass(frozen=True)
class SearchedConfig:
    """Settings of `Searched`.

    Attributes:
        kind: Names this source in YAML.
        planner: What searches for macros; its horizon is in macros, its deviations in shares of 6 of theirs.
        objective: What judges where they lead. With the last frame alone the first macro of many is as good.
        bank: Recorded macros that what is tried lies beside, evenly chosen of the checkpoint's bank; 0 for any macro.
        slack: How far beside, at most, in each number [standard deviations of macros].

    Raises:
        ValueError: If a number is out of its range.
    """

    kind: Literal["searched"] = "searched"
    planner: PlannerConfig = field(
        default_factory=lambda: CEMConfig(horizon=2, samples=256, elites=24, iterations=4, initial_std=0.17)
    )
    objective: Annotated[ObjectiveSettings, Choice("kind", OBJECTIVES)] = field(
        default_factory=lambda: TemporalDistanceConfig(frames="all")
    )
    bank: int = 4096
    slack: float = 0.1

    @property
    def takes_goal_pose(self) -> bool:
        """Whether a goal must come with its pose."""
        return takes_goal_pose(self.objective)

    def __post_init__(self) -> None:
        check_range(self, "[0, inf)", "bank", "slack", of="searched subgoals' ")


class Searched:
    """Pursues where the first of the best macros leads, a `SubgoalSource`.

    ::

        minimise objective(z_1 .. z_H)   over m_1 .. m_H,  z_{i+1} = g(z_i, m_i)        subgoal: z_1, K actions away

    A free search finds macros that nobody has done and believes what is predicted of them. So a macro stands for one
    beside the recorded one that is nearest to it; a cost has no useful gradient then: search by sampling.

    At each observation the search is made anew. A goal distance compares what is predicted with z_1; what else judges
    or proposes has the goal itself. A goal that the temporal distance calls at most K actions away is pursued itself.

    Source: HWM (arXiv 2604.03208); the bank of encoded macros of Hi-LeWM (arXiv 2607.12547).
    """

    Config: ClassVar = SearchedConfig

    def __init__(
        self, config: SearchedConfig, model: WorldModel, spec: ActionSpec, make_objective: MakeObjective
    ) -> None:
        """Finds the macro dynamics, and encodes the bank.

        Raises:
            ValueError: If the model has no macro dynamics, no temporal distance, or no bank where one is asked for.
        """
        from world_model.compact import compact_with
        from world_model.heads.macros import MACRO_DYNAMICS, MacroDynamics
        from world_model.heads.ways import TEMPORAL_DISTANCE, TemporalDistance

        lacking = (
            "this checkpoint has no {}, which subgoals are searched with: train them with scripts/train_heads.py "
            "--learn temporal_distance macros, or take subgoals of another kind (controller.subgoals.kind)"
        )
        self._model, self._head = compact_with(model, MACRO_DYNAMICS, MacroDynamics, lacking.format("macro dynamics"))
        _, self._distance = compact_with(
            model, TEMPORAL_DISTANCE, TemporalDistance, lacking.format("temporal distance")
        )
        shape = self._head.config.shape
        names, far = tuple(f"macro {number}" for number in range(shape.numbers)), (_FURTHEST,) * shape.numbers
        low = tuple(-bound for bound in far)
        self._macros = ActionSpec(names, ("1",) * shape.numbers, low, far, spec.frame, spec.rate / shape.actions)
        self.config, self._spec, self._planner = config, spec, make_planner(config.planner)
        self._recorded = self._encode_bank(config.bank) if config.bank else None
        self._goal: LatentGoal | None = None
        self._cost: Objective | None = None

    def reset(self, goals: Sequence[LatentGoal]) -> None:
        """See `SubgoalSource.reset`.

        Raises:
            ValueError: If there is more than one goal, or the objective can't do with it or with the model.
        """
        from planner.base import the_goal
        from planner.objectives.objective import make_objective

        goal = the_goal(goals, "searched")
        self._cost = make_objective(goal, self.config.objective, self._spec, self._model)
        self._goal = goal

    def next(self, state: LatentState, generator: torch.Generator) -> LatentGoal | None:
        """See `SubgoalSource.next`."""
        import torch

        from world_model.base import LatentGoal, LatentState

        assert self._goal is not None and self._cost is not None
        goal, cost, model = self._goal, self._cost, self._model
        latents = state.tokens[0, -1].flatten()[None].float()
        poses = model.normalise_poses(state.poses[0, -1][None])
        with torch.no_grad():
            left = self._distance.actions(latents, goal.tokens.flatten()[None].float(), poses)
            if float(left[0]) <= self._head.config.shape.actions:
                return goal

            def score(macros: Float[Tensor, "S H M"]) -> Float[Tensor, "S"]:
                samples, horizon, _ = macros.shape
                start = latents.expand(samples, -1), poses.expand(samples, -1)
                frames, led = self._head.unroll(*start, self.beside(macros))
                tokens = frames.unflatten(2, goal.tokens.shape)
                predicted = LatentState(tokens, model.poses_at(led.flatten(0, 1)).unflatten(0, (samples, horizon)))
                return cost(predicted, latents.new_zeros(samples, horizon, self._spec.size))

            guesses = latents.new_zeros(1, self._planner.horizon, self._macros.size)
            plan = self._planner.plan(score, self._macros, guesses, generator)
            subgoal, _ = self._head(latents, poses, self.beside(plan.actions[None])[:, 0])
        return LatentGoal(goal.tokens, way=subgoal.view(1, *goal.tokens.shape).to(goal.tokens))

    def beside(self, macros: Float[Tensor, "S H M"]) -> Float[Tensor, "S H M"]:
        """Returns what macros stand for: themselves in a free search, or else one beside the nearest recorded one."""
        if self._recorded is None:
            return macros
        import torch

        nearest = self._recorded[torch.cdist(macros.flatten(0, 1), self._recorded).argmin(dim=1)].view_as(macros)
        return nearest + (macros - nearest).clamp(-self.config.slack, self.config.slack)

    def _encode_bank(self, count: int) -> Float[Tensor, "R M"]:
        """Returns so many recorded macros at most, evenly chosen.

        Raises:
            ValueError: If the model has no bank, or no recording is as long as a macro.
        """
        import torch

        from world_model.compact import compact_with
        from world_model.heads.bank import HEAD, Bank

        lacking = (
            "this checkpoint has no bank of recordings that macros could be of: train one with bank_frames over 0, or "
            "search among any (controller.subgoals.bank 0)"
        )
        model, bank = compact_with(self._model, HEAD, Bank, lacking)
        length = self._head.config.shape.actions
        starts = (bank.left >= length).nonzero()[:, 0]
        if not len(starts):
            raise ValueError(
                f"no recording of the bank has {length} actions, as many as a macro: train one from longer recordings, "
                "or search among any (controller.subgoals.bank 0)"
            )
        starts = starts[:: -(-len(starts) // count)]
        with torch.no_grad():
            actions = bank.actions[starts[:, None] + torch.arange(length, device=starts.device)]
            return self._head.encode(model.normalise_actions(actions.to(model.action_mean))).float()
