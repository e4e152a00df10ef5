"""LeRobot datasets, v3.0 or v2.1, of anybody: videos and columns as they were recorded."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int, UInt8

from envs.episodes import lerobot_layout as layout
from envs.episodes.columns import Columns
from envs.episodes.episode import DatasetError
from envs.episodes.frames import check_even
from envs.episodes.lerobot_index import EpisodePlace, choose_camera, image_size, read_info, read_places
from envs.episodes.recordings import Contents, Rows, first_extrinsics
from envs.episodes.video import Footage, decode_batches, read_header

_COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True, eq=False)
class LeRobotRecordings:
    """A LeRobot dataset through one of its cameras; an `envs.episodes.recordings.Recordings`.

    Attributes:
        root: Its folder.
        rate: Frames a second [Hz].
        places: Where each episode lies.
        extrinsics: Key of the camera's pose, if it has one.
    """

    root: Path
    rate: float
    places: tuple[EpisodePlace, ...]
    extrinsics: str | None = None
    spare_rows: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """See `Recordings.names`."""
        return tuple(place.name(self.root, number) for number, place in enumerate(self.places))

    def read(self, episode: int, keys: tuple[str, ...]) -> Rows:
        """See `Recordings.read`. The times are checked to be evenly spaced and are then taken as exactly so."""
        place = self.places[episode]
        wanted = keys if self.extrinsics is None else (*keys, self.extrinsics)
        stamp = place.data_file.stat().st_mtime_ns if place.data_file.is_file() else 0
        table = _read_columns(place.data_file, stamp, tuple(sorted({*wanted, "episode_index", "timestamp"})))
        rows = table["episode_index"][:, 0] == episode
        if rows.sum() != place.length:
            raise DatasetError(
                f"{place.data_file} has {rows.sum()} rows of episode {episode}, the index in meta says {place.length}"
            )
        check_even(table["timestamp"][rows, 0], self.rate, "timestamp")
        columns = {key: table[key][rows] for key in keys}
        return Rows(
            np.arange(place.length) / self.rate, columns, place.task, place.seed, self._extra(table, rows, place)
        )

    def _extra(self, table: Columns, rows: np.ndarray, place: EpisodePlace) -> dict[str, Any]:
        """Returns what the recorder added, and where the camera stood at the first frame."""
        if self.extrinsics is None:
            return place.extra
        return {**place.extra, "camera_extrinsics": first_extrinsics(self.extrinsics, table[self.extrinsics][rows])}

    def footage(self, episode: int) -> Footage:
        """See `Recordings.footage`. Of a video that several episodes share, as much as is this one's."""
        place = self.places[episode]
        header = read_header(place.video_file)
        if not place.shared:
            return header
        left = max(0, header.frames - place.first_frame(self.rate))
        return Footage(min(left, place.length), header.height, header.width, header.rate)

    def images(self, episode: int, frames: Int[np.ndarray, "n"]) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """See `Recordings.images`. The video must show each frame when the columns say that it was taken."""
        place = self.places[episode]
        first, done = place.first_frame(self.rate), 0
        for images, shown in decode_batches(place.video_file, (first + frames).tolist()):
            times = place.start + frames[done : done + len(images)] / self.rate
            bad = np.flatnonzero(np.abs(shown - times) * self.rate > 0.5)
            if len(bad):
                raise DatasetError(
                    f"{place.video_file} shows frame {first + frames[done + bad[0]]} at {shown[bad[0]]:.4f} s, the "
                    f"columns say {times[bad[0]]:.4f} s: the video has another rate than {self.rate:g} Hz"
                )
            done += len(images)
            yield images

    def file_sizes(self, episode: int) -> Mapping[str, int]:
        """See `Recordings.file_sizes`."""
        video = self.places[episode].video_file
        return {video.relative_to(self.root).as_posix(): video.stat().st_size}


def open_lerobot(root: Path, camera: str | None, extrinsics: str | None = None) -> LeRobotRecordings:
    """Returns a LeRobot dataset through one of its cameras.

    Raises:
        DatasetError: If its index is broken or the camera is not there.
    """
    info = read_info(root)
    places = read_places(root, info, choose_camera(root, info, camera))
    return LeRobotRecordings(root, float(info["fps"]), places, extrinsics)


def describe_lerobot(root: Path, name: str) -> Contents:
    """Returns what meta/info.json says that there is, in the format of a name.

    Raises:
        DatasetError: If it is missing or incomplete.
    """
    info = read_info(root)
    features: dict[str, dict[str, Any]] = info["features"]
    cameras = {key: image_size(feature) for key, feature in features.items() if feature["dtype"] == "video"}
    numbers = {
        key: feature for key, feature in features.items()
        if feature["dtype"] not in ("video", "image", "string") and key not in _COUNTERS
    }  # fmt: skip
    columns = {key: _names_of(feature) for key, feature in numbers.items()}
    return Contents(name, info["total_episodes"], float(info["fps"]), cameras, columns)


def _names_of(feature: dict[str, Any]) -> tuple[str, ...]:
    """Returns what the numbers of a feature are called; LeRobot has lists and, older, mappings to lists."""
    names, size = feature.get("names"), int(np.prod(feature["shape"]))
    if isinstance(names, dict):
        names = next(iter(names.values())) if len(names) == 1 else list(names)
    if isinstance(names, list) and len(names) == size:
        return tuple(map(str, names))
    return tuple(map(str, range(size)))


@functools.lru_cache(maxsize=8)
def _read_columns(path: Path, stamp: int, keys: tuple[str, ...]) -> dict[str, Float64[np.ndarray, "n D"]]:
    """Returns columns of a data file; ``stamp`` tells versions of it apart."""
    table = layout.read_table(path, keys, others=False)
    return {key: _numbers(path, key, table[key]) for key in keys}


def _numbers(path: Path, key: str, column: pa.ChunkedArray) -> Float64[np.ndarray, "n D"]:
    """Returns a column of numbers or of equally long lists of them; what is not there is NaN."""
    width, values = 1, column.combine_chunks()
    while (
        pa.types.is_list(values.type) or pa.types.is_large_list(values.type) or pa.types.is_fixed_size_list(values.type)
    ):
        lengths = set(values.value_lengths().to_pylist())
        if len(lengths) > 1 or None in lengths:
            raise DatasetError(f"{path}: {key!r} has rows of {sorted(map(str, lengths))} numbers, they should be alike")
        width, values = width * lengths.pop(), values.flatten()
    try:
        numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise DatasetError(f"{path}: {key!r} is {column.type}, not numbers") from error
    return numbers.reshape(len(column), width)
