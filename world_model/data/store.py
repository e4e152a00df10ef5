"""One array a frame of a dataset on disk, in memory-mapped shards with a checked key: decoded images, latents."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from envs.episodes import EpisodeSource
from envs.folders import begin_cache
from envs.workers import WorkerError, in_processes
from world_model.data.decode import DecodedImages
from world_model.data.store_layout import Layout, check_index, read_index, shard_path, write_index
from world_model.data.store_shard import CacheError, claim, disk_errors, part_path
from world_model.memory import give_back_memory

logger = logging.getLogger(__name__)

CHECKED_BYTES = 1024**3
SECONDS_BETWEEN_LOOKS = 0.5

Source = Callable[[Sequence[int]], Iterable[np.ndarray]]  # numbered episodes -> their frames' arrays, in any pieces


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
        self._shards = [layout.shard(directory, number).open(share) for number in range(layout.shard_count)]
        self._shard_of = np.repeat(np.arange(len(self._shards)), np.diff(layout.shards))
        self._first = np.cumsum([0, *layout.lengths])
        self._offset = self._first[:-1] - self._first[np.asarray(layout.shards)[self._shard_of]]

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
    with disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    while not write_index(directory, layout):
        time.sleep(SECONDS_BETWEEN_LOOKS)
    progress = _Progress(directory, layout, report)
    if progress.missing:
        _check_room(directory, layout, progress.missing)
    count = max(1, min(processes, len(progress.missing)))
    try:
        for _ in in_processes(_build, (directory, layout, source), range(count), count, progress.look, spare=True):
            pass
    except WorkerError as error:
        raise CacheError(f"building {directory}: {error}. Build again, finished shards are kept") from error
    progress.look(at_once=True)
    return FrameStore(directory, layout)


def _build(store: tuple[Path, Layout, Source], worker: int, look: Callable[[int], object]) -> None:
    """Builds the shards that nobody else builds, and returns when all are there; `look` is called again and again."""
    directory, layout, source = store
    missing = range(layout.shard_count)
    while missing := [number for number in missing if not shard_path(directory, number).exists()]:
        built = 0
        for number in missing:
            shard = layout.shard(directory, number)
            with claim(shard.path) as file:
                if file is not None:
                    shard.write(file, _looking(source(layout.episodes(number)), look))
                    give_back_memory()
                    built += 1
        if not built:  # others are at them
            time.sleep(SECONDS_BETWEEN_LOOKS)
            look(0)
    for part in directory.glob("*.part"):  # of processes that were killed as they looked whether there was work
        with claim(part.with_suffix("")):
            pass


def _looking(parts: Iterable[np.ndarray], look: Callable[[int], object]) -> Iterator[np.ndarray]:
    """Yields the parts, looking after each was taken."""
    for part in parts:
        yield part
        look(len(part))


class _Progress:
    """Reports the frames that come to be on disk, whoever writes them.

    Attributes:
        missing: Shards that were not finished at the last look.
    """

    def __init__(self, directory: Path, layout: Layout, report: Callable[[int], object]) -> None:
        self._directory, self._layout, self._report = directory, layout, report
        self._finished, self._reported, self._next = 0, 0, 0.0
        self.missing = list(range(layout.shard_count))
        self.look()

    def look(self, came: int = 0, at_once: bool = False) -> None:
        """Reports what is new on disk since the last look, which was a while ago; else only if `at_once`."""
        if time.monotonic() < self._next and not at_once:
            return
        self._next = time.monotonic() + SECONDS_BETWEEN_LOOKS
        begun, missing = 0, []
        for number in self.missing:
            shard = self._layout.shard(self._directory, number)
            if shard.path.exists():
                self._finished += shard.shape[0]
            else:
                missing.append(number)
                begun += min(shard.shape[0], _size(part_path(shard.path)) // self._layout.item_bytes)
        self.missing = missing
        if self._finished + begun != self._reported:
            self._report(self._finished + begun - self._reported)
            self._reported = self._finished + begun


def _check_room(directory: Path, layout: Layout, missing: Iterable[int]) -> None:
    """Logs what disk the missing shards will take, and raises CacheError if there is too little."""
    shards = [layout.shard(directory, number) for number in missing]
    begun = sum(_size(part_path(shard.path)) for shard in shards)
    needed = sum(shard.shape[0] for shard in shards) * layout.item_bytes - begun
    free = shutil.disk_usage(directory).free
    logger.info(
        "%s takes %.2f GB of disk, %.2f GB still to be written; %.2f GB are free",
        directory, layout.bytes / 1e9, needed / 1e9, free / 1e9,
    )  # fmt: skip
    if needed > free:
        raise CacheError(
            f"the cache {directory} needs {needed / 1e9:.2f} GB more disk, but {free / 1e9:.2f} GB are free there; "
            "make room or name a cache directory on another disk (--cache)"
        )


def _size(path: Path) -> int:
    """Returns the size of a file [bytes], 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def verify_store(directory: Path) -> list[str]:
    """Returns what is wrong with a store after reading all of it, a sentence a file; nothing if it is good."""
    problems = []
    try:
        layout = read_index(directory)
    except CacheError as error:
        return [str(error)]
    for number in range(layout.shard_count):
        try:
            layout.shard(directory, number).open(share=1.0)
        except CacheError as error:
            problems.append(str(error))
    return problems


def frame_layout(dataset: EpisodeSource, size: int | None = None) -> Layout:
    """Returns the layout of a dataset's decoded images, (h, w, 3) uint8 a frame; see `build_frames` for the size."""
    shape, named = dataset.image_shape, f"frames {dataset.fingerprint}"
    if size is not None:
        side = min(size, *shape[:2])
        shape, named = (side, side, 3), f"{named} {size}"
    return Layout.plan(hashlib.sha256(named.encode()).hexdigest(), dataset.lengths, shape, "uint8")


def build_frames(
    dataset: EpisodeSource,
    directory: Path,
    report: Callable[[int], object] = int,
    processes: int = 1,
    size: int | None = None,
) -> FrameStore:
    """Returns the decoded images of a dataset, each video decoded once; see `build_store`.

    Args:
        dataset: Reads and decodes them.
        directory: Where its caches are.
        report: See `build_store`.
        processes: See `build_store`.
        size: What is kept is what an encoder of images of this size sees, see `world_model.encoders.pixels.shrink`;
            None keeps all.
    """
    begin_cache(directory)
    layout, images = frame_layout(dataset, size), DecodedImages(dataset, size)
    return build_store(directory / f"frames-{layout.key[:12]}", layout, images, report, processes)
