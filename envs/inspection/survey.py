"""What a folder of recordings holds, whoever made it: every numeric key and every camera, without a Reading."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float64

from envs.episodes import DatasetError
from envs.episodes.files import walk_folders
from envs.episodes.formats.hdf5 import image_size, open_hdf5
from envs.episodes.formats.lerobot_film import TableFilm
from envs.episodes.formats.lerobot_layout import INFO_FILE, read_table
from envs.episodes.formats.lerobot_rows import read_numbers
from envs.episodes.video import read_header

WIDEST = 64  # numbers a frame; anything wider is no pose
NEVER_POSES = ("index", "frame_index", "episode_index", "task_index")


@dataclass(frozen=True, eq=False)
class Column:
    """One numeric key.

    Attributes:
        key: Its name.
        names: What each of its numbers is called, if that is written anywhere.
        recordings: Its values in each recording that was looked at, (T, d).
    """

    key: str
    names: tuple[str, ...]
    recordings: tuple[Float64[np.ndarray, "T d"], ...]

    @property
    def values(self) -> Float64[np.ndarray, "n d"]:
        """All its values, one row a frame."""
        return np.concatenate(self.recordings)

    @property
    def size(self) -> int:
        """Numbers a frame."""
        return self.recordings[0].shape[1]

    def part(self, indices: Sequence[int]) -> Column:
        """Returns some of its numbers as a column, each with a name."""
        names = tuple(self.names[i] if self.names else f"joint_{i}" for i in indices)
        return Column(self.key, names, tuple(values[:, list(indices)] for values in self.recordings))


@dataclass(frozen=True)
class Camera:
    """One camera.

    Attributes:
        key: Its name.
        size: Height and width [pixels].
        rate: Frames a second that the first video's header states [Hz]; None for images that are no video.
        frames: Frames of that first video, or of the first recording.
    """

    key: str
    size: tuple[int, int]
    rate: float | None
    frames: int


@dataclass(frozen=True, eq=False)
class Survey:
    """What is in a folder.

    Attributes:
        folder: Where.
        files: How many files there are of each kind, by the end of their names.
        stated: meta/info.json, where there is one.
        looked_at: Names of the recordings that the columns are from.
        columns: By key.
        cameras: By key.
        unreadable: Files that could not be read, and why.
    """

    folder: Path
    files: Mapping[str, int]
    stated: Mapping[str, Any]
    looked_at: tuple[str, ...]
    columns: Mapping[str, Column]
    cameras: Mapping[str, Camera]
    unreadable: tuple[str, ...]


_Content = Iterator[tuple[str, dict[str, np.ndarray]]]  # name of a recording in a file, its values by key


@dataclass
class _Found:
    """What is collected on the way: values of each key in each recording, cameras, failures."""

    recordings: list[tuple[str, dict[str, np.ndarray]]] = field(default_factory=list)
    cameras: dict[str, Camera] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)


def survey(folder: Path, recordings: int = 8) -> Survey:
    """Returns what is in a folder, after looking at some of its recordings, spread over all.

    Args:
        folder: Where to look; a single file is looked at alone.
        recordings: How many to look at.

    Raises:
        DatasetError: If there is no such folder, or nothing that could be a recording in it.
        ImportError: If what reads its files is missing.
    """
    paths = list_files(folder)
    folder = folder.parent if folder.is_file() else folder
    tables = [path for path in paths if path.suffix == ".parquet" and "meta" not in path.relative_to(folder).parts]
    archives = [path for path in paths if path.suffix in {".h5", ".hdf5"}]
    files = Counter(path.suffix or path.name for path in paths)
    if not tables and not archives:
        raise DatasetError(
            f"{folder} holds no recordings known here (parquet, .h5, .hdf5); there are {dict(files) or 'no files'}. "
            "A format of your own is named: --reading mine.py:MyFormat"
        )
    stated, found = _read_info(folder), _Found()
    for path in spread(tables, recordings):
        _collect(found, path.relative_to(folder).as_posix(), _read_parquet(path), recordings)
    for path in spread(archives, recordings):
        _collect(found, path.relative_to(folder).as_posix(), _read_hdf5(path, found.cameras), recordings)
    _probe_videos(found, folder, [path for path in paths if path.suffix == ".mp4"], stated)
    _probe_tables(found, folder, tables, stated)
    looked_at = spread(found.recordings, recordings)
    columns = _join([values for _, values in looked_at], stated)
    names = tuple(name for name, _ in looked_at)
    return Survey(folder, files, stated, names, columns, found.cameras, tuple(found.unreadable))


def list_files(folder: Path) -> list[Path]:
    """Returns all files of a folder but hidden ones, or the file itself, which robomimic's recordings are."""
    if not folder.exists():
        raise DatasetError(f"there is no folder {folder}")
    if folder.is_file():
        return [folder]
    return sorted(
        path for place, _, names in walk_folders(folder) for name in names if (path := place / name).is_file()
    )


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """Returns `count` of the items, evenly spread from the first to the last, or all."""
    if len(items) <= count:
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, count)]


def _read_info(folder: Path) -> dict[str, Any]:
    """Returns LeRobot's meta/info.json, or nothing if there is none that can be read; opening says what is wrong."""
    path = folder / INFO_FILE
    try:
        info = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError:
        return {}
    return info if isinstance(info, dict) else {}


