"""Pretrains a small encoder by masked latent prediction on a dataset's frames.

python scripts/pretrain.py --config scripts/configs/franka-tiny/pretrain.yaml

Ctrl-C saves and stops; the same command goes on where it stopped. The output directory gets config.yaml, losses.jsonl,
tensorboard/, state.pt and, at the end, encoder/ in transformers' format.
"""

import sys

from world_model.training.pretrain_program import main

if __name__ == "__main__":
    sys.exit(main())
