"""Somebody's recordings as they lie on disk: what every format that is read has in common."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int, UInt8

from envs.episodes.columns import Columns
from envs.episodes.episode import DatasetError
from envs.episodes.video import Footage

logger = logging.getLogger(__name__)

_SHOWN = 3  # of remarks of a kind


@dataclass(frozen=True)
class Contents:
    """What recordings hold.

    Attributes:
        format: What they are called, see `envs.episodes.formats.registry.Format.name`.
        episodes: How many there are.
        rate: Frames a second, as recorded [Hz]; None if that is not said, see `Reading.recorded_rate`.
        cameras: What `Reading.camera` may be, with (h, w) of the images, None where that is not known.
        columns: Numbers a frame: by key, what each number of the column is called ("0", "1"... where it has no name).
    """

    format: str
    episodes: int
    rate: float | None
    cameras: Mapping[str, tuple[int, int] | None]
    columns: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Rows:
    """What was recorded of an episode beside its images, a row a frame.

    Attributes:
        times: When each was taken [s], as it was recorded: `envs.episodes.frames.read_clock` checks it.
        columns: The numbers that were asked for, untouched.
        task: What was being done, in words.
        seed: The seed it was made from, if any.
        extra: See `Episode.extra`.
        exact: Whether the times should be those of evenly spaced frames; else they were measured.
    """

    times: Float[np.ndarray, "T"]
    columns: Columns
    task: str = ""
    seed: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = True


class Recordings(Protocol):
    """Recordings in one format, seen through one camera: everything as it was recorded."""

    @property
    def names(self) -> tuple[str, ...]:
        """See `EpisodeSource.names`."""
        ...

    @property
    def rate(self) -> float:
        """Frames a second [Hz]."""
        ...

    @property
    def spare_rows(self) -> int:
        """How many rows an episode usually has beyond its frames: what is no more, at most one, is not remarked."""
        ...

    def read(self, episode: int, keys: tuple[str, ...]) -> Rows:
        """Returns an episode's rows; raises DatasetError naming the file at fault."""
        ...

    def footage(self, episode: int) -> Footage:
        """Returns what there is to see, without decoding it; raises DatasetError naming the file at fault."""
        ...

    def images(self, episode: int, frames: Int[np.ndarray, "n"]) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """Yields chosen frames, some at a time, decoded exactly; raises DatasetError naming the file at fault."""
        ...

    def file_sizes(self, episode: int) -> Mapping[str, int]:
        """Returns the sizes [bytes] of the files that the images are in."""
        ...


def first_extrinsics(key: str, values: Float[np.ndarray, "T 6"]) -> list[float]:
    """Returns the six numbers of a camera's pose at the first frame.

    Raises:
        DatasetError: If they are not six finite numbers.
    """
    if values.ndim != 2 or values.shape[1] != 6 or not len(values) or not np.isfinite(values[0]).all():
        raise DatasetError(f"{key!r} should be six finite numbers a frame, the first is {values[:1].tolist()}")
    return values[0].tolist()


@dataclass(eq=False)
class Remarks:
    """Logs remarks as warnings, each once and of a kind no more than a few: thousands of episodes have the same."""

    _said: set[tuple[str, str]] = field(default_factory=set)
    _counts: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, kind: str) -> None:
        """Logs what is remarkable.

        Args:
            name: Of the recording.
            kind: What is said of it, in the words that others of its kind get too.
        """
        if (name, kind) in self._said:
            return
        self._said.add((name, kind))
        self._counts[kind] += 1
        if self._counts[kind] <= _SHOWN:
            logger.warning("%s: %s", name, kind)
        elif self._counts[kind] == _SHOWN + 1:
            logger.warning("%s: %s; so it is with others, which are not named", name, kind)
