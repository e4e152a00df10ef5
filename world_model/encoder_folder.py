"""Encoders alone on disk: a folder in transformers' format, and whitening.safetensors where tokens are whitened."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path

from safetensors.torch import load_file
from transformers import VJEPA2Config

from world_model.checkpoint import load_weights
from world_model.encoder import Encoder, EncoderConfig
from world_model.weights_file import write_weights

WHITENING = "whitening.safetensors"


def save_encoder(encoder: Encoder, directory: Path) -> Path:
    """Returns a folder with the encoder in transformers' format, written beside and then moved into place.

    Raises:
        CheckpointError: If weights are not finite.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as beside:
        temporary = Path(beside) / directory.name
        encoder.model.config.save_pretrained(temporary)
        write_weights(temporary / "model.safetensors", encoder.model.state_dict())
        if encoder.whitening is not None:
            write_weights(temporary / WHITENING, encoder.whitening.state_dict())
        shutil.rmtree(directory, ignore_errors=True)
        temporary.replace(directory)
    return directory


def load_encoder(directory: Path) -> Encoder:
    """Returns the encoder that `save_encoder` wrote, or any VJEPA2Model in transformers' format.

    Raises:
        ValueError: If the folder is not one, or its weights are not exactly such an encoder's.
    """
    if not (directory / "config.json").is_file():
        raise ValueError(f"{directory} is no encoder in transformers' format (no config.json); run scripts/pretrain.py")
    config = EncoderConfig.from_transformers(VJEPA2Config.from_pretrained(directory))
    path, whitening = directory / "model.safetensors", directory / WHITENING
    whitened = load_file(whitening) if whitening.is_file() else None
    if whitened is not None:
        config = dataclasses.replace(config, components=whitened["matrix"].shape[1])
    encoder = Encoder(config)
    weights = {name: value for name, value in load_file(path).items() if not name.startswith("predictor.")}
    load_weights(encoder.model, weights, str(path))
    if encoder.whitening is not None and whitened is not None:
        load_weights(encoder.whitening, whitened, str(whitening))
    return encoder
