"""Teaches a compact world model to see the same from other cameras, in other light and beside other things.

python scripts/train_views.py --config scripts/configs/franka/see.yaml

Ctrl-C saves and stops; the same command goes on where it stopped. The output directory gets config.yaml, losses.jsonl,
tensorboard/, state.pt and, at the end, checkpoint/.
"""

import sys

from world_model.training.views_program import main

if __name__ == "__main__":
    sys.exit(main())
