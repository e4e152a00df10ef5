"""Pictures that say what of a goal image counts."""

from __future__ import annotations

from math import isqrt
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError


def read_mask(path: Path) -> Float[np.ndarray, "side side"]:
    """Returns the central square of a picture as grey levels, 0 black to 1 white: what an encoder sees of it.

    Raises:
        ValueError: If there is no such file, it is not an 8-bit picture or the square is all black.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):
                raise ValueError(f"the mask {path} must have 8 bits a channel, it is of Pillow's mode {picture.mode}")
            levels = np.asarray(picture.convert("L"), dtype=np.float64) / 255.0
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f"there is no mask {path}") from None
    except UnidentifiedImageError:
        raise ValueError(f"the mask {path} is not a picture that Pillow can read") from None
    side = min(levels.shape)
    top, left = ((length - side) // 2 for length in levels.shape)
    square = levels[top : top + side, left : left + side]
    if not square.any():
        raise ValueError(f"the central square of the mask {path} is all black: nothing of the goal would count")
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
