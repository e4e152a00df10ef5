"""Checks a robot set-up against what a checkpoint was trained on, before anyone trusts it. See scripts/doctor.py."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from envs.command_line import config_from_command_line
from envs.program import program
from planner.diagnostics.doctor_config import DoctorConfig


@program()
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 1 if something is wrong with the set-up."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    config = config_from_command_line(DoctorConfig, "Checks a robot set-up.", arguments)
    from planner.diagnostics.examination import consult  # torch takes seconds

    return consult(config)
