"""Runs programs in this process: their imports, which take seconds, are there already."""

from __future__ import annotations

import contextlib
import importlib
import io
from dataclasses import dataclass
from pathlib import Path

from planner.cli import COMMANDS


@dataclass(frozen=True)
class Ended:
    """What became of a command: its exit status, and what it printed on standard output and standard error."""

    status: int
    told: str
    said: str


def run(folder: Path, command: str, *words: str) -> Ended:
    """Runs a command of vjepa-planner, or the script of its name, in a folder."""
    from planner.evaluation.episodes import workplace

    told, said, status = io.StringIO(), io.StringIO(), 0
    program = importlib.import_module(COMMANDS[command.removesuffix(".py").replace("_", "-")])
    with contextlib.chdir(folder), contextlib.redirect_stdout(told), contextlib.redirect_stderr(said):
        try:
            status = program.main(words) or 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
            said.write("" if isinstance(end.code, int) else str(end.code))
    workplace.cache_clear()  # the next one means other files by the same names
    return Ended(status, told.getvalue(), said.getvalue())
