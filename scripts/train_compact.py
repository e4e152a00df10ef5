"""Trains a compact world model from nothing: trunk, latents and dynamics together.

python scripts/train_compact.py --config scripts/configs/franka/compact.yaml

Ctrl-C saves and stops; the same command goes on where it stopped. The output directory gets config.yaml, losses.jsonl,
tensorboard/, state.pt and, at the end, checkpoint/.
"""

import sys

from world_model.training.compact_program import main

if __name__ == "__main__":
    sys.exit(main())
