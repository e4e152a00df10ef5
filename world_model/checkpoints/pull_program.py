"""Downloads a checkpoint from the Hugging Face hub and verifies it. See scripts/pull.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from envs.command_line import config_from_command_line
from envs.folders import explained
from envs.program import program


@dataclass(frozen=True)
class PullConfig:
    """What is downloaded, and as what.

    Attributes:
        repository: OWNER/NAME on the hub.
        name: Folder to make in checkpoints/, or a path; None for the repository's NAME.
        revision: Branch, tag or commit; None for the main branch.
    """

    repository: Annotated[str, tyro.conf.Positional]
    name: Annotated[str | None, tyro.conf.Positional] = None
    revision: str | None = None


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    config = config_from_command_line(PullConfig, "Downloads a checkpoint from the Hugging Face hub.", arguments)
    from world_model.checkpoints.checkpoint import read_manifest  # torch takes seconds
    from world_model.checkpoints.hub import pull_checkpoint, pulled_folder

    folder = pulled_folder(config.repository, config.name)
    with explained(NAME=folder):
        pull_checkpoint(config.repository, config.name, revision=config.revision)
    manifest = read_manifest(folder)
    print(f"{folder}: {manifest.kind}, {manifest.image_size} pixels, {manifest.fps:g} Hz, licence {manifest.licence}")
