"""Tells how well a frozen encoder's tokens say where the object and the gripper are, in the simulated scene."""

from __future__ import annotations

import os
from collections.abc import Sequence

os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from envs.command_line import config_from_command_line
from envs.program import program
from planner.diagnostics.probe_config import ProbeConfig


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    config = config_from_command_line(ProbeConfig, "Tells what a frozen encoder sees.", arguments)
    from planner.diagnostics.probe import look  # torch takes seconds

    look(config)
