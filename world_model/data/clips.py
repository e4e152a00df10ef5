"""Which frames are seen when: the split by episode, windows that stay inside an episode, a resumable shuffle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class Split:
    """Episodes to learn from and episodes to judge by, disjoint.

    Attributes:
        training: Episode numbers, rising.
        held_out: Episode numbers, rising; never empty.
    """

    training: tuple[int, ...]
    held_out: tuple[int, ...]


def split_episodes(episodes: int, held_out_fraction: float, seed: int) -> Split:
    """Returns a random split of `episodes` episodes, the same for the same seed; at least one episode on each side.

    Raises:
        ValueError: If there are fewer than two episodes or the fraction is not between 0 and 1.
    """
    if episodes < 2:
        raise ValueError(f"a split needs at least 2 episodes, one to learn from and one to judge by; got {episodes}")
    if not 0 < held_out_fraction < 1:
        raise ValueError(f"held_out_fraction must be between 0 and 1, got {held_out_fraction}")
    held_out = min(episodes - 1, max(1, round(held_out_fraction * episodes)))
    order = np.random.default_rng((seed, episodes)).permutation(episodes)
    return Split(tuple(sorted(order[held_out:].tolist())), tuple(sorted(order[:held_out].tolist())))


class Windows:
    """All windows of `frames` frames of some episodes, numbered from 0.

    A window is the frames start, start + stride, ..., start + (frames - 1) stride of one episode. Nothing is listed:
    a window's place is found from the episodes' lengths.

    Args:
        lengths: Frames of every episode of the dataset.
        episodes: The episodes to take windows from, such as a `Split.training`.
        frames: Frames a window has, T.
        stride: Distance of its frames; 2 halves the frame rate.

    Raises:
        ValueError: If frames or stride is not positive, or no episode is long enough.
    """

    def __init__(self, lengths: Sequence[int], episodes: Sequence[int], frames: int, stride: int = 1) -> None:
        if frames < 1 or stride < 1:
            raise ValueError(f"a window needs positive frames and stride, got {frames} and {stride}")
        self.frames, self.stride = frames, stride
        self._episodes = np.asarray(episodes, dtype=np.int64)
        spans = np.asarray(lengths, dtype=np.int64)[self._episodes] if len(episodes) else np.zeros(0, np.int64)
        self._ends = np.cumsum(np.maximum(spans - (frames - 1) * stride, 0))
        if len(self) == 0:
            longest = int(spans.max()) if len(spans) else 0
            raise ValueError(
                f"none of {len(episodes)} episodes holds a window of {frames} frames with stride {stride} "
                f"({(frames - 1) * stride + 1} frames needed, the longest has {longest}); use fewer frames or a "
                "smaller stride"
            )

    def __len__(self) -> int:
        """Number of windows."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def locate(self, indices: Int[np.ndarray, " B"]) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
        """Returns the episode and the first frame in it of each numbered window."""
        indices = np.asarray(indices)
        if indices.size and not (0 <= indices.min() and indices.max() < len(self)):
            raise IndexError(f"window numbers must be in 0..{len(self) - 1}, got {indices.min()}..{indices.max()}")
        rows = np.searchsorted(self._ends, indices, side="right")
        before = np.where(rows > 0, self._ends[rows - 1], 0)
        return self._episodes[rows], indices - before


class Shuffle:
    """An endless shuffled order of `count` things, each once an epoch, in which any step's batch can be asked for.

    The batch of a step depends on the seed and the step alone, so a resumed run sees what an unbroken one would.
    """

    def __init__(self, count: int, seed: int) -> None:
        if count < 1:
            raise ValueError("there is nothing to shuffle: count is 0")
        self.count, self.seed = count, seed
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def batch(self, step: int, size: int) -> Int[np.ndarray, " B"]:
        """Returns the numbers of the `size` things of step `step`; a batch may straddle two epochs."""
        first, parts = step * size, []
        while size > 0:
            epoch, offset = divmod(first, self.count)
            if epoch != self._epoch:
                self._epoch = epoch
                self._order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
            parts.append(self._order[offset : offset + size])
            first, size = first + len(parts[-1]), size - len(parts[-1])
        return np.concatenate(parts)
