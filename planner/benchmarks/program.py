"""Measures how fast planning is, beside the official code and planner by planner.

    python scripts/benchmark.py plan --official path/to/vjepa2      # one plan at equal samples, iterations, horizon
    python scripts/benchmark.py energy --official path/to/vjepa2    # time to the official planner's energy
    python scripts/benchmark.py pareto                              # success against seconds an action
    python scripts/benchmark.py train --official path/to/vjepa2     # training steps beside the official recipe
    python scripts/benchmark.py jitter                              # set-points' lateness beside a planner at full load

`--official` is a checkout of github.com/facebookresearch/vjepa2: its code runs on the same weights, noise and machine,
in turns with ours. With a GPU: `plan --device cuda --sizes released --samples 800 --iterations 10 --horizons 1
--precisions fp32 bf16`. Keep the machine otherwise idle. Writes results.json, results.md and benchmark.png to
results/benchmark-<part>.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import tyro

from envs.program import program
from planner.benchmarks.config import Part

PARTS = ("plan", "energy", "pareto", "train", "jitter")


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    words = part_first(sys.argv[1:] if arguments is None else arguments)
    part = tyro.cli(Part, args=words or ["--help"], description=__doc__)  # type: ignore[call-overload]
    from planner.benchmarks.measures import run  # torch takes seconds

    run(part, part.output)


def part_first(words: Sequence[str]) -> list[str]:
    """Returns a command line whose part comes first, so that options may stand on either side of it."""
    for place, word in enumerate(words):
        if word in PARTS and not (place and words[place - 1].startswith("--")):
            return [word, *words[:place], *words[place + 1 :]]
    return list(words)
