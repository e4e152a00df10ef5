"""Photographs from files: every kind of PNG and JPEG as 8-bit RGB where that is certain, one clear error where not."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

logger = logging.getLogger(__name__)

_FORMATS = ("PNG", "JPEG")  # and with the latter JPEGs that hold further pictures, as phones write them
_SIGNATURES = {b"ftypheic": "HEIC", b"ftypheix": "HEIC", b"ftypmif1": "HEIC", b"ftypavif": "AVIF"}
_DARK = 16  # of 255: no brighter pixel in 16 bits a channel, so the numbers have 12 bits or fewer


def read_picture(path: Path) -> tuple[UInt8[np.ndarray, "h w 3"], dict[Any, Any]]:
    """Returns the picture in a PNG or JPEG file, turned upright as its camera noted, and what else the file tells.

    Grey becomes RGB with a remark, 16 bits become 8, palettes their colours, colours of another profile sRGB.

    Raises:
        ValueError: If there is no such file, it is damaged, or how it looks in RGB is not certain.
    """
    if not path.is_file():
        raise ValueError(f"there is no picture {path}; name a PNG or JPEG file")
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            deep = ";16" in str(picture.tile)  # "RGB;16B"
            info = dict(picture.info)
            _check_kind(path, picture)
            image = _to_rgb(path, ImageOps.exif_transpose(picture))
    except UnidentifiedImageError as error:
        raise ValueError(_name_kind(path)) from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no whole PNG or JPEG picture: {error}") from error
    if deep and image.max() <= _DARK:
        raise ValueError(
            f"{path} has 16 bits a channel and its brightest pixel is {image.max()} of 255: it seems to hold numbers "
            "of fewer bits, or depths. Save it with 8 bits a channel as it should look"
        )
    return image, info


def _check_kind(path: Path, picture: Image.Image) -> None:
    """Raises ValueError if a file holds several pictures, or colours of print."""
    if picture.format == "PNG" and getattr(picture, "n_frames", 1) > 1:
        raise ValueError(f"{path} is an animation: save one of its pictures as PNG")
    if picture.mode not in {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "I", "I;16", "I;16B"}:
        raise ValueError(f"{path} has the colours {picture.mode}, of print: save it as RGB")


def _to_rgb(path: Path, picture: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """Returns a picture's pixels."""
    if picture.mode in {"1", "L", "LA", "I", "I;16", "I;16B"}:
        logger.warning("%s is grey: a camera of colours sees it otherwise", path)
    if picture.mode.startswith("I"):
        levels = np.asarray(picture, dtype=np.int64)
        if not 0 <= levels.min() <= levels.max() <= 65535:
            raise ValueError(f"{path} has grey levels from {levels.min()} to {levels.max()}: save it with 8 bits")
        return np.repeat(((levels + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)  # 65535 is white
    if "A" in picture.mode or "transparency" in picture.info:
        pixels = np.asarray(picture.convert("RGBA"))
        if pixels[..., 3].min() < 255:
            raise ValueError(f"{path} is transparent in places: save it without an alpha channel")
        return pixels[..., :3].copy()
    return np.asarray(_to_srgb(path, picture.convert("RGB")))


def _to_srgb(path: Path, picture: Image.Image) -> Image.Image:
    """Returns a picture with the colours that its profile means, those of phones for example, as cameras give them."""
    profile = picture.info.get("icc_profile")
    if not profile:
        return picture
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(given).lower():
            return picture
        changed = ImageCms.profileToProfile(picture, given, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError):
        logger.warning("%s: its colour profile can't be used, it is taken for sRGB", path)
        return picture
    return changed or picture


def _name_kind(path: Path) -> str:
    """Returns what a file is that is neither PNG nor JPEG."""
    with path.open("rb") as file:
        kind = _SIGNATURES.get(file.read(12)[4:])
    if kind is None:
        try:
            with Image.open(path) as picture:
                kind = picture.format
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return f"{path} is no whole PNG or JPEG picture: nothing in it says what it is"
    return f"{path} is a {kind} file: save the picture as PNG or JPEG"
