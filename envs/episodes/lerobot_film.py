"""The images of an episode in a LeRobot dataset: in a video, or in the rows of its data file or beside it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int, UInt8
from PIL import Image

from envs.episodes.episode import DatasetError
from envs.episodes.lerobot_index import EpisodePlace
from envs.episodes.video import Footage, count_frames, decode_batches, decode_times, read_header

_BATCH = 32
_ON_TIME = 0.1  # frames: how far a frame that is looked for by its time may be from it
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
        frames = self._frames(header.frames, len(rows))
        if frames != len(rows):
            frames = self._frames(count_frames(self.place.image_file), len(rows))
        return Footage(frames, header.height, header.width, header.rate)

    def _frames(self, available: int, rows: int) -> int:
        """Returns how many of the frames that a video has are this episode's."""
        if not self.place.shared:
            return available
        left = max(0, available - self.place.first_frame(self.rate))
        if self.place.end is None:
            return min(left, rows)
        return min(left, round(self.place.end * self.rate) - self.place.first_frame(self.rate))

    def images(
        self, rows: Int[np.ndarray, "T"], frames: Int[np.ndarray, "n"]
    ) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """See `Film.images`. The video must show each frame when the columns say that it was taken.

        Only a video of one episode that has a frame a row needs no clock: which frame is which row's is certain.
        """
        path, first, done = self.place.image_file, self.place.first_frame(self.rate), 0
        for images, shown in decode_batches(path, (first + frames).tolist()):
            times = self._times(frames[done : done + len(images)])
            late = np.flatnonzero(np.abs(shown - times) * self.rate > 0.5)
            if len(late) and (self.place.shared or count_frames(path) != len(rows)):
                told = f"frame {first + frames[done + late[0]]} at {shown[late[0]]:.4f} s", f"{times[late[0]]:.4f} s"
                yield from self._by_time(frames[done:], told)
                return
            done += len(images)
            yield images

    def _by_time(self, frames: Int[np.ndarray, "n"], told: tuple[str, str]) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """Yields the frames that are shown when the columns say, whatever their number: frames may be missing before.

        Raises:
            DatasetError: If there are none to a tenth of a frame; with what was shown and said at the first.
        """
        times = self._times(frames)
        for images, shown in decode_times(self.place.image_file, (times + 0.5 / self.rate).tolist()):
            if np.any(np.abs(shown - times[: len(images)]) * self.rate > _ON_TIME):
                raise DatasetError(
                    f"{self.place.image_file} shows {told[0]}, the columns say {told[1]}: the video has another rate "
                    f"than {self.rate:g} Hz, or lacks frames"
                )
            times = times[len(images) :]
            yield images

    def _times(self, frames: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Returns when the video shows frames of the episode, if it is as the columns say [s]."""
        return self.place.start + frames / self.rate


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
        try:
            with pq.ParquetFile(self.path) as file:
                if self.key not in file.schema_arrow.names:
                    raise DatasetError(f"{self.path} lacks the column {self.key!r}; it has {file.schema_arrow.names}")
                start = 0
                for group in range(file.num_row_groups):
                    stop = start + file.metadata.row_group(group).num_rows
                    inside = rows[(start <= rows) & (rows < stop)]
                    if len(inside):
                        column = file.read_row_group(group, columns=[self.key])[self.key].take(inside - start)
                        yield from zip(inside.tolist(), column.to_pylist(), strict=True)
                    start = stop
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{self.path} cannot be read as parquet, it may be truncated: {error}") from error

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
        options = (Path(named), self.root / named, self.path.parent / named, self.root / "images" / inside)
        found = next((path for path in options if path.is_absolute() and path.is_file()), None)
        if found is None:
            raise DatasetError(f"{self._where(row)} has no bytes and names {named}, which is not there")
        return found

    def _where(self, row: int) -> str:
        return f"{self.path}: {self.key!r} of row {row}"
