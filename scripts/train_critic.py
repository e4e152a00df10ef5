"""Trains the critic of a finished checkpoint: how many actions lie between a frame and a goal image, and the first.

    python scripts/train_critic.py --config scripts/configs/franka-manipulation/critic.yaml
    python scripts/train_critic.py --parent NAME --data data/mine --output runs/mine-critic

Ctrl-C saves and stops; the same command goes on where it stopped. Every evaluation prints the held-out errors beside
those of always guessing the mean. The finished checkpoint plans with it where objective.critic_weight is above 0.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # idle threads must not spin while others work
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _program import program

from envs.command_line import config_from_command_line
from world_model.train_critic_config import TrainCriticConfig


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    description = "Train the critic of a finished checkpoint."
    config = config_from_command_line(TrainCriticConfig, description, arguments)
    from _critic_training import run  # torch takes seconds

    return run(config)


if __name__ == "__main__":
    sys.exit(main())
