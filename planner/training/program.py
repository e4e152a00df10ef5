"""Trains the action-conditioned predictor on a dataset's cached latents. See scripts/train.py."""

from __future__ import annotations

from collections.abc import Sequence

from envs.command_line import config_from_command_line
from envs.program import program
from world_model.training.train_config import TrainConfig


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    description = "Train the action-conditioned predictor on cached latents."
    config = config_from_command_line(TrainConfig, description, arguments)
    from planner.training.learning import run  # torch takes seconds

    return run(config)
