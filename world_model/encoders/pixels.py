"""Camera images into the pixels that encoders take."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
"""Of the colours of ImageNet, 0..1: what V-JEPA 2 was trained with."""

_AT_ONCE = 16  # images: more do not stay in a processor's cache, which takes twice as long


def to_pixels(
    images: UInt8[Tensor, "B h w 3"],
    size: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "B 3 S S"]:
    """Returns normalised pixels: centre square crop, bilinear resize without antialias, mean and std of each colour.

    V-JEPA 2-AC's official inference transform; transformers' video processor does something else.

    Args:
        images: RGB.
        size: Side of the result, S [pixels].
        mean: Of each colour, 0..1.
        std: Of each colour.
        dtype: To compute in.

    Raises:
        ValueError: If the images are not (B, h, w, 3) uint8.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != torch.uint8:
        raise ValueError(f"images must be (B, h, w, 3) uint8 RGB, got {tuple(images.shape)} {images.dtype}")
    square = middle_square(images).permute(0, 3, 1, 2)  # (B, 3, side, side)
    pixels = torch.empty(
        (len(images), 3, size, size), dtype=dtype, device=images.device, memory_format=torch.channels_last
    )
    middle, spread = (pixels.new_tensor(values)[:, None, None] for values in (mean, std))
    for part, made in zip(square.split(_AT_ONCE), pixels.split(_AT_ONCE), strict=True):
        scaled = part.to(dtype).div_(255.0)
        if scaled.shape[-1] != size:
            scaled = functional.interpolate(scaled, (size, size), mode="bilinear", align_corners=False, antialias=False)
        made.copy_(scaled.sub_(middle).div_(spread))
    return pixels


def shrink(images: UInt8[Tensor, "B h w 3"], size: int) -> UInt8[Tensor, "B S S 3"]:
    """Returns what an encoder of images of this size sees of them, to be kept instead of them.

    Pixels are rounded; images whose shorter side is not above `size` are only cut square: S is that side then.
    """
    square = middle_square(images)
    if square.shape[1] <= size:
        return square
    pixels = to_pixels(square, size, (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
    return pixels.round().to(torch.uint8).permute(0, 2, 3, 1)


def middle_square(images: UInt8[Tensor, "B h w 3"]) -> UInt8[Tensor, "B s s 3"]:
    """Returns the largest square in the middle of each image."""
    height, width = images.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, top : top + side, left : left + side]
