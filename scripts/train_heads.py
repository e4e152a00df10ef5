"""Trains what recordings say of the way to a goal (first actions, how many it takes) on a compact world model.

python scripts/train_heads.py --config scripts/configs/franka/heads.yaml

Ctrl-C saves and stops; the same command goes on where it stopped. The output directory gets config.yaml, losses.jsonl,
tensorboard/, state.pt and, at the end, checkpoint/: the parent with its heads.
"""

import sys

from world_model.training.heads_program import main

if __name__ == "__main__":
    sys.exit(main())
