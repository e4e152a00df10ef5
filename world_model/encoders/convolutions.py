"""A small convolutional encoder, which learns quickly on few cores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from envs.config import load_config
from world_model.checkpoints.weights_file import CheckpointFiles, write_weights
from world_model.encoders.convolutions_config import GROUPS, ConvolutionsConfig
from world_model.encoders.pixels import to_pixels
from world_model.encoders.registry import SquareEncoder

WEIGHTS = "model.safetensors"


class ConvolutionalEncoder(SquareEncoder):
    """Turns an image into a grid of tokens, 16 pixels apart. See `world_model.base.Encoder`.

    At widths that two cores can train, convolutions do three times as many operations a second as a transformer, and
    need fewer images to find out where things are. Tokens are not normed: `Readout` narrows them first.

    Attributes:
        config: Its shape.
    """

    config: ConvolutionsConfig
    _place: Tensor

    def __init__(self, config: ConvolutionsConfig) -> None:
        super().__init__()
        self.config = config
        first, second, last = config.channels
        self.shrink = nn.Sequential(
            nn.Conv2d(3, first, kernel_size=4, stride=4),
            nn.GELU(),
            *_layer(first, second, stride=2),
            *_layer(second, last, stride=2),
        )
        self.block = nn.Sequential(*_layer(last, last), nn.Conv2d(last, last, kernel_size=3, padding=1))
        self.register_buffer("_place", torch.zeros(()), persistent=False)  # where it is

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self._place.device

    def preprocess(self, images: UInt8[Tensor, "B h w 3"]) -> Float[Tensor, "B 3 S S"]:
        """See `world_model.base.Encoder.preprocess`. Pixels are in [-1, 1]."""
        half = (0.5, 0.5, 0.5)
        return to_pixels(images.to(self.device), self.config.image_size, half, half)

    def forward(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B N D"]:
        """Returns an image's tokens, row by row.

        Raises:
            ValueError: If the images are not the configured size.
        """
        self.check_size(pixels)
        dtype = next(self.parameters()).dtype
        x = self.shrink(pixels.to(dtype).contiguous(memory_format=torch.channels_last))
        return (x + self.block(x)).flatten(2).transpose(1, 2)  # (B, N, D)

    def restore(self, predicted: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Returns predicted tokens as they are: its own are not normed."""
        return predicted

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """See `StoredEncoder.save`."""
        write_weights(folder / WEIGHTS, self.state_dict(), dtype)

    @classmethod
    def load(cls, files: CheckpointFiles, settings: Mapping[str, Any], dtype: torch.dtype) -> Self:
        """See `StoredEncoder.load`."""
        encoder = cls(load_config(ConvolutionsConfig, settings))
        files.fill(encoder, f"encoder/{WEIGHTS}", dtype)
        return encoder


def _layer(given: int, made: int, stride: int = 1) -> list[nn.Module]:
    """Returns a 3 x 3 convolution, its norm and its nonlinearity."""
    return [
        nn.Conv2d(given, made, kernel_size=3, stride=stride, padding=1),
        nn.GroupNorm(GROUPS, made),
        nn.GELU(),
    ]
