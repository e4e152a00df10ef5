"""One command for all programs: vjepa-planner evaluate --checkpoint franka-tiny."""

from __future__ import annotations

from envs.program import program

# isort: split

import ast
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

COMMANDS = {
    "evaluate": "planner.evaluation.program",
    "deploy": "planner.deployment.program",
    "serve": "planner.serving.program",
    "doctor": "planner.diagnostics.doctor_program",
    "landscape": "planner.diagnostics.landscape_program",
    "probe": "planner.diagnostics.probe_program",
    "choices": "planner.evaluation.choices_program",
    "collect": "envs.tasks.collect",
    "collect-practice": "planner.collecting.practice",
    "collect-benchmark": "envs.tasks.collect_benchmark",
    "dataset": "world_model.data.program",
    "pretrain": "world_model.training.pretrain_program",
    "train": "planner.training.program",
    "train-compact": "world_model.training.compact_program",
    "train-heads": "world_model.training.heads_program",
    "train-views": "world_model.training.views_program",
    "report": "planner.training.report_program",
    "import-checkpoint": "world_model.importing.program",
    "pull": "world_model.checkpoints.pull_program",
    "push": "world_model.checkpoints.push_program",
    "benchmark": "planner.benchmarks.program",
}
"""Module of each program by its command; scripts/COMMAND.py is the same."""


@program()
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program that the first word names and returns its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(tell_commands())
        return 0
    if words[0] == "--version":
        print(f"vjepa-planner {version('vjepa-planner')}")
        return 0
    command, *rest = words
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        print(f"error: there is no command {command!r}: {hint}Known: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    sys.argv = [f"vjepa-planner {command}", *rest]  # what --help calls the program
    return importlib.import_module(COMMANDS[command]).main() or 0


def tell_commands() -> str:
    """Returns all commands and what they do, without importing them."""
    lines = ["usage: vjepa-planner COMMAND [--help] [options], or --version", ""]
    lines += [f"  {command:<18}{_first_line(module)}" for command, module in COMMANDS.items()]
    return "\n".join(lines)


def _first_line(module: str) -> str:
    """Returns the first line of a module's docstring."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, "the table names modules of ours"
    told = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return told.partition("\n")[0].partition(" See scripts/")[0]


if __name__ == "__main__":
    sys.exit(main())
