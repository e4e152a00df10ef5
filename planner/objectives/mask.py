"""Pictures that say what of a goal image counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError

from world_model.encoders.mask import central_square


def read_mask(path: Path) -> Float[np.ndarray, "side side"]:
    """Returns the central square of a picture as grey levels, 0 black to 1 white: what an encoder sees of it.

    Raises:
        ValueError: If there is no such file, it is not an 8-bit picture or the square is all black.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):
                raise ValueError(f"the mask {path} must have 8 bits a channel, it is of Pillow's mode {picture.mode}")
            levels = np.asarray(picture.convert("L"))
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f"there is no mask {path}") from None
    except UnidentifiedImageError:
        raise ValueError(f"the mask {path} is not a picture that Pillow can read") from None
    return central_square(levels, f"the mask {path}")
