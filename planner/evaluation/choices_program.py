"""Tells which part of a planner fails: what it proposes, its cost, or what is predicted. See scripts/choices.py."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envs.command_line import config_from_command_line
from envs.program import program
from envs.spec import HELD_OUT


@dataclass(frozen=True)
class ChoicesConfig:
    """What is compared.

    Attributes:
        plan: File of an evaluation, such as evaluate.py takes: its proposers, its objective, its horizon.
        checkpoint: Its name or path; None for the file's.
        task: A manipulation task of ours; None for the file's.
        states: Places that ways are compared at, one an episode.
        seed: Of the first episode.
        before: The planner itself does so many actions first, at most; each episode draws how many.
        ways: Sequences of actions that are proposed, by all proposers.
        shaken: Of these once more with noise, so many.
        shaky: Std of this noise, as a share of the largest action.
        output: Folder for choices.json.
    """

    plan: Path
    checkpoint: str | None = None
    task: str | None = None
    states: int = 40
    seed: int = 200
    before: int = 13
    ways: int = 24
    shaken: int = 8
    shaky: float = 0.15
    output: Path = Path("results/choices")

    def __post_init__(self) -> None:
        if min(self.states, self.ways) < 1 or min(self.before, self.shaken, self.shaky, self.seed) < 0:
            raise ValueError("states and ways must be at least 1; before, shaken, shaky and seed at least 0")
        if self.seed + self.states > HELD_OUT:
            raise ValueError(
                f"seeds from {HELD_OUT} on are held out for evaluation, and this is to develop by: choose a smaller "
                f"seed than {self.seed} or fewer states"
            )


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s")  # ways with noise often lead to where no arm reaches
    config = config_from_command_line(ChoicesConfig, "Tells which part of a planner fails.", arguments)
    from planner.evaluation.choices import run  # torch takes seconds

    run(config)
