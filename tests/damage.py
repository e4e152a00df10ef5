"""What can break in files: each damage is done to a path and returns the path that the error should name.

`to`, `film`, `column`, `numbers`, `info` and `other` make cases of them, which are given a folder of recordings.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from envs.episodes.video import encode_frames
from tests.recordings import LOSSLESS, trajectories


def one(folder: Path, pattern: str) -> Path:
    return sorted(folder.rglob(pattern))[0]


def truncate(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def cut_off(count: int) -> Callable[[Path], Path]:
    """Damage that takes so many bytes off the end."""

    def apply(path: Path) -> Path:
        path.write_bytes(path.read_bytes()[:-count])
        return path

    return apply


def garble(path: Path) -> Path:
    path.write_bytes(np.random.default_rng(0).bytes(2000))
    return path


def flip(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)
    return path


def delete(path: Path) -> Path:
    path.unlink()
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def to(pattern: str, damage: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """A case: does damage to the first file of a pattern."""
    return lambda folder: damage(one(folder, pattern))


def text(change: Callable[[str], str]) -> Callable[[Path], Path]:
    """Damage to a text file."""

    def apply(path: Path) -> Path:
        path.write_text(change(path.read_text()))
        return path

    return apply


def without_trajectories(folder: Path) -> Path:
    """A case: DROID without its HDF5 files."""
    for path in folder.rglob("trajectory.h5"):
        path.unlink()
    return folder


def film(frames: int, size: tuple[int, int] | None = None) -> Callable[[Path], Path]:
    """A case: the first video has other frames."""

    def change(folder: Path) -> Path:
        path = one(folder, "*.mp4")
        images = np.concatenate([seen.images for seen in trajectories()])[:frames]
        height, width = size or images.shape[1:3]
        path.write_bytes(encode_frames(images[:, :height, :width], 15.0, LOSSLESS))
        return path

    return change


def column(key: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Path], Path]:
    """A case: a column of the first data file, (n, d), becomes another, or goes."""

    def apply(folder: Path) -> Path:
        path = one(folder, "data/**/*.parquet")
        table = pq.read_table(path)
        values = np.array(table[key].to_pylist(), float).reshape(len(table), -1)
        place, changed = table.column_names.index(key), change(values)
        rest = table.remove_column(place)
        if changed is not None:
            new = pa.array(changed.tolist() if changed.shape[1] > 1 else changed[:, 0], from_pandas=False)
            rest = rest.slice(0, len(changed)).add_column(place, key, new)
        pq.write_table(rest, path)
        return path

    return apply


def set_row(row: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: np.where(np.arange(len(values))[:, None] == row, value, values)


def swap_rows(values: np.ndarray) -> np.ndarray:
    values[[4, 5]] = values[[5, 4]]
    return values


def repeat_row(values: np.ndarray) -> np.ndarray:
    values[5] = values[4]
    return values


def numbers(path: str, key: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Path], Path]:
    """A case: a dataset of the first HDF5 file of a pattern becomes another, or goes."""

    def apply(folder: Path) -> Path:
        file = one(folder, path)
        with h5py.File(file, "r+") as content:
            changed = change(np.asarray(content[key]))
            del content[key]
            if changed is not None:
                content[key] = changed
        return file

    return apply


def info(**changes: object) -> Callable[[Path], Path]:
    """A case: meta/info.json has other values; None takes one out."""

    def apply(folder: Path) -> Path:
        path = folder / "meta/info.json"
        values = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))
        return path

    return apply


def other(change: Callable[[Path], Path], named: str) -> Callable[[Path], Path]:
    """A case whose error names another file than the one that was changed."""

    def apply(folder: Path) -> Path:
        change(folder)
        return Path(named)

    return apply
