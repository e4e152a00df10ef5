"""The frozen V-JEPA 2 image encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional
from transformers import VJEPA2Model

from envs.config import load_config
from world_model.checkpoints.weights_file import CheckpointError, CheckpointFiles, write_weights
from world_model.encoders.pixels import IMAGE_MEAN, IMAGE_STD, to_pixels
from world_model.encoders.registry import SquareEncoder
from world_model.encoders.vjepa2_config import EncoderConfig
from world_model.rope import frame_positions, rotary_tables, rotate_adjacent

CONFIG, WEIGHTS = "config.json", "model.safetensors"
"""Files of an encoder's folder."""

_DECIDING = (  # of transformers' config.json, the fields that tokens depend on
    "crop_size", "patch_size", "tubelet_size", "in_chans", "hidden_size", "num_attention_heads", "num_hidden_layers",
    "mlp_ratio", "layer_norm_eps", "qkv_bias", "hidden_act",
)  # fmt: skip


class RotaryTables(nn.Module):
    """Stands in for transformers' rotary embedding, which rebuilds these tables in every layer of every call."""

    tables: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        tables = rotary_tables(frame_positions(config.grid, config.grid), config.width // config.heads)
        self.register_buffer("tables", tables, persistent=False)

    def positions(self, x: Float[Tensor, "B n D"], masks: Tensor | None = None) -> Float[Tensor, "2 *B n d"]:
        """Returns the tables of all patches, or of those whose indices (B, n) are given."""
        if masks is not None:
            return self.tables[:, masks][:, :, None]  # (2, B, 1, n, head)
        assert x.shape[1] == self.tables.shape[1], "the tokens are not this encoder's grid"
        return self.tables

    @staticmethod
    def rotate(x: Float[Tensor, "B h n d"], tables: Tensor) -> Float[Tensor, "B h n d"]:
        """Returns queries or keys rotated."""
        return rotate_adjacent(x, tables)


class Encoder(SquareEncoder):
    """Turns images into tokens: transformers' VJEPA2Model without its masked predictor.

    Each image is a clip of its own, repeated to fill one tubelet, so frames never see each other. The output is
    layer-normed once more, without scale and offset (eps 1e-5), on top of the encoder's own final norm.

    Attributes:
        config: Its shape.
        model: transformers' VJEPA2Model; its `encoder.embeddings`, `encoder.layer` and `encoder.layernorm` may be
            called one by one, with `position_mask` (B, n) naming the patches that are present.
    """

    config: EncoderConfig

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.model = VJEPA2Model(config.to_transformers())
        del self.model.predictor
        self.rotary = RotaryTables(config)
        for layer in self.model.encoder.layer:
            attention: Any = layer.attention
            attention.get_position_ids = self.rotary.positions
            attention.apply_rotary_embeddings = self.rotary.rotate

    @property
    def width(self) -> int:
        """Width of a token that comes out, D."""
        return self.config.width

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.rotary.tables.device

    def preprocess(self, images: UInt8[Tensor, "B h w 3"]) -> Float[Tensor, "B 3 S S"]:
        """See `world_model.base.Encoder.preprocess`, and `to_pixels`."""
        dtype = self.rotary.tables.dtype  # float32 though the weights be bfloat16
        return to_pixels(images, self.config.image_size, IMAGE_MEAN, IMAGE_STD, dtype)

    def forward(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B N D"]:
        """Returns the tokens of normalised images, layer-normed.

        Raises:
            ValueError: If the images are not the configured size.
        """
        self.check_size(pixels)
        clips = pixels[:, None].expand(-1, self.config.tubelet_size, -1, -1, -1)
        return layer_norm(self.model.encoder(clips.to(self.model.dtype)).last_hidden_state)

    def restore(self, predicted: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Returns predicted tokens normed as this encoder's own are."""
        return layer_norm(predicted)

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """See `StoredEncoder.save`. In transformers' format."""
        self.model.config.save_pretrained(folder)
        write_weights(folder / WEIGHTS, self.model.state_dict(), dtype)

    @classmethod
    def load(cls, files: CheckpointFiles, settings: Mapping[str, Any], dtype: torch.dtype) -> Self:
        """See `StoredEncoder.load`."""
        config = load_config(EncoderConfig, settings)
        _check_transformers_config(files.path(f"encoder/{CONFIG}"), config)
        with torch.device("meta"):  # no weights are initialised only to be overwritten
            encoder = cls(config)
        files.fill(encoder.model, f"encoder/{WEIGHTS}", dtype)
        return encoder


def layer_norm(tokens: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """Returns tokens of mean 0 and variance 1 (eps 1e-5), no scale, no offset, in float32 or better."""
    tokens = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
    return functional.layer_norm(tokens, tokens.shape[-1:], eps=1e-5)


def _check_transformers_config(path: Path, config: EncoderConfig) -> None:
    """Raises CheckpointError if transformers' config.json describes another encoder than the manifest."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    expected = config.to_transformers()
    for name in _DECIDING:
        if found.get(name) != getattr(expected, name):
            raise CheckpointError(
                f"{path}: {name} is {found.get(name)!r}, the manifest's encoder has {getattr(expected, name)!r}"
            )
