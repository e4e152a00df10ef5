"""Says whether a training run was worth it: a report of text and pictures.

    python scripts/report.py --run runs/mine
    python scripts/report.py --run runs/mine --plan scripts/configs/plan/reach.yaml --episodes 50 --seed 5000

Writes runs/mine/report/report.md with pictures beside it, and report.json with every number: errors of held-out
rollouts against copying the last frame, shuffled actions and the parent checkpoint; the energy around held-out actions
before and after; the stored frames that look most like what was imagined; and, with --task or --plan, success in
simulation before and after on the same seeds.
"""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # torch's threads yield: 5 times faster beside another program

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from _program import program
from _report_config import ReportConfig

from envs.command_line import config_from_command_line
from envs.folders import explained


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
    from _training_report import write_report  # torch takes seconds

    with explained(run=command.run):
        path = write_report(command.run, command)
    print(path.read_text(encoding="utf-8"))
    print(f"wrote {path}, report.json and the pictures beside it")


if __name__ == "__main__":
    main()
