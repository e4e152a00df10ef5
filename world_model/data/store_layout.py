"""What a store of frames holds, how it is cut into shards, and the index.json that says so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from envs.episodes.episode import cut_into_runs
from world_model.data.store_shard import CacheError, Shard, append, claim, publish

FORMAT = 3  # of the files in a store's directory; 2 had the checksums in files of their own, 1 had none
SHARD_BYTES = 32 * 1024 * 1024
INDEX = "index.json"
MOST_SHARDS = 256  # each is an open file, and one block of each is read at every opening


def cache_beside(data: Path) -> Path:
    """Returns where the caches of recordings lie unless a configuration says otherwise."""
    return data.with_name(f"{data.name}-cache")


@dataclass(frozen=True)
class Layout:
    """What a store holds; equal layouts are the same store.

    Attributes:
        key: Hash of everything that the contents depend on.
        lengths: Frames of every episode; 0 for one that was left out.
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
        """Returns a layout whose shards hold whole episodes, about `shard_bytes` each, more for about `MOST_SHARDS`.

        Raises:
            CacheError: If there is no frame.
        """
        if not sum(lengths):
            raise CacheError(f"there is nothing to cache: the dataset's {len(lengths)} episodes have no frames")
        item = int(np.prod(item_shape)) * np.dtype(dtype).itemsize
        shard_bytes = max(shard_bytes, sum(lengths) * item // MOST_SHARDS)
        starts = [episodes.start for episodes in cut_into_runs(lengths, shard_bytes // item)]
        return cls(key, tuple(map(int, lengths)), tuple(map(int, item_shape)), dtype, (*starts, len(lengths)))

    @property
    def item_bytes(self) -> int:
        """Disk that a frame takes."""
        return int(np.prod(self.item_shape)) * np.dtype(self.dtype).itemsize

    @property
    def bytes(self) -> int:
        """Disk that the whole store takes."""
        return sum(self.lengths) * self.item_bytes

    @property
    def shard_count(self) -> int:
        """Number of shards."""
        return len(self.shards) - 1

    def episodes(self, shard: int) -> range:
        """Returns the episodes of a shard."""
        return range(self.shards[shard], self.shards[shard + 1])

    def shard(self, directory: Path, number: int) -> Shard:
        """Returns the file of a shard, whose array has a row a frame."""
        frames = sum(self.lengths[self.shards[number] : self.shards[number + 1]])
        shape = (frames, *self.item_shape)
        return Shard(shard_path(directory, number), shape, self.dtype, f"{self.key} {number}")


def shard_path(directory: Path, number: int) -> Path:
    """Returns where a shard is."""
    return directory / f"shard-{number:05d}.npy"


def read_index(directory: Path) -> Layout:
    """Returns the layout of the store in a directory.

    Raises:
        CacheError: If there is none, or it is damaged or of another version of this program.
    """
    path = directory / INDEX
    if not path.is_file():
        raise CacheError(f"there is no cache index {path}; build the cache first")
    try:
        found = dict(json.loads(path.read_bytes()))
        version = found.pop("format", 1)
        if version == FORMAT:
            lengths, item_shape, shards = (tuple(found[name]) for name in ("lengths", "item_shape", "shards"))
            return Layout(found["key"], lengths, item_shape, found["dtype"], shards)
    except (ValueError, KeyError, TypeError) as error:
        raise CacheError(
            f"the cache index {path} is damaged ({error!r}); delete {directory} and build again"
        ) from error
    raise CacheError(
        f"the cache {directory} was built in format {version}, this version reads {FORMAT}; delete it and build again"
    )


def check_index(directory: Path, layout: Layout) -> None:
    """Returns if the directory's index describes exactly this layout; raises CacheError otherwise."""
    found, expected = asdict(read_index(directory)), asdict(layout)
    differing = [name for name in expected if found[name] != expected[name]]
    if differing:
        raise CacheError(
            f"the cache {directory} was made from something else: {', '.join(differing)} differ (a changed encoder, "
            "preprocessing or dataset). Delete it or name another directory"
        )


def write_index(directory: Path, layout: Layout) -> bool:
    """Writes the index unless it is there or another process is writing it; returns whether it is there now.

    Raises:
        CacheError: If the one that is there is another store's, or none can be written.
    """
    path = directory / INDEX
    if not path.exists():
        with claim(path) as file:
            if file is not None:
                append(file, json.dumps({"format": FORMAT, **asdict(layout)}).encode())
                publish(file, path)
    if not path.exists():
        return False
    check_index(directory, layout)
    return True
