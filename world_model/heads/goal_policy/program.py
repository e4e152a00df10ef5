"""Trains the critic of a finished checkpoint: how many actions lie between a frame and a goal image, and the first."""

from __future__ import annotations

from collections.abc import Sequence

from envs.command_line import config_from_command_line
from envs.program import program
from world_model.heads.goal_policy.config import TrainCriticConfig


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    description = "Train the critic of a finished checkpoint."
    config = config_from_command_line(TrainCriticConfig, description, arguments)
    from world_model.heads.goal_policy.learning import run  # torch takes seconds

    return run(config)
