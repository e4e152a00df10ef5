"""How plans are followed: settings of the controller."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from envs.ranges import check_range
from planner.proposals.config import ProposerConfig
from planner.subgoals.config import SubgoalsConfig
from planner.subgoals.listed import ListedConfig


@dataclass(frozen=True)
class ControllerConfig:
    """Settings of `Controller`.

    Attributes:
        context: Past frames given to the model and its heads; None for as many as they make use of.
        chunk: Action sequences rolled out at a time; None for as many as fit into the memory, see
            `planner.search.chunks`.
        warm_start: Whether the last plan and its runners-up, shifted by a step, are the planner's first guesses.
        proposers: Who gives the search further sequences to begin with, before the last plan and staying; see
            `planner.proposals.config`.
        proposals: Sequences that each of them is asked for.
        follow: What the search leaves as the first guess has it, by the spec's names, such as ["gripper"]: where the
            model does not see that opening it lets go of something, a search opens it for nothing.
        gripper_modes: Whether the gripper of what is searched opens all the way, keeps, or closes all the way.
            Recordings keep it nearly always, exactly: a search among normal draws does not find that.
        rather: What is done where a plan is not predicted to be better: "stay", or the "first guess", such as a
            policy's way where the first proposer is one: search departs from it only where much is to be gained.
        min_improvement: By what share of its cost the plan must be better.
        margin: By how much, in the cost's own unit, it must be better beside that. Of an energy 1 asks for a way e
            times as likely: what a search finds is always a little likelier than what it began with, better or not.
        patience: Observations in a row that must have come no nearer to the goal before a plan is followed there at
            all; 0 for none. Nearer is a cost of what is seen that is lower by a twentieth than when it last was.
        camera_rotation: Rotation vector [rad] from the directions that the model reads from the camera to the arm's, as
            scripts/doctor.py fits it for a camera that stands elsewhere than the training's; zero for none.
        planning_time: Time for encoding and planning, after which the best plan so far counts [s]; None for no limit.
        subgoals: What is pursued on the way to the goal, and when the next thing is: by default the goals that it is
            given, see `planner.subgoals.listed`.

    Raises:
        ValueError: If a setting is out of its range.
    """

    context: int | None = None
    chunk: int | None = None
    warm_start: bool = True
    proposers: tuple[ProposerConfig, ...] = ()
    proposals: int = 32
    follow: tuple[str, ...] = ()
    gripper_modes: bool = False
    rather: Literal["stay", "first guess"] | None = None
    min_improvement: float = 0.0
    margin: float = 0.0
    patience: int = 0
    camera_rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    planning_time: float | None = None
    subgoals: SubgoalsConfig = field(default_factory=ListedConfig)

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "context", "chunk", "proposals", of="the controller's ")
        check_range(self, "[0, inf)", "patience", "margin", of="the controller's ")
        check_range(self, "[0, 1)", "min_improvement", of="the controller's ")
        check_range(self, "(0, inf)", "planning_time", of="the controller's ")
        for name in ("patience", "margin", "min_improvement"):
            if getattr(self, name) and self.rather is None:
                raise ValueError(f"the controller's {name} needs rather: what is done where the plan is not followed")
