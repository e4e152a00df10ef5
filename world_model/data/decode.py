"""Images of episodes, decoded in a thread while those before them are used."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from envs.episodes import DatasetError, Episode, EpisodeSource

FRAMES_AHEAD = 64


@dataclass(frozen=True)
class DecodedImages:
    """Gives the images of some episodes, one array an episode; those without frames are left out.

    Attributes:
        dataset: Reads and decodes them.
    """

    dataset: EpisodeSource

    def __call__(self, episodes: Sequence[int]) -> Iterator[UInt8[np.ndarray, "T h w 3"]]:
        """Yields each episode's images while a thread decodes the next ones, `FRAMES_AHEAD` or one episode ahead.

        Raises:
            DatasetError: What the dataset raises, or if an episode is not as long or as large as its table says.
        """
        lengths, thread = self.dataset.lengths, ThreadPoolExecutor(1)
        waiting = deque(episode for episode in episodes if lengths[episode])
        decoding: deque[tuple[int, Future[Episode]]] = deque()
        try:
            while waiting or decoding:
                while waiting and sum(lengths[episode] for episode, _ in decoding) < FRAMES_AHEAD:
                    decoding.append((waiting[0], thread.submit(self.dataset.__getitem__, waiting.popleft())))
                episode, decoded = decoding.popleft()
                yield self._checked(episode, decoded.result().images)
        finally:
            thread.shutdown(cancel_futures=True)

    def _checked(self, episode: int, images: UInt8[np.ndarray, "T h w 3"]) -> UInt8[np.ndarray, "T h w 3"]:
        """Returns an episode's images if they are as the dataset says."""
        expected = (self.dataset.lengths[episode], *self.dataset.image_shape)
        if images.shape != expected:
            raise DatasetError(
                f"episode {episode} gave images {images.shape}, its dataset says {expected}: its length on disk and in "
                "the dataset's table differ, or its frames have another size"
            )
        return images


def rebatch(parts: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Yields the rows of some arrays in order, `size` at a time; only the last ones may be fewer."""
    held: list[np.ndarray] = []
    for part in parts:
        held.append(part)
        if sum(map(len, held)) >= size:
            rows = np.concatenate(held)
            whole = len(rows) // size * size
            yield from np.split(rows[:whole], whole // size)
            held = [rows[whole:]]
    if sum(map(len, held)):
        yield np.concatenate(held)
