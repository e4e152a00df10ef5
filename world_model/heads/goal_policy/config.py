"""What can be chosen about training a critic."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from envs.ranges import check_range
from world_model.training.run_config import RunConfig

ArmEnd = Literal["seen", "told", "open"]
"""Where the policy takes the arm: where the goal image shows it, to the goal's pose, or wherever it likes."""

ThingEnd = Literal["seen", "kept"]
"""Where it takes the thing: where the goal image shows it, or nowhere."""


@dataclass(frozen=True, kw_only=True)
class TrainCriticConfig(RunConfig):
    """One training run of a critic.

    Attributes:
        parent: The checkpoint whose critic it becomes, by name or path. Its encoder and predictor stay as they are.
        checkpoint: Where the checkpoint with the critic goes; None for checkpoint/ in the run directory.
        more: Folders of more recordings, such as scripts/collect_practice.py makes with an earlier critic; the latents
            of each are kept beside it, in its name + "-cache".
        look_width: See `CriticConfig`, and so on to most_actions.
        width: Of the network that compares frame and goal.
        depth: Number of its blocks before the number of actions is told, and of those after it.
        most_actions: Frames and goals are at most so far apart.
        modes: Typical actions that the first one is told by.
        imagined: One frame in four is what the world model imagines from the recorded one 1 to so many actions earlier,
            because a planner shows nothing else to the critic; 0 for none.
        look_steps: Optimiser steps in which it learns to read images.
        look_batch: Frames each of them learns from, for each thing that is read.
        judge_steps: Steps after them in which it learns how frames and goals compare, from what it has read.
        pairs: Frames and goals each of those learns from.
        open_goals: Share of the pairs whose goal's pose is left open: there is nothing left to do in them as soon as
            the thing lies as in the goal, wherever the arm is. Of no use where nothing is taken in the recordings.
        blur: Noise (standard deviation) on what it compares, by which nobody should act: of places [m], angles [rad],
            the gripper's closedness and whether something is held, -1 .. 1. Without, it tells from half a degree of the
            hand's yaw whether recordings went on to close the gripper or up, and where there is none such it is lost.
        average: Momentum of the averaged weights that are judged and saved.
        evaluate_every: Steps between evaluations.
        evaluate_pairs: Held-out frames and goals an evaluation takes.
        precision: In which it learns to read images: bf16 autocast or fp32; auto takes bf16 where the hardware has it.
        seed: Of everything random; the same as the predictor's gives the same held-out episodes, if there are no more
            recordings than it had.

    Raises:
        ValueError: If a number is out of its range.
    """

    session: ClassVar[tuple[str, ...]] = (*RunConfig.session, "more", "checkpoint")

    parent: str
    checkpoint: Path | None = None
    more: tuple[Path, ...] = ()
    look_width: int = 96
    width: int = 256
    depth: int = 2
    most_actions: int = 24
    modes: int = 96
    imagined: int = 2
    look_steps: int = 2400
    look_batch: int = 192
    judge_steps: int = 6000
    pairs: int = 1024
    open_goals: float = 0.0
    blur: tuple[float, float, float, float] = (0.005, 0.03, 0.05, 0.3)
    learning_rate: float = 2e-3
    warmup: int = 100
    average: float = 0.995
    evaluate_every: int = 500
    evaluate_pairs: int = 8192

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(
            self, "(0, inf)", "look_steps", "look_batch", "judge_steps", "pairs", "evaluate_every", "evaluate_pairs"
        )
        check_range(self, "[0, inf)", "imagined")
        check_range(self, "[0, 1]", "open_goals")
        check_range(self, "[0, 1)", "average")
        if min(self.blur) < 0:
            raise ValueError(f"blur must be at least 0, got {self.blur}")

    @property
    def steps(self) -> int:
        """All steps."""
        return self.look_steps + self.judge_steps

    @property
    def checkpoint_directory(self) -> Path:
        """Where the finished checkpoint goes."""
        return self.checkpoint or self.output / "checkpoint"
