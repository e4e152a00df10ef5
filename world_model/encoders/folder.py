"""Encoders alone on disk: a folder in transformers' format."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import VJEPA2Config

from envs.folders import replaced_folder
from world_model.checkpoints.checkpoint import MANIFEST, open_files, read_manifest
from world_model.checkpoints.weights_file import load_weights
from world_model.encoders.registry import StoredEncoder, is_own_encoder, load_stored_encoder, make_encoder
from world_model.encoders.vjepa2 import CONFIG, WEIGHTS, Encoder, EncoderConfig


def save_encoder(encoder: StoredEncoder, directory: Path) -> Path:
    """Returns a folder with the encoder in transformers' format, written beside and then moved into place.

    Raises:
        CheckpointError: If weights are not finite.
    """
    with replaced_folder(directory) as partial:
        encoder.save(partial)
    return directory


def load_encoder(name: str | Path, image_size: int | None = None) -> StoredEncoder:
    """Returns the encoder that `save_encoder` wrote, any image backbone, or one of somebody's own.

    Args:
        name: Folder in transformers' format of a VJEPA2Model or of another backbone, or the hub id of one; encoder/ in
            a checkpoint; or ``my_encoder.py:Mine``.
        image_size: Side of the images that a backbone looks at [pixels]; None for the size it was trained at.

    Raises:
        ValueError: If it is none, or its weights are not exactly such an encoder's.
    """
    if is_own_encoder(name):
        return make_encoder(str(name)).requires_grad_(False).eval()
    config, parent = Path(name) / CONFIG, Path(name).parent
    if Path(name).is_dir() and not config.is_file() and (parent / MANIFEST).is_file():
        manifest = read_manifest(parent)
        return load_stored_encoder(open_files(parent, manifest), manifest.parts.get("encoder"), torch.float32)
    if Path(name).is_dir() and not config.is_file():
        raise ValueError(f"{name} is no encoder in transformers' format (no {CONFIG}); run scripts/pretrain.py")
    if not config.is_file() or json.loads(config.read_text(encoding="utf-8")).get("model_type") != "vjepa2":
        from world_model.encoders.backbone import load_backbone  # slow to import

        return load_backbone(name, image_size)
    return _load_vjepa2(Path(name))


def _load_vjepa2(directory: Path) -> Encoder:
    """Returns the encoder of a VJEPA2Model's folder."""
    config = EncoderConfig.from_transformers(VJEPA2Config.from_pretrained(directory))
    path, encoder = directory / WEIGHTS, Encoder(config)
    weights = {name: value for name, value in load_file(path).items() if not name.startswith("predictor.")}
    load_weights(encoder.model, weights, str(path))
    return encoder
