"""What to import and as what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from world_model.checkpoints.folder import CHECKPOINTS


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
