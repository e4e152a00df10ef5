"""Several datasets read as one, their episodes in a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int

from world_model.data.store import FrameStore


class InARow:
    """Where the episodes of several datasets are, if they are numbered in a row.

    Args:
        episodes: How many each dataset has.
    """

    def __init__(self, episodes: Sequence[int]) -> None:
        self._ends = np.cumsum(episodes)

    def locate(
        self, episodes: Int[np.ndarray, " B"]
    ) -> Iterator[tuple[int, Bool[np.ndarray, " B"], Int[np.ndarray, " C"]]]:
        """Yields each dataset that some of the episodes are of, which of them these are, and their numbers in it."""
        of = np.searchsorted(self._ends, episodes, side="right")
        for index in np.unique(of):
            rows = of == index
            yield int(index), rows, np.asarray(episodes)[rows] - (self._ends[index - 1] if index else 0)


class JoinedFrames:
    """The decoded frames of several datasets as those of one.

    Attributes:
        lengths: Frames of every episode.
        shape: Of a frame, (h, w, 3).
        key: Hash of what they are decoded from.

    Args:
        parts: Each dataset's.

    Raises:
        ValueError: If their images differ in size.
    """

    def __init__(self, parts: Sequence[FrameStore]) -> None:
        layouts = [part.layout for part in parts]
        for layout in layouts[1:]:
            if layout.item_shape != layouts[0].item_shape:
                raise ValueError(
                    f"recordings that are learnt from together have images of one size, got {layouts[0].item_shape} "
                    f"and {layout.item_shape}"
                )
        self._parts, self._row = tuple(parts), InARow([len(layout.lengths) for layout in layouts])
        self.lengths = tuple(length for layout in layouts for length in layout.lengths)
        self.key = " ".join(layout.key for layout in layouts)
        self.shape, self._dtype = layouts[0].item_shape, layouts[0].dtype

    def windows(
        self, episodes: Int[np.ndarray, " B"], starts: Int[np.ndarray, " B"], frames: int, stride: int = 1
    ) -> np.ndarray:
        """See `FrameStore.windows`."""
        result = np.empty((len(episodes), frames, *self.shape), self._dtype)
        for part, rows, numbers in self._row.locate(episodes):
            result[rows] = self._parts[part].windows(numbers, np.asarray(starts)[rows], frames, stride)
        return result
