"""Several datasets read as one, their episodes in a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from world_model.data.store import FrameStore


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
        self._parts, self._ends = tuple(parts), np.cumsum([len(layout.lengths) for layout in layouts])
        self.lengths = tuple(length for layout in layouts for length in layout.lengths)
        self.key = " ".join(layout.key for layout in layouts)
        self.shape, self._dtype = layouts[0].item_shape, layouts[0].dtype

    def windows(
        self, episodes: Int[np.ndarray, " B"], starts: Int[np.ndarray, " B"], frames: int, stride: int = 1
    ) -> np.ndarray:
        """See `FrameStore.windows`."""
        result = np.empty((len(episodes), frames, *self.shape), self._dtype)
        of = np.searchsorted(self._ends, episodes, side="right")  # which dataset each episode is of
        for part in np.unique(of):
            rows = of == part
            numbers = np.asarray(episodes)[rows] - (self._ends[part - 1] if part else 0)
            result[rows] = self._parts[part].windows(numbers, np.asarray(starts)[rows], frames, stride)
        return result
