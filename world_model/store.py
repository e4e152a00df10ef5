"""One array a frame of a dataset on disk, in memory-mapped shards with a checked key: decoded images, latents."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from envs.episodes import EpisodeSource

logger = logging.getLogger(__name__)

SHARD_BYTES = 256 * 1024 * 1024


class CacheError(ValueError):
    """A cache on disk is incomplete, damaged or not the one that was asked for."""


@dataclass(frozen=True)
class Layout:
    """What a store holds; equal layouts are the same store.

    Attributes:
        key: Hash of everything that the contents depend on.
        lengths: Frames of every episode.
        item_shape: Shape of one frame's array.
        dtype: NumPy name of the stored numbers; bfloat16 is stored as its bits, "uint16".
        shards: Episodes before which each shard starts, and the number of episodes last.
    """

    key: str
    lengths: tuple[int, ...]
    item_shape: tuple[int, ...]
    dtype: str
    shards: tuple[int, ...]

    @classmethod
    def plan(
        cls, key: str, lengths: Sequence[int], item_shape: Sequence[int], dtype: str, shard_bytes: int = SHARD_BYTES
    ) -> Layout:
        """Returns a layout whose shards hold whole episodes, about `shard_bytes` bytes each."""
        item = int(np.prod(item_shape)) * np.dtype(dtype).itemsize
        starts, filled = [0], 0
        for episode, length in enumerate(lengths):
            if filled and (filled + length) * item > shard_bytes:
                starts.append(episode)
                filled = 0
            filled += length
        return cls(key, tuple(map(int, lengths)), tuple(map(int, item_shape)), dtype, (*starts, len(lengths)))

    @property
    def bytes(self) -> int:
        """Disk that the whole store takes."""
        return sum(self.lengths) * int(np.prod(self.item_shape)) * np.dtype(self.dtype).itemsize

    def shard_shape(self, shard: int) -> tuple[int, ...]:
        """Returns the shape of a shard's array, (frames, *item_shape)."""
        return (sum(self.lengths[self.shards[shard] : self.shards[shard + 1]]), *self.item_shape)


class FrameStore:
    """One array a frame of a dataset, for all its episodes, memory-mapped from shards under one directory.

    A shard appears under its name only when it is complete, so an interrupted build goes on with the shard it was
    at, and several processes may build different shards.

    Args:
        directory: Where the shards and index.json are.
        layout: What is expected there.

    Raises:
        CacheError: If the index says otherwise, or a shard is missing or has the wrong size.
    """

    def __init__(self, directory: Path, layout: Layout) -> None:
        self.directory, self.layout = directory, layout
        check_index(directory, layout)
        self._shards = [self._open(shard) for shard in range(len(layout.shards) - 1)]
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

    def _open(self, shard: int) -> np.ndarray:
        """Returns a shard's memory map, checked."""
        path = shard_path(self.directory, shard)
        expected = self.layout.shard_shape(shard)
        if not path.is_file():
            raise CacheError(f"the cache shard {path} is missing; build the cache again, finished shards are kept")
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise CacheError(f"the cache shard {path} is damaged ({error}); delete it and build again") from error
        if array.shape != expected or array.dtype != np.dtype(self.layout.dtype):
            raise CacheError(
                f"the cache shard {path} holds {array.dtype} {array.shape}, expected {self.layout.dtype} {expected}; "
                "delete that file and build again"
            )
        return array


def frame_layout(dataset: EpisodeSource, shard_bytes: int = SHARD_BYTES) -> Layout:
    """Returns the layout of a dataset's decoded images, (h, w, 3) uint8 a frame."""
    key = hashlib.sha256(f"frames {dataset.fingerprint}".encode()).hexdigest()
    return Layout.plan(key, dataset.lengths, dataset.image_shape, "uint8", shard_bytes)


def build_frames(dataset: EpisodeSource, directory: Path, report: Callable[[int], object] = int) -> FrameStore:
    """Returns the decoded images of a dataset, each video decoded once; see `build_store`."""

    def images(episode: int) -> UInt8[np.ndarray, "T h w 3"]:
        return dataset[episode].images

    layout = frame_layout(dataset)
    return build_store(directory / f"frames-{layout.key[:12]}", layout, images, report)


def shard_path(directory: Path, shard: int) -> Path:
    """Returns where a shard is."""
    return directory / f"shard-{shard:05d}.npy"


def check_index(directory: Path, layout: Layout) -> None:
    """Returns if the directory's index describes exactly this layout; raises CacheError otherwise."""
    path = directory / "index.json"
    if not path.is_file():
        raise CacheError(f"there is no cache index {path}; build the cache first")
    try:
        found = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise CacheError(f"the cache index {path} is damaged ({error}); delete {directory}") from error
    expected = json.loads(json.dumps(asdict(layout)))
    differing = [name for name in expected if found.get(name) != expected[name]]
    if differing:
        raise CacheError(
            f"the cache {directory} was made from something else: {', '.join(differing)} differ (a changed encoder, "
            "preprocessing or dataset). Delete it or name another directory"
        )


def build_store(
    directory: Path, layout: Layout, episode_arrays: Callable[[int], np.ndarray], report: Callable[[int], object] = int
) -> FrameStore:
    """Returns the store, built where it is not there yet; a build that was broken off goes on.

    Args:
        directory: Where to; made if need be.
        layout: What to hold. Announced through logging with the disk it will take, see `Layout.bytes`.
        episode_arrays: Gives the (frames, *item_shape) array of an episode.
        report: Called with the number of frames that each episode added, also for those found done.

    Raises:
        CacheError: If another cache is in the directory or an episode's array is not as planned.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / "index.json").exists():
        check_index(directory, layout)
    else:
        _write_atomically(directory / "index.json", json.dumps(asdict(layout)).encode())
        logger.info("%s will take %.2f GB", directory, layout.bytes / 1e9)
    for shard in range(len(layout.shards) - 1):
        episodes = range(layout.shards[shard], layout.shards[shard + 1])
        if shard_path(directory, shard).exists():
            report(layout.shard_shape(shard)[0])
        else:
            _build_shard(shard_path(directory, shard), layout, episodes, episode_arrays, report)
    return FrameStore(directory, layout)


def _build_shard(
    path: Path,
    layout: Layout,
    episodes: Iterable[int],
    episode_arrays: Callable[[int], np.ndarray],
    report: Callable[[int], object],
) -> None:
    """Writes one shard under a temporary name and moves it to its own when it is on disk."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    rows = sum(layout.lengths[episode] for episode in episodes)
    array = np.lib.format.open_memmap(temporary, "w+", np.dtype(layout.dtype), (rows, *layout.item_shape))
    first = 0
    for episode in episodes:
        values = episode_arrays(episode)
        expected = (layout.lengths[episode], *layout.item_shape)
        if values.shape != expected or values.dtype != array.dtype:
            temporary.unlink()
            raise CacheError(
                f"episode {episode} gave {values.dtype} {values.shape}, expected {layout.dtype} {expected}: its "
                "length on disk and in the dataset's table differ, or its frames have another size"
            )
        array[first : first + len(values)] = values
        first += len(values)
        report(len(values))
    array.flush()
    del array
    temporary.replace(path)


def _write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that it is whole or not there."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
