"""Says whether a training run was worth it: a report of text and pictures. See scripts/report.py."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from envs.command_line import config_from_command_line
from envs.config import load_config
from envs.folders import explained
from envs.program import program
from envs.ranges import check_range
from planner.evaluation.config import EvaluateConfig


@dataclass(frozen=True)
class ReportConfig:
    """What a report measures.

    Attributes:
        task: A simulated task to compare success in, see `EvaluateConfig.task`; None for the plan's, or for none.
        plan: YAML file of an `EvaluateConfig`, such as scripts/configs/plan/reach.yaml: how the task is planned in.
            None for the defaults.
        episodes: Of the task, for each of parent, trained model and the two baselines.
        seed: Of the first episode. Those from 10000 on are held out: for a last judgement, not for choosing.
        processes: How many share out the episodes.
        windows: Held-out windows that rollouts are judged on, at most.
        steps: Held-out steps whose true action is ranked, at most.
        shell: Random actions of its length that a true action is ranked among.
        search: Stored frames that neighbours are searched in, at most.
        device: Where the models run: cpu, cuda, mps or auto.
    """

    task: str | None = None
    plan: Path | None = None
    episodes: int = 50
    seed: int = 5000
    processes: int = 1
    windows: int = 256
    steps: int = 100
    shell: int = 256
    search: int = 20000
    device: str = "auto"

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "episodes", "processes", "windows", "steps", "shell", "search")

    def evaluation(self, checkpoint: str) -> EvaluateConfig | None:
        """Returns the settings of a checkpoint's evaluation, without pictures; None where no task is named."""
        if self.task is None and self.plan is None:
            return None
        plan = load_config(EvaluateConfig, self.plan)
        return replace(
            plan,
            checkpoint=checkpoint,
            task=self.task or plan.task,
            episodes=self.episodes,
            seed=self.seed,
            processes=self.processes,
            device=self.device,
            baselines=True,
            video_episodes=0,
        )


@dataclass(frozen=True, kw_only=True)
class Command(ReportConfig):
    """A report to write.

    Attributes:
        run: Directory of the finished run.
    """

    run: Path


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    command = config_from_command_line(Command, "Says whether a training run was worth it.", arguments)
    from planner.training.report import write_report  # torch takes seconds

    with explained(run=command.run):
        path = write_report(command.run, command)
    print(path.read_text(encoding="utf-8"))
    print(f"wrote {path}, report.json and the pictures beside it")
