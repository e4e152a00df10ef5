"""Trains the action-conditioned predictor on a dataset's cached latents.

    python scripts/train.py --config scripts/configs/franka-tiny/train.yaml [--checkpoint checkpoints/NAME ...]
    python scripts/train.py --parent franka-tiny --data data/mine --output runs/mine --steps 500 --learning-rate 1e-4
    python scripts/train.py --parent franka-tiny --data droid --reading scripts/configs/reading/droid.yaml --output ...
    torchrun --nproc-per-node 8 scripts/train.py --config ...     (or accelerate launch; with several nodes, on each)

On several GPUs a step's `batch` is the windows of all of them together, and `--sharding fsdp` shares out a predictor
that is large for one. Data, cache and output are on a disk that all nodes see.

Ctrl-C saves and stops; the same command goes on where it stopped. The output directory gets config.yaml, losses.jsonl,
tensorboard/, state.pt, checkpoint/ (or --checkpoint), ready for scripts/evaluate.py, and report/, which says whether it
was worth it. Every evaluation prints the held-out error beside that of copying the last frame and of shuffled actions.
"""

import sys

from planner.training.program import main

if __name__ == "__main__":
    sys.exit(main())
