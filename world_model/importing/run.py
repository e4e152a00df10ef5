"""Published weights made a checkpoint of ours."""

from __future__ import annotations

import re
import sys
import urllib.parse
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from envs.bar import progress
from envs.config import dump_config
from world_model.checkpoints.checkpoint import save_checkpoint
from world_model.checkpoints.folder import CHECKPOINTS, CheckpointError
from world_model.encoders.folder import load_encoder, save_encoder
from world_model.encoders.registry import StoredEncoder
from world_model.importing.catalog import CatalogEntry, read_catalog
from world_model.importing.download import DownloadError, download
from world_model.importing.official import load_official, make_encoder, read_official
from world_model.importing.program import ImportConfig

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def import_source(config: ImportConfig, folder: Path) -> str:
    """Writes the checkpoint or the encoder and returns what to say about it."""
    entry = read_catalog().get(config.source)
    path = fetch(config, entry)
    if path.is_dir():
        return write_encoder(config, load_encoder(path), folder, entry)
    file = read_official(path)
    image_size = config.image_size or (entry.image_size if entry else 256)
    encoder_heads = config.encoder_heads or (entry.encoder_heads if entry else None)
    if file.predictor is None:
        return write_encoder(config, make_encoder(file, image_size, encoder_heads), folder, entry)
    model = load_official(
        file,
        image_size=image_size,
        encoder_heads=encoder_heads,
        predictor_heads=config.predictor_heads or (entry.predictor_heads if entry else None),
        max_frames=config.max_frames or (entry.max_frames if entry else 32),
        extrinsics=config.extrinsics,
        context=config.context,
        encoder=None if config.encoder is None else find_encoder(config.encoder),
    )
    print(f"writing {folder}", file=sys.stderr)
    save_checkpoint(
        folder, model, training=origin(config, entry), licence=licence(entry), parent=config.source,
        weights=config.weights,
    )  # fmt: skip
    sizes = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (model.encoder, model.predictor)]
    return f"{folder}: encoder {sizes[0]:.1f} M, predictor {sizes[1]:.1f} M parameters, licence {licence(entry)}"


def fetch(config: ImportConfig, entry: CatalogEntry | None) -> Path:
    """Returns the local file, or folder in transformers' format, of a source, downloading it if need be.

    Raises:
        CheckpointError: If there is no such source.
        DownloadError: If it can't be had.
    """
    url = entry.url if entry else config.source
    if urllib.parse.urlsplit(url).scheme in {"http", "https", "file"}:
        with progress(desc="download", unit="B", unit_scale=True, unit_divisor=1000) as bar:

            def report(there: int, total: int | None) -> None:
                bar.total = total
                bar.update(there - bar.n)

            return download(url, config.downloads, report, entry.sha256 if entry else None)
    path = Path(config.source)
    if path.exists():
        return path
    if HUB_ID.fullmatch(config.source):
        try:
            return Path(snapshot_download(config.source, allow_patterns=["config.json", "*.safetensors"]))
        except (HfHubHTTPError, OSError) as error:
            raise DownloadError(f"{config.source} is no file, and the hub says: {error}") from error
    raise CheckpointError(
        f"there is no {config.source!r}: a source is a file, a URL, a hub id such as facebook/vjepa2-vitl-fpc64-256, "
        f"or one of {', '.join(read_catalog())}"
    )


def find_encoder(name: str) -> StoredEncoder:
    """Returns the encoder of a checkpoint, or of a folder in transformers' format, by name or path."""
    for folder in (Path(name), CHECKPOINTS / name):
        for inside in (folder, folder / "encoder"):
            if (inside / "config.json").is_file():
                return load_encoder(inside)
    raise CheckpointError(
        f"there is no encoder {name!r}: import one first, or name the folder that has its config.json"
    )


def write_encoder(config: ImportConfig, encoder: StoredEncoder, folder: Path, entry: CatalogEntry | None) -> str:
    """Writes an encoder alone and where it comes from, and returns what to say about it."""
    if config.encoder is not None:
        raise CheckpointError(f"{config.source} is an encoder itself; --encoder is for predictors that have none")
    save_encoder(encoder, folder)
    dump_config({**origin(config, entry), "licence": licence(entry)}, folder / "provenance.yaml")
    size = sum(parameter.numel() for parameter in encoder.parameters()) / 1e6
    return f"{folder}: an encoder of {size:.1f} M parameters; train a predictor on it with scripts/train.py --encoder"


def origin(config: ImportConfig, entry: CatalogEntry | None) -> dict[str, str]:
    """Returns where the weights come from, for the manifest."""
    command = f"python scripts/import_checkpoint.py {config.source} {config.name}"
    return {"command": command, "data": entry.provenance if entry else f"imported from {config.source}"}


def licence(entry: CatalogEntry | None) -> str:
    """Returns the licence of the weights, which a file of unknown origin does not tell."""
    return entry.licence if entry else "unknown, that of the source"
