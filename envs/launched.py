"""Which part of a program's work is this process's, where `accelerate launch` or torchrun started several."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Launched:
    """This process among all that were launched. They share nothing but the folder that they write into.

    Attributes:
        rank: Number of this one, from 0.
        count: How many there are, on all machines.
        here: How many of them are on this machine.
    """

    rank: int = 0
    count: int = 1
    here: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the one that puts together what all have made."""
        return self.rank == 0

    def owns(self, number: int) -> bool:
        """Returns whether a numbered piece of work is this process's: every count-th is."""
        return number % self.count == self.rank


def find_launched() -> Launched:
    """Returns what the launcher says of this process; without one it is alone."""
    rank, count, here = (
        int(os.environ.get(*each)) for each in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_WORLD_SIZE", "1"))
    )
    return Launched(rank, count, here)
