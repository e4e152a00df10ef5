"""The images of an episode in a LeRobot dataset: in a video, or in the rows of its data file or beside it."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, UInt8
from PIL import Image

from envs.episodes.episode import DatasetError
from envs.episodes.files import read_once
from envs.episodes.formats.lerobot_index import EpisodePlace
from envs.episodes.formats.lerobot_layout import open_table
from envs.episodes.video import Footage, count_frames, decode_batches, decode_times, read_header

_BATCH = 32
_ON_TIME = 0.1  # frames: how far a frame that is found by its time may be from it
_EXACT = 0.03  # frames: and one whose time may be wrong
_DRIFT = 1.0  # what rounding may add up to over the episodes of a video [s]
_NEAR = 0.5  # frames: and one that is found by its number, so that a video at another rate is noticed
_COLOURS = ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
"""Pillow's modes that lose nothing but transparency as 8-bit RGB."""


class Film(Protocol):
    """Images of an episode, whatever they are in."""

    def footage(self, rows: Int[np.ndarray, "T"]) -> Footage:
        """Returns what there is to see; of what other episodes share no more than as many frames as there are rows."""
        ...

    def images(
        self, rows: Int[np.ndarray, "T"], frames: Int[np.ndarray, "n"]
    ) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """Yields chosen frames, some at a time; raises DatasetError naming the file at fault."""
        ...


@dataclass(frozen=True)
class VideoFilm:
    """A video, or a part of one; a `Film`.

    Attributes:
        place: Of the episode.
        rate: Frames a second [Hz].
    """

    place: EpisodePlace
    rate: float

    def footage(self, rows: Int[np.ndarray, "T"]) -> Footage:
        """See `Film.footage`. Frames are counted one by one where the header does not say what the rows do."""
        header = read_header(self.place.image_file)
        part = self._part(header.frames, len(rows))
        if part.frames != len(rows):
            part = self._part(count_frames(self.place.image_file), len(rows))
        return Footage(part.frames, header.height, header.width, header.rate)

    def images(
        self, rows: Int[np.ndarray, "T"], frames: Int[np.ndarray, "n"]
    ) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """See `Film.images`. The video must show each frame when the columns say that it was taken.

        Only a video of one episode that has a frame a row needs no clock: which frame is which row's is certain.
        """
        path = self.place.image_file
        part, done = self._part(count_frames(path), len(rows)), 0
        for images, shown in decode_batches(path, (part.first + frames).tolist()):
            times = part.start + frames[done : done + len(images)] / self.rate
            late = np.flatnonzero(np.abs(shown - times) * self.rate > part.tolerance)
            if len(late):
                told = (
                    f"frame {part.first + frames[done + late[0]]} at {shown[late[0]]:.4f} s",
                    f"{times[late[0]]:.4f} s",
                )
                times = self.place.start + frames[done:] / self.rate
                yield from self._by_time(times, min(part.tolerance, _ON_TIME), told)
                return
            done += len(images)
            yield images

    def _part(self, available: int, rows: int) -> _Part:
        """Returns which of a video's frames are this episode's.

        The times count at which episodes are said to begin; where those fall between frames and the video has as many
        frames as all its episodes, that these follow each other.
        """
        place, rate = self.place, self.rate
        if not place.shared:
            return _Part(0, 0.0, available, math.inf if available == rows else _NEAR)
        if not place.on_beat and available == place.together and abs(place.start - place.before / rate) < _DRIFT:
            return _Part(place.before, place.before / rate, place.length, _NEAR)
        first = place.first_frame(rate)
        meant = rows if place.end is None else round(place.end * rate) - first
        tolerance = _ON_TIME if place.on_beat else _EXACT
        return _Part(first, place.start, min(meant, max(0, available - first)), tolerance)

    def _by_time(
        self, times: Float[np.ndarray, "n"], tolerance: float, told: tuple[str, str]
    ) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """Yields the frames that are shown when the columns say, whatever their number: frames may be missing before.

        Raises:
            DatasetError: If there are none within the tolerance [frames]; with what was shown and said at the first.
        """
        for images, shown in decode_times(self.place.image_file, (times + 0.5 / self.rate).tolist()):
            if np.any(np.abs(shown - times[: len(images)]) * self.rate > tolerance):
                raise DatasetError(
                    f"{self.place.image_file} shows {told[0]}, the columns say {told[1]}: the video has another rate "
                    f"than {self.rate:g} Hz, or lacks frames"
                )
            times = times[len(images) :]
            yield images


