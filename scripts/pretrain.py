"""Pretrains a small encoder by masked latent prediction on a dataset's frames.

python scripts/pretrain.py --config scripts/configs/franka-tiny/pretrain.yaml

Ctrl-C saves and stops; the same command goes on where it stopped. The output directory gets config.yaml, losses.jsonl,
tensorboard/, state.pt and, at the end, encoder/ in transformers' format.
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
from world_model.pretrain_config import PretrainConfig


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    description = "Pretrain a small encoder by masked latent prediction."
    config = config_from_command_line(PretrainConfig, description, arguments)
    from _pretraining import run  # torch takes seconds

    return run(config)


if __name__ == "__main__":
    sys.exit(main())
