"""Trains a compact world model from nothing: trunk, latents and dynamics together. See scripts/train_compact.py."""

from __future__ import annotations

from collections.abc import Sequence

from envs.command_line import config_from_command_line
from envs.program import program
from world_model.training.compact_config import CompactConfig


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    description = "Train a compact world model from nothing: trunk, latents and dynamics together."
    config = config_from_command_line(CompactConfig, description, arguments)
    from world_model.training.compact_run import run  # torch takes seconds

    return run(config)
