"""The folders of a training run, made its own before any work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from envs.config import load_config
from envs.folders import begin_cache, begin_folder, check_folder, explained
from envs.program import INTERRUPTED
from world_model.training.loop import CONFIG_FILE
from world_model.training.run_config import RunConfig


def run_to_end(config: RunConfig, program: str, made: str, learn: Callable[[], object]) -> int:
    """Trains in folders that are the run's own, prints what was made and returns the exit status.

    Args:
        config: Of the run.
        program: That runs.
        made: What to print at the end, such as "checkpoint: runs/mine/checkpoint".
        learn: Does it all; returns None if interrupted.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with run_folders(config, program):
        finished = learn() is not None
    print(made if finished else "stopped; the same command goes on")
    return 0 if finished else INTERRUPTED


@contextmanager
def run_folders(config: RunConfig, program: str, main: bool = True) -> Iterator[None]:
    """Makes output and cache the run's own, checks where its checkpoint goes, and explains what can't be written there.

    Args:
        config: Of the run; a dataclass that has `checkpoint`, too, where the finished model may go elsewhere.
        program: That runs.
        main: Whether this is the process that writes.

    Raises:
        FolderError: If one of them holds something else, or can't be written.
    """
    checkpoint: Path | None = getattr(config, "checkpoint", None)
    with explained(output=config.output, cache=config.cache_directory, checkpoint=checkpoint):
        if main:
            begin_folder(config.output, program, "--output")
            begin_cache(config.cache_directory)
            if checkpoint is not None:
                _check_checkpoint(config, checkpoint)
        yield


def _check_checkpoint(config: RunConfig, checkpoint: Path) -> None:
    """Returns if a checkpoint that is there already was to be written by this very run, as its own folder tells."""
    path = config.output / CONFIG_FILE
    before = getattr(load_config(type(config), path), "checkpoint", None) if path.is_file() else None
    if before is None or before.resolve() != checkpoint.resolve():
        check_folder(checkpoint, "checkpoint", "--checkpoint")
