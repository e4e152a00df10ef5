"""Says whether a training run was worth it: a report of text and pictures. See scripts/report.py."""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # torch's threads yield: 5 times faster beside another program

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envs.command_line import config_from_command_line
from envs.folders import explained
from envs.program import program
from planner.training.report_config import ReportConfig


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
