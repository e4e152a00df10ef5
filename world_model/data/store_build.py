"""Building the shards of a store: by any number of processes at once, resumed where it was broken off."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from world_model.data.store_layout import Layout, shard_path, write_index
from world_model.data.store_shard import CacheError, claim, disk_errors, part_path, write_array
from world_model.data.workers import WorkerError, run_workers

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 0.5

Source = Callable[[Sequence[int]], Iterable[np.ndarray]]  # numbered episodes -> their frames' arrays, in any pieces


def build(directory: Path, layout: Layout, source: Source, report: Callable[[int], object], processes: int) -> None:
    """Builds the shards that are not there; see `store.build_store`."""
    with disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    while not write_index(directory, layout):
        time.sleep(SECONDS_BETWEEN_LOOKS)
    progress = _Progress(directory, layout, report)
    if progress.missing:
        _check_room(directory, layout, progress.missing)
    if len(progress.missing) > 1 and processes > 1:
        try:
            run_workers(min(processes, len(progress.missing)), build_shards, (directory, layout, source), progress.look)
        except WorkerError as error:
            raise CacheError(f"building {directory}: {error}. Build again, finished shards are kept") from error
    else:
        build_shards(directory, layout, source, progress.look)
    progress.look(at_once=True)


def build_shards(directory: Path, layout: Layout, source: Source, look: Callable[[], object] = bool) -> None:
    """Builds the shards that nobody else builds, and returns when all are there; `look` is called again and again."""
    missing = range(layout.shard_count)
    while missing := [shard for shard in missing if not shard_path(directory, shard).exists()]:
        built = 0
        for shard in missing:
            path = shard_path(directory, shard)
            with claim(path) as file:
                if file is not None:
                    parts = _looking(source(layout.episodes(shard)), look)
                    write_array(path, file, layout.shard_shape(shard), np.dtype(layout.dtype), parts)
                    built += 1
        if not built:  # others are at them
            time.sleep(SECONDS_BETWEEN_LOOKS)
            look()
    for part in directory.glob("*.part"):  # of processes that were killed as they looked whether there was work
        with claim(part.with_suffix("")):
            pass


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

    def look(self, at_once: bool = False) -> None:
        """Reports what has come since the last look, which was a while ago; else only if `at_once`."""
        if time.monotonic() < self._next and not at_once:
            return
        self._next = time.monotonic() + SECONDS_BETWEEN_LOOKS
        begun, missing = 0, []
        for shard in self.missing:
            path, (frames, *_) = shard_path(self._directory, shard), self._layout.shard_shape(shard)
            if path.exists():
                self._finished += frames
            else:
                missing.append(shard)
                begun += min(frames, _size(part_path(path)) // self._layout.item_bytes)
        self.missing = missing
        if self._finished + begun != self._reported:
            self._report(self._finished + begun - self._reported)
            self._reported = self._finished + begun


def _check_room(directory: Path, layout: Layout, missing: Iterable[int]) -> None:
    """Logs what disk the missing shards will take, and raises CacheError if there is too little."""
    frames = sum(layout.shard_shape(shard)[0] for shard in missing)
    begun = sum(_size(part_path(shard_path(directory, shard))) for shard in missing)
    needed, free = frames * layout.item_bytes - begun, shutil.disk_usage(directory).free
    logger.info(
        "%s takes %.2f GB of disk, %.2f GB still to be written; %.2f GB are free",
        directory, layout.bytes / 1e9, needed / 1e9, free / 1e9,
    )  # fmt: skip
    if needed > free:
        raise CacheError(
            f"the cache {directory} needs {needed / 1e9:.2f} GB more disk, but {free / 1e9:.2f} GB are free there; "
            "make room or name a cache directory on another disk (--cache)"
        )


def _looking(parts: Iterable[np.ndarray], look: Callable[[], object]) -> Iterator[np.ndarray]:
    """Yields the parts, looking after each was taken."""
    for part in parts:
        yield part
        look()


def _size(path: Path) -> int:
    """Returns the size of a file [bytes], 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