def _collect(found: _Found, name: str, content: _Content, recordings: int) -> None:
    """Adds the recordings of one file, at most so many of it."""
    try:
        inside = dict(content)
    except DatasetError as error:
        found.unreadable.append(str(error))
        return
    chosen = spread(list(inside), recordings)
    found.recordings += [(f"{name} {part}".strip(), inside[part]) for part in chosen]


def _read_parquet(path: Path) -> _Content:
    """Yields the name and the numeric columns of each episode in a parquet file."""
    table = read_table(path, (), without=lambda field: pa.types.is_struct(field.type) or _is_bytes(field.type))
    columns = {name: _numbers(table[name]) for name in table.column_names}
    numeric = {name: values for name, values in columns.items() if values is not None}
    if "episode_index" not in numeric:
        yield "", numeric
        return
    episodes = numeric["episode_index"][:, 0]
    for episode in np.unique(episodes):
        rows = episodes == episode
        yield f"episode {episode:g}", {name: values[rows] for name, values in numeric.items()}


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _numbers(column: pa.ChunkedArray) -> np.ndarray | None:
    """Returns a column as (n, d) float64, or None if it holds anything but equally many numbers a row."""
    values, rows = column.combine_chunks(), len(column)
    while (
        pa.types.is_list(values.type) or pa.types.is_large_list(values.type) or pa.types.is_fixed_size_list(values.type)
    ):
        values = values.flatten()
    kind = values.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return None
    if rows == 0 or len(values) % rows:
        return None
    numbers = values.to_numpy(zero_copy_only=False).astype(np.float64).reshape(rows, -1)
    return numbers if numbers.shape[1] <= WIDEST else None


def _read_hdf5(path: Path, cameras: dict[str, Camera]) -> _Content:
    """Yields the name and the numeric datasets of each recording in an HDF5 file: its demos, or the file itself."""
    with open_hdf5(path) as file:
        groups = file["data"] if "data" in file and hasattr(file["data"], "visititems") else {"": file}
        for name, group in groups.items():
            if not hasattr(group, "visititems"):
                continue
            values: dict[str, np.ndarray] = {}
            group.visititems(lambda key, item, into=values: _take(key, item, into, cameras))
            yield name, values


def _take(key: str, item: Any, values: dict[str, np.ndarray], cameras: dict[str, Camera]) -> None:
    """Adds one HDF5 dataset: numbers a frame to the values, images to the cameras."""
    shape, kind = getattr(item, "shape", None), getattr(item, "dtype", None)
    if not shape or kind is None or kind.kind not in "biuf":
        return
    size = image_size(item)
    if size is not None:
        cameras.setdefault(key, Camera(key, size, None, shape[0]))
    elif 0 < int(np.prod(shape[1:])) <= WIDEST and shape[0] > 0:
        values[key] = np.asarray(item, np.float64).reshape(shape[0], -1)


def _probe_videos(found: _Found, folder: Path, paths: list[Path], stated: Mapping[str, Any]) -> None:
    """Adds what the header of each camera's first video says."""
    features = stated.get("features")
    known = set(features) if isinstance(features, dict) else set()
    for path in paths:
        parts = path.relative_to(folder).parts
        key = next((part for part in parts if part in known), path.stem)
        if key not in found.cameras and len(found.cameras) < 20:
            try:
                header = read_header(path)
                found.cameras[key] = Camera(key, (header.height, header.width), header.rate, header.frames)
            except DatasetError as error:
                found.unreadable.append(str(error))


def _probe_tables(found: _Found, folder: Path, tables: list[Path], stated: Mapping[str, Any]) -> None:
    """Adds the cameras whose images are in LeRobot's tables, as large as the first image of the first table."""
    features = stated.get("features")
    described = features.items() if isinstance(features, dict) else ()
    keys = [key for key, feature in described if isinstance(feature, dict) and feature.get("dtype") == "image"]
    for path in tables[:1] if keys else []:
        try:
            rows = np.arange(len(read_numbers(path)))
            for key in keys:
                seen = TableFilm(folder, path, key, 0.0).footage(rows)
                found.cameras[key] = Camera(key, (seen.height, seen.width), None, seen.frames)
        except DatasetError as error:
            found.unreadable.append(str(error))


def _join(recordings: list[dict[str, np.ndarray]], stated: Mapping[str, Any]) -> dict[str, Column]:
    """Returns the columns that any recording has, in the order they come."""
    features = stated.get("features")
    features = features if isinstance(features, dict) else {}
    columns = {}
    for key in dict.fromkeys(key for values in recordings for key in values):
        parts = [values[key] for values in recordings if key in values]
        alike = tuple(part for part in parts if part.shape[1] == parts[0].shape[1])
        names = _flat_names(features[key].get("names")) if isinstance(features.get(key), dict) else ()
        columns[key] = Column(key, names if len(names) == parts[0].shape[1] else (), alike)
    return columns


def _flat_names(names: Any) -> tuple[str, ...]:
    """Returns the names of a LeRobot feature's numbers, which come as a list or as lists under a heading."""
    if isinstance(names, dict):
        return tuple(str(name) for part in names.values() if isinstance(part, list) for name in part)
    return tuple(str(name) for name in names) if isinstance(names, list) else ()
