"""Shows whether a checkpoint's energy singles out the action that was really taken. See scripts/landscape.py."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from envs.command_line import config_from_command_line
from envs.program import program
from planner.diagnostics.landscape_config import LandscapeConfig


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    config = config_from_command_line(LandscapeConfig, "Shows the energy around recorded steps.", arguments)
    from planner.diagnostics.landscape_steps import look  # torch takes seconds

    look(config)
