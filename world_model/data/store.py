"""One array a frame of a dataset on disk, in memory-mapped shards with a checked key: decoded images, latents."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from envs.episodes import EpisodeSource
from envs.folders import begin_cache
from world_model.data.decode import DecodedImages
from world_model.data.store_build import Source, build
from world_model.data.store_layout import SHARD_BYTES, Layout, check_index, read_index, shard_path
from world_model.data.store_shard import CacheError, open_array

__all__ = [
    "CacheError",
    "FrameStore",
    "Layout",
    "build_frames",
    "build_store",
    "frame_layout",
    "shard_path",
    "verify_store",
]

CHECKED_BYTES = 1024**3


class FrameStore:
    """One array a frame of a dataset, for all its episodes, memory-mapped from shards under one directory.

    Opening compares with their checksums all bytes of a store of up to 1 GiB; of a larger one, of each shard, evenly
    chosen blocks that make about 1 GiB together. `verify_store` reads everything.

    Args:
        directory: Where the shards and index.json are.
        layout: What is expected there.

    Raises:
        CacheError: If the index says otherwise, or a shard is missing, has the wrong size or was changed.
    """

    def __init__(self, directory: Path, layout: Layout) -> None:
        self.directory, self.layout = directory, layout
        check_index(directory, layout)
        share = min(1.0, CHECKED_BYTES / layout.bytes)
        self._shards = [_open_shard(directory, layout, shard, share) for shard in range(layout.shard_count)]
        sizes = np.asarray(layout.lengths, dtype=np.int64)
        self._shard_of = np.repeat(np.arange(len(self._shards)), np.diff(layout.shards))
        first = np.concatenate([[0], np.cumsum(sizes)])
        self._offset = first[:-1] - first[np.asarray(layout.shards)[self._shard_of]]
        self._first = first

    @property
    def frames(self) -> int:
        """Frames of all episodes together."""
        return int(self._first[-1])

    def frame_numbers(self, episodes: Sequence[int]) -> Int[np.ndarray, " F"]:
        """Returns the numbers, over the whole dataset, of all frames of some episodes."""
        return np.concatenate([np.arange(self._first[episode], self._first[episode + 1]) for episode in episodes])

    def spread_episodes(self, most: int) -> list[int]:
        """Returns evenly chosen episodes that hold about so many bytes together; all if that is enough."""
        count = max(1, round(min(1.0, most / self.layout.bytes) * len(self.layout.lengths)))
        return np.unique(np.linspace(0, len(self.layout.lengths) - 1, count).round().astype(int)).tolist()

    def gather(self, numbers: Int[np.ndarray, " B"]) -> np.ndarray:
        """Returns the arrays of numbered frames, (B, *item_shape)."""
        episodes = np.searchsorted(self._first, numbers, side="right") - 1
        return self.windows(episodes, np.asarray(numbers) - self._first[episodes], frames=1)[:, 0]

    def windows(
        self, episodes: Int[np.ndarray, " B"], starts: Int[np.ndarray, " B"], frames: int, stride: int = 1
    ) -> np.ndarray:
        """Returns windows of frames, (B, frames, *item_shape); see `clips.Windows.locate` for where they start."""
        span = (frames - 1) * stride + 1
        result = np.empty((len(episodes), frames, *self.layout.item_shape), self.layout.dtype)
        lengths = np.asarray(self.layout.lengths)[episodes]
        if np.any(np.asarray(starts) < 0) or np.any(np.asarray(starts) + span > lengths):
            raise IndexError(f"windows of {span} frames leave their episodes of {lengths.tolist()} frames")
        firsts = self._offset[episodes] + starts
        for row, (shard, first) in enumerate(zip(self._shard_of[episodes], firsts, strict=True)):
            result[row] = self._shards[shard][first : first + span : stride]
        return result


def build_store(
    directory: Path, layout: Layout, source: Source, report: Callable[[int], object] = int, processes: int = 1
) -> FrameStore:
    """Returns the store, built where it is not there yet; a build that was broken off goes on.

    A shard appears under its name only when it is complete. Any number of processes, on any machines that share the
    file system, may call this at once: each builds shards that nobody else builds, and all return when all are there.

    Args:
        directory: Where to; made if need be.
        layout: What to hold. What disk it takes is logged before it is written.
        source: Gives the frames' arrays of some consecutive episodes, in order and in pieces of any length.
        report: Called with the number of frames that were added on disk, whoever added them, also for those found
            there; negative where what a killed process had begun starts again.
        processes: 1 builds in this process; more are spawned and get `source` pickled.

    Raises:
        CacheError: If another cache is in the directory or a damaged one, the disk lacks the room, an array is not as
            planned or all worker processes were killed. What `source` raises comes as it is.
    """
    build(directory, layout, source, report, processes)
    return FrameStore(directory, layout)


def verify_store(directory: Path) -> list[str]:
    """Returns what is wrong with a store after reading all of it, a sentence a file; nothing if it is good."""
    try:
        layout = read_index(directory)
    except CacheError as error:
        return [str(error)]
    problems = []
    for shard in range(layout.shard_count):
        try:
            _open_shard(directory, layout, shard, share=1.0)
        except CacheError as error:
            problems.append(str(error))
    return problems


def frame_layout(dataset: EpisodeSource, shard_bytes: int = SHARD_BYTES) -> Layout:
    """Returns the layout of a dataset's decoded images, (h, w, 3) uint8 a frame."""
    key = hashlib.sha256(f"frames {dataset.fingerprint}".encode()).hexdigest()
    return Layout.plan(key, dataset.lengths, dataset.image_shape, "uint8", shard_bytes)


def build_frames(
    dataset: EpisodeSource, directory: Path, report: Callable[[int], object] = int, processes: int = 1
) -> FrameStore:
    """Returns the decoded images of a dataset, each video decoded once; see `build_store`."""
    begin_cache(directory)
    layout = frame_layout(dataset)
    return build_store(directory / f"frames-{layout.key[:12]}", layout, DecodedImages(dataset), report, processes)


def _open_shard(directory: Path, layout: Layout, shard: int, share: float) -> np.ndarray:
    """Returns a shard's memory map, checked."""
    return open_array(shard_path(directory, shard), layout.shard_shape(shard), np.dtype(layout.dtype), share)
