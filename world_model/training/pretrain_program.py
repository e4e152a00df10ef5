"""Pretrains a small encoder by masked latent prediction on a dataset's frames. See scripts/pretrain.py."""

from __future__ import annotations

from collections.abc import Sequence

from envs.command_line import config_from_command_line
from envs.program import program
from world_model.training.pretrain_config import PretrainConfig


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    description = "Pretrain a small encoder by masked latent prediction."
    config = config_from_command_line(PretrainConfig, description, arguments)
    from world_model.training.pretraining import run  # torch takes seconds

    return run(config)
