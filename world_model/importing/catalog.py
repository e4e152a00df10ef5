"""The catalog of published weights: checkpoints/catalog.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from envs.config import load_config
from world_model.checkpoints.folder import BUNDLED, CHECKPOINTS

CATALOG = (BUNDLED if BUNDLED.is_dir() else CHECKPOINTS) / "catalog.yaml"


@dataclass(frozen=True)
class CatalogEntry:
    """One published file.

    Attributes:
        kind: Whether it holds an encoder with its action-conditioned predictor, or one of the two.
        url: Where it is.
        gigabytes: Of the download, 10^9 bytes; None if not known.
        licence: Of the weights.
        image_size: Side of the images that it was trained with [pixels].
        encoder_heads: Attention heads of the encoder; no tensor tells.
        provenance: Who trained it, on what, and with which rollout loss.
        use: What it is good for.
        predictor_heads: Attention heads of the predictor, if it has one.
        max_frames: Most frames in a sequence of its predictor.
        sha256: Of the file; None if it was never published.
    """

    kind: Literal["world_model", "predictor", "encoder"]
    url: str
    licence: str
    image_size: int
    encoder_heads: int
    provenance: str
    use: str
    gigabytes: float | None = None
    predictor_heads: int | None = None
    max_frames: int = 32
    sha256: str | None = None


@dataclass(frozen=True)
class _Catalog:
    entries: dict[str, CatalogEntry]


def read_catalog(path: Path = CATALOG) -> dict[str, CatalogEntry]:
    """Returns the entries by name.

    Raises:
        ConfigError: If an entry lacks a field or has one that is unknown.
    """
    return load_config(_Catalog, {"entries": yaml.safe_load(path.read_text(encoding="utf-8"))}).entries
