"""HDF5 files through h5py, which is imported when the first one is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from envs.episodes.episode import DatasetError
from envs.episodes.files import suspect


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Yields an HDF5 file, open for reading; what fails while reading it is a DatasetError that names it.

    Raises:
        ImportError: If h5py is missing, with what to install.
        DatasetError: If the file is missing, damaged or breaks off.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError("DROID and robomimic recordings need h5py: pip install -e '.[data]'") from error

    if not path.is_file():
        raise DatasetError(f"{path} is missing; copy the recording again, or leave it out")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except DatasetError:
        raise
    except (OSError, RuntimeError) as error:
        raise DatasetError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as HDF5, {suspect(path)}: {error}"
        ) from error


def read_numbers(path: Path, group: Any, key: str) -> Float64[np.ndarray, "T D"]:
    """Returns a dataset of a file or group as a row a frame.

    Args:
        path: The file, for errors.
        group: Of h5py.
        key: Of the dataset, relative to the group.

    Raises:
        DatasetError: If it is not there or not one or several numbers a frame.
    """
    if key not in group or not hasattr(group[key], "shape"):
        raise DatasetError(f"{path} lacks {key!r}; it has {list(find_numbers(group))}")
    found = group[key]
    if found.ndim not in (1, 2) or found.dtype.kind not in "fiub":
        raise DatasetError(f"{path}: {key!r} should be numbers a frame, it is {found.shape} {found.dtype}")
    return np.asarray(found, np.float64).reshape(len(found), 1 if found.ndim == 1 else found.shape[1])


def find_numbers(group: Any) -> dict[str, int]:
    """Returns the datasets with one or several numbers a frame, by key relative to the group, and how many."""
    found: dict[str, int] = {}

    def visit(key: str, item: Any) -> None:
        if hasattr(item, "shape") and item.ndim in (1, 2) and item.dtype.kind in "fiub":
            found[key] = 1 if item.ndim == 1 else item.shape[1]

    group.visititems(visit)
    return found


def image_size(item: Any) -> tuple[int, int] | None:
    """Returns height and width of a dataset's images, (T, h, w, c) or (T, c, h, w) of 3 or 4 channels, or None."""
    if getattr(item, "ndim", 0) != 4 or item.dtype.kind not in "uif":
        return None
    if item.shape[-1] in (3, 4):
        return item.shape[1:3]
    return item.shape[2:4] if item.shape[1] in (3, 4) else None


def read_images(item: Any, first: int, end: int, what: str) -> UInt8[np.ndarray, "n h w 3"]:
    """Returns images of a dataset from one frame on to another: RGB of RGBA too, numbers in 0..1 made 0..255.

    Args:
        item: Of h5py.
        first: Index of the first frame.
        end: Of the one after the last.
        what: Whose images they are, for errors.

    Raises:
        DatasetError: If they are no images, or their numbers mean something else.
    """
    if image_size(item) is None:
        raise DatasetError(
            f"{what} should be images (T, height, width, 3) or (T, 3, height, width), of 3 or 4 channels, it is "
            f"{item.shape} {item.dtype}"
        )
    if item.dtype != np.uint8 and item.dtype.kind != "f":
        raise DatasetError(
            f"{what} are images of {item.dtype}, uint8 is read: which brightness is white is not known; divide them to "
            "0..255 and write them as uint8"
        )
    images = np.asarray(item[first:end])
    images = images if item.shape[-1] in (3, 4) else images.transpose(0, 2, 3, 1)
    images = images[..., :3]
    if images.dtype == np.uint8:
        return images
    if images.size and not (images.min() >= 0 and images.max() <= 1):
        raise DatasetError(
            f"{what} are images of {images.dtype} from {images.min():g} to {images.max():g}, 0..1 is read: scale them "
            "to 0..255 and write them as uint8"
        )
    return np.round(images * 255).astype(np.uint8)
