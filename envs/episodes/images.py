"""Recorded frames into the images that are handed out: cropped, resized, the right way up."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from envs.episodes.reading import Reading

_SQUASH = 1.35  # width over height of what the official recipe squeezes to a square; taller than 4:3 stays whole
_STRETCH = 0.75


def prepare_images(images: UInt8[np.ndarray, "n h w 3"], reading: Reading) -> UInt8[np.ndarray, "n H W 3"]:
    """Returns images as a Reading wants them.

    Resized as `world_model.encoders.vjepa2.Encoder.preprocess` does it, bilinearly without antialias, and rounded.
    """
    if reading.flip == "vertical":
        images = images[:, ::-1]
    top, left, height, width = _crop_box(images.shape[1], images.shape[2], reading)
    images = images[:, top : top + height, left : left + width]
    side = prepared_shape(images.shape[1:3], reading)[:2]
    if images.shape[1:3] == side:
        return np.ascontiguousarray(images)
    import torch
    from torch.nn import functional

    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float()  # (n, 3, h, w)
    resized = functional.interpolate(pixels, side, mode="bilinear", align_corners=False, antialias=False)
    return np.ascontiguousarray(resized.round().clamp(0, 255).byte().numpy().transpose(0, 2, 3, 1))


def prepared_shape(size: tuple[int, int], reading: Reading) -> tuple[int, int, int]:
    """Returns the shape (H, W, 3) that recorded images of a size (h, w) get."""
    _, _, height, width = _crop_box(*size, reading)
    if reading.crop == "none":
        return height, width, 3
    side = reading.image_size or min(height, width)
    return side, side, 3


def _crop_box(height: int, width: int, reading: Reading) -> tuple[int, int, int, int]:
    """Returns top, left, height and width of what is kept."""
    if reading.crop == "none":
        return 0, 0, height, width
    if reading.crop == "square":
        rows = columns = min(height, width)
    else:
        rows, columns = min(height, round(width / _STRETCH)), min(width, round(height * _SQUASH))
    return (height - rows) // 2, (width - columns) // 2, rows, columns