@dataclass(frozen=True)
class _Part:
    """Some frames of a video: their first one's index and time [s], how many, and how far [frames] they may be off."""

    first: int
    start: float
    frames: int
    tolerance: float


@dataclass(frozen=True)
class TableFilm:
    """Images, PNG or JPEG, in the rows of a data file, or in files that the rows name; a `Film`.

    Attributes:
        root: Folder of the dataset.
        path: The data file.
        key: Of the camera, the column.
        rate: Frames a second [Hz].
    """

    root: Path
    path: Path
    key: str
    rate: float

    def footage(self, rows: Int[np.ndarray, "T"]) -> Footage:
        """See `Film.footage`. The first image tells their size."""
        first = next(self._values(rows[:1]), None)
        if first is None:
            raise DatasetError(f"{self.path} has no row of the episode")
        with self._open(*first) as image:
            return Footage(len(rows), image.height, image.width, self.rate)

    def images(
        self, rows: Int[np.ndarray, "T"], frames: Int[np.ndarray, "n"]
    ) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """See `Film.images`."""
        batch: list[np.ndarray] = []
        for row, value in self._values(rows[frames]):
            batch.append(self._decode(row, value))
            if batch[0].shape != batch[-1].shape:
                raise DatasetError(
                    f"{self.path}: {self.key!r} of row {row} is {batch[-1].shape}, of others {batch[0].shape}"
                )
            if len(batch) == _BATCH:
                yield np.stack(batch)
                batch = batch[:0]
        if batch:
            yield np.stack(batch)

    def _values(self, rows: Int[np.ndarray, "n"]) -> Iterator[tuple[int, Any]]:
        """Yields what chosen rows, ascending, have in the camera's column, reading only the groups that they are in."""
        start = 0
        for group, size in enumerate(_read_groups(self.path, self.key)):
            inside = rows[(start <= rows) & (rows < start + size)]
            if len(inside):
                column = _read_group(self.path, self.key, group).take(inside - start)
                yield from zip(inside.tolist(), column.to_pylist(), strict=True)
            start += size

    def _decode(self, row: int, value: Any) -> UInt8[np.ndarray, "h w 3"]:
        """Returns the image that a row has."""
        with self._open(row, value) as image:
            if image.mode not in _COLOURS:
                raise DatasetError(
                    f"{self._where(row)} is an image of mode {image.mode}, no 8-bit picture (depth?); choose another "
                    "camera"
                )
            try:
                return np.asarray(image.convert("RGB"))
            except (OSError, ValueError, SyntaxError) as error:
                raise DatasetError(f"{self._where(row)} is a broken image: {error}") from error

    def _open(self, row: int, value: Any) -> Image.Image:
        """Returns the image of a row, not decoded yet."""
        content, named = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if isinstance(content, str):
            content, named = None, content
        if not isinstance(content, bytes | None) or (content is None and not isinstance(named, str)):
            raise DatasetError(f"{self._where(row)} should be an image, or a path to one, it is {value!r:.60}")
        try:
            return Image.open(self._find(row, str(named)) if content is None else io.BytesIO(content))
        except OSError as error:
            raise DatasetError(f"{self._where(row)} is no image that can be read: {error}") from error

    def _find(self, row: int, named: str) -> Path:
        """Returns the file that a row names: where it says, or in the dataset's own folder of images."""
        inside = named.replace("\\", "/").rpartition("images/")[2]
        own = (Path(named),) if Path(named).is_absolute() else ()  # or it would be looked for where the program runs
        options = (*own, self.root / named, self.path.parent / named, self.root / "images" / inside)
        found = next((path for path in options if path.is_file()), None)
        if found is None:
            raise DatasetError(f"{self._where(row)} has no bytes and names {named}, which is not there")
        return found

    def _where(self, row: int) -> str:
        return f"{self.path}: {self.key!r} of row {row}"


@read_once(64)
def _read_groups(path: Path, key: str) -> tuple[int, ...]:
    """Returns how many rows each group of a data file has, after checking that it has the column."""
    with open_table(path) as file:
        if key not in file.schema_arrow.names:
            raise DatasetError(f"{path} lacks the column {key!r}; it has {file.schema_arrow.names}")
        return tuple(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))


@read_once(1)  # the episodes of a group are read one after another, and it may be large
def _read_group(path: Path, key: str, group: int) -> pa.ChunkedArray:
    """Returns a column of one group of a data file."""
    with open_table(path) as file:
        return file.read_row_group(group, columns=[key])[key]
