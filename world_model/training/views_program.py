"""Teaches a compact world model to see the same in other views. See scripts/train_views.py."""

from __future__ import annotations

from collections.abc import Sequence

from envs.command_line import config_from_command_line
from envs.program import program
from world_model.training.views_config import ViewsConfig


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    description = "Teach a compact world model to see the same from other cameras, in other light, beside other things."
    config = config_from_command_line(ViewsConfig, description, arguments)
    from world_model.training.views_run import run  # torch takes seconds

    return run(config)
