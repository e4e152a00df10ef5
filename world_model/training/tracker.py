"""Where a run's measurements can be looked at: tensorboard, or wandb (an extra)."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol

TrackerName = Literal["tensorboard", "wandb"]


class Tracker(Protocol):
    """Gets a run's measurements."""

    def __call__(self, step: int, measured: Mapping[str, float]) -> None:
        """Adds those of one step."""
        ...

    def close(self) -> None:
        """Ends the record."""
        ...


class Tensorboard:
    """Writes for tensorboard to DIRECTORY/tensorboard; an earlier attempt's steps from `first_step` on are hidden."""

    def __init__(self, directory: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes seconds

        self._writer = SummaryWriter(str(directory / "tensorboard"), purge_step=first_step)

    def __call__(self, step: int, measured: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for name, value in measured.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """See `Tracker`."""
        self._writer.close()


class Wandb:
    """Sends to Weights & Biases, one run a run directory; steps it has from an attempt before stay as they were."""

    def __init__(self, directory: Path, first_step: int) -> None:
        wandb = importlib.import_module("wandb")
        name = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16]
        self._run = wandb.init(
            project="vjepa-planner", name=directory.name, id=name, dir=str(directory), resume="allow"
        )

    def __call__(self, step: int, measured: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._run.log(dict(measured), step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self._run.finish()


def find_tracker(name: TrackerName) -> Callable[[Path, int], Tracker]:
    """Returns what starts the tracker, from a run's directory and its first step.

    Raises:
        ValueError: If it is not installed.
    """
    if name == "tensorboard":
        return Tensorboard
    try:
        importlib.import_module("wandb")
    except ImportError as error:
        raise ValueError(
            f"wandb is not installed ({error}): `pip install wandb`, the extra of that name, or log to tensorboard"
        ) from error
    return Wandb
