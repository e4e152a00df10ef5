"""What training programs print while they run, and where their checkpoints come from."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tqdm import tqdm

from envs.bar import progress
from envs.folders import writing
from envs.workers import ask_git
from world_model.training.loop import Report, RunLog
from world_model.training.run_config import RunConfig
from world_model.training.tracker import TrackerName

HELD_OUT = "held_out/"
"""How the names of what was measured on held-out episodes begin."""


def make_report(log: RunLog, bar: tqdm, format_errors: Callable[[Mapping[str, float]], str]) -> Report:
    """Returns a report of steps that logs them, moves a bar and prints held-out errors in the words of a formatter."""

    def report(step: int, measured: Mapping[str, float]) -> None:
        log(step, measured)
        if bar.n == 0:
            bar.initial = bar.n = step  # resumed
        held_out = {k.removeprefix(HELD_OUT): v for k, v in measured.items() if k.startswith(HELD_OUT)}
        if held_out:
            bar.write(f"step {step + 1}\n{format_errors(held_out)}", file=sys.stdout)
        losses = {k: f"{v:.4f}" for k, v in measured.items() if not k.startswith(HELD_OUT)}
        bar.set_postfix(losses, refresh=False)
        bar.update()

    return report


@contextmanager
def reporting(
    config: RunConfig,
    format_errors: Callable[[Mapping[str, float]], str],
    tracker: TrackerName = "tensorboard",
    show: bool = True,
) -> Iterator[Report]:
    """Gives what a run reports its steps to: a log in its output, a bar, and held-out errors in a formatter's words."""
    bar = progress(total=config.steps, desc="train", disable=not show)
    with writing(config.output), RunLog(config.output, tracker) as log, bar:
        yield make_report(log, bar, format_errors)


def origin() -> dict[str, str | None]:
    """Returns the command line and the git commit that a checkpoint comes from."""
    return {"command": f"python {shlex.join(sys.argv)}", "git_commit": ask_git("rev-parse", "HEAD")}
