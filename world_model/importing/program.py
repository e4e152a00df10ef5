"""Makes a checkpoint of ours from published weights.

    python scripts/import_checkpoint.py --list
    python scripts/import_checkpoint.py vjepa2_ac_oss my-model
    python scripts/import_checkpoint.py path/to/vjepa2-ac-vitg.pt my-model
    python scripts/import_checkpoint.py facebook/vjepa2-vitl-fpc64-256 my-encoder

A file with an action-conditioned predictor becomes checkpoints/NAME, which every script takes by name. An encoder
alone becomes checkpoints/NAME in transformers' format, for the encoder of train.yaml or for --encoder here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from envs.folders import explained
from envs.program import program
from world_model.checkpoints.folder import CHECKPOINTS, CheckpointError
from world_model.importing.catalog import CatalogEntry, read_catalog
from world_model.importing.config import ImportConfig


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    config = tyro.cli(ImportConfig, args=arguments, description=__doc__)
    if config.list:
        print(catalog_table(read_catalog()))
        return
    if not (config.source and config.name):
        sys.exit("error: name a source and a checkpoint to make, or --list to see what there is")
    folder = CHECKPOINTS / config.name if Path(config.name).name == config.name else Path(config.name)
    with explained(NAME=folder, downloads=config.downloads):
        if folder.exists() and (folder.is_file() or any(folder.iterdir())):
            raise CheckpointError(f"{folder} exists; choose another name")
        from world_model.importing.run import import_source  # torch takes seconds

        print(import_source(config, folder))


def catalog_table(entries: dict[str, CatalogEntry]) -> str:
    """Returns the catalog as text."""
    blocks = []
    for name, entry in entries.items():
        size = f"{entry.gigabytes:g} GB" if entry.gigabytes else "size unknown"
        lines = [f"{name}  ({entry.kind.replace('_', ' ')}, {entry.image_size} pixels, {size}, {entry.licence})"]
        lines += [f"  {entry.provenance}", f"  for: {entry.use}", f"  {entry.url}"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
