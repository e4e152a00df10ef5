"""The folders of a training run, made its own before any work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from envs.config import Dataclass, load_config
from envs.folders import begin_cache, begin_folder, check_folder, explained
from world_model.training.loop import CONFIG_FILE


class RunFolders(Dataclass, Protocol):
    """What is read of a run's configuration; the real ones are frozen dataclasses."""

    @property
    def output(self) -> Path:
        """Run directory."""
        ...

    @property
    def cache_directory(self) -> Path:
        """Where latents or frames are kept."""
        ...


@contextmanager
def run_folders(config: RunFolders, program: str, main: bool = True) -> Iterator[None]:
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


def _check_checkpoint(config: RunFolders, checkpoint: Path) -> None:
    """Returns if a checkpoint that is there already was to be written by this very run, as its own folder tells."""
    path = config.output / CONFIG_FILE
    before = getattr(load_config(type(config), path), "checkpoint", None) if path.is_file() else None
    if before is None or before.resolve() != checkpoint.resolve():
        check_folder(checkpoint, "checkpoint", "--checkpoint")
