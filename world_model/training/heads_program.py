"""Trains what recordings say of the way to a goal, on a compact world model. See scripts/train_heads.py."""

from __future__ import annotations

from collections.abc import Sequence

from envs.command_line import config_from_command_line
from envs.program import program
from world_model.training.heads_config import HeadsConfig


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    description = "Train goal-conditioned inverse dynamics and temporal distance on a compact world model's latents."
    config = config_from_command_line(HeadsConfig, description, arguments)
    from world_model.training.heads_run import run  # torch takes seconds

    return run(config)
