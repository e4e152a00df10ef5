"""Trains LeWM by its own code on recordings of ours, for a given time.

    python -m planner.benchmarks.peers.train_lewm --data data/cube-single --more data/cube-single-starts \
        --output runs/cube-single-lewm --minutes 35

Ctrl-C saves and stops; the same command goes on where it stopped. The output directory gets config.yaml, losses.jsonl,
tensorboard/, state.pt and, at the end, checkpoint/, which evaluate.py plans with. The peer's code must be installed or
in PYTHONPATH; of it nothing is in this repository.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from envs.command_line import config_from_command_line
from envs.program import program
from planner.benchmarks.peers.lewm_config import TrainLeWMConfig


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    config = config_from_command_line(TrainLeWMConfig, "Train LeWM by its own code on recordings of ours.", arguments)
    from planner.benchmarks.peers.lewm_run import run  # torch takes seconds

    return run(config)


if __name__ == "__main__":
    sys.exit(main())
