"""Uploads a checkpoint to the Hugging Face hub, with a model card. See scripts/push.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from envs.command_line import config_from_command_line
from envs.program import program


@dataclass(frozen=True)
class PushConfig:
    """What is uploaded, and where to.

    Attributes:
        checkpoint: A folder, or the name of one in checkpoints/.
        repository: OWNER/NAME on the hub; made if it is not there.
        private: Whether the repository must not be seen by others.
        revision: Branch to commit to; None for the main one.
        message: Of the commit; None for a line about the checkpoint.
        card: Prints the model card and ends; nothing is sent.
    """

    checkpoint: Annotated[str, tyro.conf.Positional]
    repository: Annotated[str, tyro.conf.Positional]
    private: bool = True
    revision: str | None = None
    message: str | None = None
    card: bool = False


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    config = config_from_command_line(PushConfig, "Uploads a checkpoint to the Hugging Face hub.", arguments)
    from world_model.checkpoints.hub import describe_checkpoint, push_checkpoint  # torch takes seconds

    if config.card:
        print(describe_checkpoint(config.checkpoint, config.repository), end="")
        return
    print(
        push_checkpoint(
            config.checkpoint,
            config.repository,
            private=config.private,
            revision=config.revision,
            message=config.message,
        )
    )
