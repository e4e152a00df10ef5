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
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from envs.folders import explained
from envs.program import program
from world_model.checkpoints.folder import CHECKPOINTS, CheckpointError
from world_model.importing.catalog import read_catalog


@dataclass(frozen=True)
class ImportConfig:
    """What to import and as what.

    Attributes:
        source: Name in the catalog, path of a `.pt` file, URL of one, or hub id of a model in transformers' format.
        name: Folder to make in checkpoints/, or a path.
        list: Prints the catalog and ends.
        encoder: For a source that is a predictor alone: a checkpoint or an encoder imported before, by name or path.
        image_size: Side of the images it was trained with [pixels]; the catalog's, or 256.
        encoder_heads: Attention heads of the encoder; the catalog's, or the released one's of its width.
        predictor_heads: The same for the predictor.
        max_frames: Most frames in a sequence of the predictor; the catalog's, or 32.
        extrinsics: Whether it was trained with tokens of camera extrinsics.
        context: Past frames that its rollouts use.
        weights: Precision to store; bfloat16 halves the size and rounds.
        downloads: Where downloads are kept, so that a broken one goes on.
    """

    source: Annotated[str, tyro.conf.Positional] = ""
    name: Annotated[str, tyro.conf.Positional] = ""
    list: bool = False
    encoder: str | None = None
    image_size: int | None = None
    encoder_heads: int | None = None
    predictor_heads: int | None = None
    max_frames: int | None = None
    extrinsics: bool = False
    context: int = 1
    weights: Literal["float32", "bfloat16"] = "float32"
    downloads: Path = CHECKPOINTS / ".downloads"


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    config = tyro.cli(ImportConfig, args=arguments, description=__doc__)
    if config.list:
        for name, entry in read_catalog().items():
            size = f"{entry.gigabytes:g} GB" if entry.gigabytes else "size unknown"
            print(f"{name}  ({entry.kind.replace('_', ' ')}, {entry.image_size} pixels, {size}, {entry.licence})")
            print(f"  {entry.provenance}\n  for: {entry.use}\n  {entry.url}\n")
        return
    if not (config.source and config.name):
        sys.exit("error: name a source and a checkpoint to make, or --list to see what there is")
    folder = CHECKPOINTS / config.name if Path(config.name).name == config.name else Path(config.name)
    with explained(NAME=folder, downloads=config.downloads):
        if folder.exists() and (folder.is_file() or any(folder.iterdir())):
            raise CheckpointError(f"{folder} exists; choose another name")
        from world_model.importing.run import import_source  # torch takes seconds

        print(import_source(config, folder))
