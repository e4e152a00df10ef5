"""Subgoals that a generator makes: what recordings looked like next on their way to such a goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from envs.ranges import check_range
from planner.proposals.config import PaceConfig

if TYPE_CHECKING:  # they import torch, which takes seconds, and settings are read without
    import torch

    from envs.spec import ActionSpec
    from planner.base import MakeObjective
    from world_model.base import LatentGoal, LatentState, WorldModel


@dataclass(frozen=True, kw_only=True)
class GeneratedConfig(PaceConfig):
    """Settings of `Generated`: those of `PaceConfig`, and what is taken of what is generated.

    Attributes:
        kind: Names this source in YAML.
        ahead: After how many actions the frame comes that is the subgoal, at most those that the checkpoint's generator
            was trained for; the planner's horizon should be as long.
        temperature: Of the noise that frames are generated from: 0 for the same way each time, 1 for ways that differ
            as recorded ones do.

    Raises:
        ValueError: If a number is out of its range.
    """

    kind: Literal["generated"] = "generated"
    ahead: int = 3
    temperature: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "[1, inf)", "ahead", of="generated subgoals' ")
        check_range(self, "[0, inf)", "temperature", of="generated subgoals' ")


class Generated:
    """Pursues what the next frames on a way to the one goal would be, a `SubgoalSource`.

    ::

        z*_{t+1 .. t+k} ~ p(z_{t+1 .. t+k} | z_t, s_t, goal, n)     n: how many actions the way is to have, see `Pace`

    The generator knows no actions: which lead to its frames the planner searches for through the world model, a few
    actions ahead, where predictions are good. A goal distance compares each predicted frame that it looks at with the
    way's; what else judges or proposes, such as a temporal distance, has the goal itself. At each observation the way
    is generated anew.

    Source: two levels in LeCun, A Path Towards Autonomous Machine Intelligence (2022), section 4.6; HIQL (arXiv
    2307.11949).
    """

    Config: ClassVar = GeneratedConfig

    def __init__(
        self, config: GeneratedConfig, model: WorldModel, spec: ActionSpec, make_objective: MakeObjective
    ) -> None:
        """Finds the generator.

        Raises:
            ValueError: If the model has none, it sees less far ahead, or the settings need what it has not.
        """
        from planner.proposals.pace import Pace
        from world_model.compact import compact_with
        from world_model.heads.subgoals import SUBGOAL_GENERATOR, SubgoalGenerator

        lacking = (
            "this checkpoint has no subgoal generator: train one with scripts/train_heads.py --learn subgoals, or take "
            "subgoals of another kind (controller.subgoals.kind)"
        )
        encoding, head = compact_with(model, SUBGOAL_GENERATOR, SubgoalGenerator, lacking)
        furthest = head.config.shape.ahead
        if config.ahead > furthest:
            raise ValueError(
                f"the subgoal generator looks 1 to {furthest} actions ahead, {config.ahead} were asked for"
            )
        self.config, self._model, self._head, self._pace = config, encoding, head, Pace(config, encoding)
        self._goal: LatentGoal | None = None

    def reset(self, goals: Sequence[LatentGoal]) -> None:
        """See `SubgoalSource.reset`.

        Raises:
            ValueError: If there is more than one goal.
        """
        from planner.base import the_goal

        self._goal = the_goal(goals, "generated")

    def next(self, state: LatentState, generator: torch.Generator) -> LatentGoal | None:
        """See `SubgoalSource.next`."""
        import torch

        from world_model.base import LatentGoal

        assert self._goal is not None
        latents, goals = state.tokens[0, -1].flatten()[None].float(), self._goal.tokens.flatten()[None].float()
        poses = self._model.normalise_poses(state.poses[0, -1][None])
        with torch.no_grad():
            believed = self._pace.seen(self._head.judge, state, goals)
            judged = self._head.judge(latents, goals, poses)
            counts = self._pace(believed, latents, goals, poses).clamp(max=self._head.judge.longest)
            if not counts.any():
                return self._goal
            frames = self._head.generate(latents, judged, counts, self.config.temperature, generator)
        way = frames[0, : self.config.ahead].view(-1, *self._goal.tokens.shape).to(self._goal.tokens)
        return LatentGoal(self._goal.tokens, way=way)
