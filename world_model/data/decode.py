"""Images of episodes, decoded in a thread while those before them are used."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from envs.episodes import DatasetError, EpisodeSource
from world_model.encoders.pixels import shrink

FRAMES_AHEAD = 64


@dataclass(frozen=True)
class DecodedImages:
    """Gives the images of some episodes, one array an episode; those without frames are left out.

    Attributes:
        dataset: Reads and decodes them.
        size: Side of the squares that they are shrunk to, see `world_model.encoders.pixels.shrink`; None leaves them
            as they are.
    """

    dataset: EpisodeSource
    size: int | None = None

    def __call__(self, episodes: Sequence[int]) -> Iterator[UInt8[np.ndarray, "T h w 3"]]:
        """Yields each episode's images while a thread decodes the next ones, `FRAMES_AHEAD` or one episode ahead.

        Raises:
            DatasetError: What the dataset raises, or if an episode is not as long or as large as its table says.
        """
        lengths, thread = self.dataset.lengths, ThreadPoolExecutor(1)
        waiting = deque(episode for episode in episodes if lengths[episode])
        decoding: deque[tuple[int, Future[np.ndarray]]] = deque()
        try:
            while waiting or decoding:
                while waiting and sum(lengths[episode] for episode, _ in decoding) < FRAMES_AHEAD:
                    decoding.append((waiting[0], thread.submit(self._images, waiting.popleft())))
                _, decoded = decoding.popleft()
                yield decoded.result()
        finally:
            thread.shutdown(cancel_futures=True)

    def _images(self, episode: int) -> UInt8[np.ndarray, "T h w 3"]:
        """Returns an episode's images if they are as the dataset says."""
        images = self.dataset[episode].images
        expected = (self.dataset.lengths[episode], *self.dataset.image_shape)
        if images.shape != expected:
            raise DatasetError(
                f"episode {episode} gave images {images.shape}, its dataset says {expected}: its length on disk and in "
                "the dataset's table differ, or its frames have another size"
            )
        return images if self.size is None else shrink(torch.from_numpy(images), self.size).numpy()


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
