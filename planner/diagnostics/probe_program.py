"""Tells how well a frozen encoder's tokens say where the object and the gripper are, in the simulated scene."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from envs.command_line import config_from_command_line
from envs.program import program


@dataclass(frozen=True)
class ProbeConfig:
    """What is probed, and how.

    Attributes:
        checkpoint: Its encoder is probed: a folder, or the name of one in checkpoints/.
        encoder: Another folder in transformers' format, instead of a checkpoint.
        images: Random scenes to learn from; a fifth as many more to judge by.
        steps: Optimiser steps of the head.
        seed: Of scenes and head.
    """

    checkpoint: str | None = None
    encoder: Path | None = None
    images: int = 5000
    steps: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.encoder is None):
            raise ValueError("name either a --checkpoint or an --encoder folder")
        if self.images < 100 or self.steps < 1:
            raise ValueError(f"images must be 100 or more and steps positive, got {self.images} and {self.steps}")


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    config = config_from_command_line(ProbeConfig, "Tells what a frozen encoder sees.", arguments)
    from planner.diagnostics.probe import look  # torch takes seconds

    look(config)
