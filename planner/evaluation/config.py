"""What an evaluation runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from envs.config import Choice
from envs.simulation.scene_config import SceneConfig
from planner.control.controller_config import ControllerConfig
from planner.objectives.objective_config import (
    OBJECTIVES,
    ObjectiveConfig,
    ObjectiveSettings,
    is_distance,
    takes_goal_pose,
)
from planner.search.planner_config import PlannerConfig
from planner.search.sampling_config import CEMConfig
from planner.subgoals.listed import ListedConfig
from planner.viewing.view import Kind
from world_model.choices import Precision


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of an evaluation.

    Attributes:
        checkpoint: Name of a folder in checkpoints/, or its path; "toy" is the exact test model, which reads the poses
            and not the images: what a perfect model would do.
        task: A task of ours, such as FrankaReach-v0, or any gymnasium id with its module, ``module:namespace/Name-v0``.
        episodes: How many.
        seed: Seed of the first episode; the others follow.
        max_steps: Actions an episode.
        output: Folder for the results; results/<checkpoint>-<task> if not given.
        processes: How many share out the episodes. Times an action are comparable only at 1.
        baselines: Whether the zero-action and random-action baselines run too.
        view: "video" writes pictures of the first episodes, "rerun" opens rerun's viewer, "none" shows nothing.
        video_episodes: The first so many episodes are shown; 0 shows nothing.
        device: Where the model runs: cpu, cuda, mps or auto.
        precision: Of the model: fp32, bf16, or auto for bf16 where the hardware is faster in it.
        scene: Another camera, table or objects than a task of ours has; None for its own.
        goals: "all" that the task gives, pursued in turn, or its "last" alone: one photograph of how things should be.
        dynamics: "model" plans with the checkpoint's predictions, "simulator" with what the simulation would do (see
            `planner.diagnostics.oracle`): privileged, slow, and no result of the checkpoint's, but it tells whether
            predictions or proposals and cost are what fails.
        planner: The search; a file says which by planner.algorithm.
        objective: What is minimised.
        controller: Receding horizon, and what is pursued on the way to the goal.
    """

    checkpoint: str = "franka-tiny"
    task: str = "FrankaReach-v0"
    episodes: int = 20
    seed: int = 10000
    max_steps: int = 20
    output: Path | None = None
    processes: int = 1
    baselines: bool = True
    view: Kind = "video"
    video_episodes: int = 4
    device: str = "cpu"
    precision: Precision = "fp32"
    scene: SceneConfig | None = None
    goals: Literal["all", "last"] = "all"
    dynamics: Literal["model", "simulator"] = "model"
    planner: PlannerConfig = field(default_factory=CEMConfig)
    objective: Annotated[ObjectiveSettings, Choice("kind", OBJECTIVES)] = field(default_factory=ObjectiveConfig)
    controller: ControllerConfig = field(default_factory=ControllerConfig)

    def __post_init__(self) -> None:
        for name, least in (("episodes", 1), ("max_steps", 1), ("processes", 1), ("video_episodes", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

        if self.view == "rerun" and self.processes > 1:
            raise ValueError("--view rerun shows episodes as they come, so it needs --processes 1")

    @property
    def drawn(self) -> int:
        """How many episodes are shown."""
        return 0 if self.view == "none" else self.video_episodes

    @property
    def asks_heads(self) -> bool:
        """Whether plans depend on what a checkpoint has learnt beside its world model."""
        controller = self.controller
        listed = isinstance(controller.subgoals, ListedConfig)
        return bool(controller.proposers) or not listed or not is_distance(self.objective)

    @property
    def takes_goal_pose(self) -> bool:
        """Whether a goal must come with its pose, because plans depend on it."""
        asked = (self.objective, self.controller.subgoals, *self.controller.proposers)
        return self.checkpoint == "toy" or any(map(takes_goal_pose, asked))

    @property
    def privileged(self) -> bool:
        """Whether the simulator predicts in the model's place."""
        return self.dynamics != "model"

    @property
    def who(self) -> str:
        """Who chooses the actions, in words: a search and what it begins with, or proposals without a search."""
        proposers = " and ".join(each.kind for each in self.controller.proposers)
        if self.planner.algorithm == "first_guess":
            return f"{proposers or 'staying'}, no search"
        begun = f"begun with {proposers}" if proposers else "from noise"
        dynamics = ", with the simulator in place of the model" if self.privileged else ""
        return f"search by {self.planner.algorithm} {begun}{dynamics}"
