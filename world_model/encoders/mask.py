"""Which tokens of an image count, where some of its pixels do not."""

from __future__ import annotations

from math import isqrt

import numpy as np
from jaxtyping import Bool, Float, UInt8


def central_square(
    mask: UInt8[np.ndarray, "h w"] | Bool[np.ndarray, "h w"], name: str = "the goal's mask"
) -> Float[np.ndarray, "side side"]:
    """Returns what encoders see of a mask, see `world_model.encoders.pixels.to_pixels`: 0 counts not at all, 1 fully.

    Args:
        mask: Truth values, or grey levels from 0 to 255.
        name: What to call it in the error.

    Raises:
        ValueError: If nothing counts there.
    """
    levels = mask.astype(np.float64) / (255.0 if mask.dtype == np.uint8 else 1.0)
    side = min(levels.shape)
    top, left = ((length - side) // 2 for length in levels.shape)
    square = levels[top : top + side, left : left + side]
    if not square.any():
        raise ValueError(f"the central square of {name} is all black: nothing of the goal would count")
    return square


def average_over_patches(mask: Float[np.ndarray, "side side"], tokens: int) -> Float[np.ndarray, "rows columns"]:
    """Returns the mask averaged over each patch of a square grid; pixels on a border count by their area.

    Raises:
        ValueError: If so many tokens are no square grid.
    """
    grid = isqrt(tokens)
    if grid**2 != tokens:
        raise ValueError(f"a mask needs a square grid of tokens, got {tokens} tokens")
    edges, pixels = np.linspace(0, len(mask), grid + 1)[:, None], np.arange(len(mask))
    overlaps = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    shares = overlaps.clip(min=0) * grid / len(mask)  # (grid, side): of a row of patches, what each row of pixels is
    return shares @ mask @ shares.T
