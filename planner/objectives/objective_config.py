"""What plans are judged by: settings of the objective."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from envs.config import Choice, KindSettings
from envs.ranges import check_range
from envs.registry import Registry
from planner.proposals.config import PaceConfig

OBJECTIVES: Registry[type] = Registry(
    "objective",
    {
        "goal_distance": "planner.objectives.objective_config:ObjectiveConfig",
        "temporal_distance": "planner.objectives.objective_config:TemporalDistanceConfig",
        "transition_energy": "planner.objectives.objective_config:TransitionEnergyConfig",
        "sum": "planner.objectives.objective_config:SumConfig",
    },
)
"""Every objective by its kind."""

ObjectiveSettings = KindSettings


@dataclass(frozen=True)
class ActionCostConfig:
    """Settings of `ActionCost`.

    Attributes:
        action_weight: Weight of the actions' mean square.
        smoothness_weight: Weight of the mean square of the changes from each action to the next within a plan; of no
            effect at a horizon of 1.

    Raises:
        ValueError: If a weight is not a number from 0 up.
    """

    action_weight: float = 0.0
    smoothness_weight: float = 0.0

    def __post_init__(self) -> None:
        check_range(self, "[0, inf)", "action_weight", "smoothness_weight", of="an action cost's ")


@dataclass(frozen=True)
class GoalDistanceConfig:
    """Settings of `GoalDistance`.

    Attributes:
        norm: "l1" for the mean absolute difference, "l2" for the mean squared one, "cosine" for one minus the cosine
            of the angle between a predicted token and the goal's.
        frames: "all" for the mean over all predicted frames, "last" for the last one alone (as the official planner
            does; a receding horizon can then postpone for ever), "discounted" for a mean in which the first frames
            count most: what is near is predicted best.
        discount: What each frame counts as a share of the one before it, in (0, 1], where frames are "discounted"; 1
            is the same as "all".
        image_weight: Weight of the distance between tokens.
        pose_weight: Weight of the same distance between the predicted poses and the goal's pose ("l1" where the norm is
            "cosine"). 0 ignores the goal's pose, and so does every figure that says "goal image".
        pose_parts: What position [1/m], rotation [1/rad] and gripper closedness count within that distance (per square
            of the unit for "l2"): (1, 0.1, 0) makes 10 rad as bad as 1 m and ignores the gripper.
        scales: Tokens are also compared after averaging over each square of s x s neighbours, for every s given, and
            the distances are averaged. (1,) compares token by token; (1, 2) has fewer local minima where what moves
            covers a few tokens, because near misses count too.
        mask: Picture that says what counts of a goal that has no mask of its own (`envs.spec.Goal.mask`): white all,
            black nothing, grey in between. Any size, in the shape of the camera's pictures: its central square is
            used, as of those. None for everything.
        workspace_low: Lowest position (x, y, z) [m] that plans should lead to; None for anywhere. Where a model was
            never trained its predictions are arbitrary, and a planner finds the ones that look like the goal.
        workspace_high: Highest position [m].

    Raises:
        ValueError: If a setting is unknown or out of its range.
    """

    norm: Literal["l1", "l2", "cosine"] = "l1"
    frames: Literal["all", "last", "discounted"] = "all"
    discount: float = 0.9
    image_weight: float = 1.0
    pose_weight: float = 0.0
    pose_parts: tuple[float, float, float] = (1.0, 1.0, 1.0)
    scales: tuple[int, ...] = (1,)
    mask: Path | None = None
    workspace_low: tuple[float, float, float] | None = None
    workspace_high: tuple[float, float, float] | None = None

    @property
    def takes_goal_pose(self) -> bool:
        """Whether a goal must come with its pose."""
        return self.pose_weight > 0

    def __post_init__(self) -> None:
        if (self.workspace_low is None) != (self.workspace_high is None):
            raise ValueError("a workspace has both corners or none: set workspace_low and workspace_high")
        if self.norm not in {"l1", "l2", "cosine"}:
            raise ValueError(f"the norm of a goal distance is 'l1', 'l2' or 'cosine', got {self.norm!r}")
        if self.frames not in {"all", "last", "discounted"}:
            raise ValueError(f"the frames of a goal distance are 'all', 'last' or 'discounted', got {self.frames!r}")
        check_range(self, "(0, 1]", "discount", of="a goal distance's ")
        check_range(self, "[0, inf)", "image_weight", "pose_weight", of="a goal distance's ")
        if len(self.pose_parts) != 3 or not all(0 <= part < inf for part in self.pose_parts):
            raise ValueError(
                "the pose parts of a goal distance are three numbers from 0 up, of position, rotation and gripper, got "
                f"{self.pose_parts}"
            )
        if not self.scales or min(self.scales) < 1 or len(set(self.scales)) < len(self.scales):
            raise ValueError(f"the scales of a goal distance are different whole numbers from 1 up, got {self.scales}")


@dataclass(frozen=True)
class ObjectiveConfig(GoalDistanceConfig):
    """A goal distance with its settings, and the actions' cost beside it.

    Attributes:
        actions: Settings of the actions' cost, in the units of the goal distance; none by default.
        kind: Names this objective in YAML.
    """

    makes: ClassVar = "planner.objectives.objective:make_goal_distance"
    actions: ActionCostConfig = field(default_factory=ActionCostConfig)
    kind: Literal["goal_distance"] = "goal_distance"


@dataclass(frozen=True)
class TemporalDistanceConfig:
    """Settings of `TemporalDistanceCost`.

    Attributes:
        kind: Names this objective in YAML.
        frames: "all" for the mean over all predicted frames, "last" for the last one alone.
        quickest_of: The quickest of so many recorded ways is what counts; 1 for the mean way. Recordings dawdle.

    Raises:
        ValueError: If there are no such frames, or the number is not positive.
    """

    makes: ClassVar = "planner.objectives.temporal_distance:TemporalDistanceCost"
    kind: Literal["temporal_distance"] = "temporal_distance"
    frames: Literal["all", "last"] = "last"
    quickest_of: int = 1

    def __post_init__(self) -> None:
        if self.frames not in {"all", "last"}:
            raise ValueError(f"the frames of temporal_distance are 'all' or 'last', got {self.frames!r}")
        check_range(self, "[1, inf)", "quickest_of", of="temporal_distance's ")


@dataclass(frozen=True, kw_only=True)
class TransitionEnergyConfig(PaceConfig):
    """Settings of `TransitionEnergyCost`: those of `PaceConfig`.

    Attributes:
        kind: Names this objective in YAML.
    """

    makes: ClassVar = "planner.objectives.transition_energy:TransitionEnergyCost"
    kind: Literal["transition_energy"] = "transition_energy"


@dataclass(frozen=True)
class TermConfig:
    """An objective in a sum.

    Attributes:
        objective: Its settings.
        weight: Its weight.

    Raises:
        ValueError: If the weight is not finite.
    """

    objective: Annotated[KindSettings, Choice("kind", OBJECTIVES)] = field(default_factory=ObjectiveConfig)
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not isfinite(self.weight):
            raise ValueError(f"an objective's weight must be a finite number, got {self.weight}")


@dataclass(frozen=True)
class SumConfig:
    """Settings of a weighted sum of objectives.

    Attributes:
        kind: Names this objective in YAML.
        terms: What is summed.
    """

    makes: ClassVar = "planner.objectives.objective:make_sum"
    kind: Literal["sum"] = "sum"
    terms: tuple[TermConfig, ...] = ()

    @property
    def takes_goal_pose(self) -> bool:
        """Whether a goal must come with its pose."""
        return any(takes_goal_pose(term.objective) for term in self.terms)


def distances_of(settings: KindSettings) -> list[GoalDistanceConfig]:
    """Returns the goal distances in an objective's settings."""
    if isinstance(settings, SumConfig):
        return [distance for term in settings.terms for distance in distances_of(term.objective)]
    return [settings] if isinstance(settings, GoalDistanceConfig) else []


def is_distance(settings: KindSettings) -> bool:
    """Returns whether an objective is made of goal distances alone: nothing beside the world model is asked."""
    if isinstance(settings, SumConfig):
        return all(is_distance(term.objective) for term in settings.terms)
    return isinstance(settings, GoalDistanceConfig)


def takes_goal_pose(settings: object) -> bool:
    """Returns whether what settings describe (an objective, a proposer, a source of subgoals) needs the goal's pose.

    Settings say so by an attribute of that name; what has none needs the image alone.
    """
    return bool(getattr(settings, "takes_goal_pose", False))
