"""The shape of a convolutional encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

STRIDE = 16  # pixels between two tokens: the first layer's 4, then 2 and 2
GROUPS = 8


@dataclass(frozen=True)
class ConvolutionsConfig:
    """The shape of a `ConvolutionalEncoder`.

    Attributes:
        kind: "convolutions".
        image_size: Side of the square input [pixels], a multiple of 16.
        channels: After each of the three layers that shrink the image by 4, 2 and 2; the last are the tokens' width, D.

    Raises:
        ValueError: If the tokens do not fill the image or a number of channels is no multiple of 8.
    """

    makes: ClassVar = "world_model.encoders.convolutions:ConvolutionalEncoder"
    kind: Literal["convolutions"] = "convolutions"
    image_size: int = 128
    channels: tuple[int, int, int] = (32, 64, 96)

    def __post_init__(self) -> None:
        if self.image_size < STRIDE or self.image_size % STRIDE:
            raise ValueError(f"image_size must be a positive multiple of {STRIDE}, got {self.image_size}")
        if any(each < 1 or each % GROUPS for each in self.channels):
            raise ValueError(f"channels must be positive multiples of {GROUPS}, got {self.channels}")

    @property
    def grid(self) -> int:
        """Tokens along a side."""
        return self.image_size // STRIDE

    @property
    def width(self) -> int:
        """Width of the tokens, D."""
        return self.channels[-1]
