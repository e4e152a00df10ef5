"""One array on disk, written once: claimed by a lock that dies with its process, whole or absent, with checksums."""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO, FileIO
from pathlib import Path

import numpy as np

BLOCK_BYTES = 4 * 1024 * 1024


class CacheError(ValueError):
    """A cache on disk is incomplete, damaged or not the one that was asked for, or can't be built."""


@dataclass(frozen=True)
class Checksums:
    """What a file was when it was written.

    Attributes:
        size: Of the file [bytes].
        block: Size of its blocks [bytes]; the last one may be shorter.
        crc32: Checksum of each block.
    """

    size: int
    block: int
    crc32: tuple[int, ...]

    @classmethod
    def of(cls, path: Path) -> Checksums:
        """Returns the checksums of a file as it is now."""
        with path.open("rb") as file:
            return cls(
                path.stat().st_size, BLOCK_BYTES, tuple(map(zlib.crc32, iter(lambda: file.read(BLOCK_BYTES), b"")))
            )

    def first_change(self, path: Path, share: float) -> int | None:
        """Returns where the first changed block begins [bytes], None if there is none.

        Args:
            path: The file.
            share: How many of its blocks to read, evenly chosen; 1 for all of them, always at least one.
        """
        count = max(1, round(share * len(self.crc32)))
        with path.open("rb") as file:
            for block in np.unique(np.linspace(0, len(self.crc32) - 1, count).round().astype(int)).tolist():
                file.seek(block * self.block)
                if zlib.crc32(file.read(self.block)) != self.crc32[block]:
                    return block * self.block
        return None


def part_path(path: Path) -> Path:
    """Returns where a file grows until it is whole; the next to build it takes over what a killed one left there."""
    return path.with_name(f"{path.name}.part")


def checksums_path(path: Path) -> Path:
    """Returns where the checksums of an array's file are."""
    return path.with_suffix(".json")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Makes a CacheError of what the file system refuses."""
    try:
        yield
    except OSError as error:
        raise CacheError(
            f"{path} can't be written ({error.strerror}); build again when it can, or with another --cache: what is "
            "finished is kept, and the same command goes on"
        ) from error


@contextmanager
def claim(path: Path) -> Iterator[FileIO | None]:
    """Gives the open, empty part of a file that is not there and that nobody else is building; None otherwise.

    The lock is `flock` on the part itself: it ends with its process, however that ends, and holds between machines on
    one file system. `publish` gives the part the file's name; a part that is not published is deleted.

    Raises:
        CacheError: If the directory can't be written or its file system has no locks.
    """
    part = part_path(path)
    with disk_errors(part):
        file = part.open("ab", buffering=0)
    with file:
        mine = _lock(file) and _is_at(file, part)  # else it was renamed or deleted between opening and locking
        try:
            if mine and not path.exists():
                file.truncate(0)
                yield file
            else:
                yield None
        finally:
            if mine and _is_at(file, part):
                part.unlink()


def append(file: FileIO, data: bytes | memoryview) -> None:
    """Writes all of the data to a claimed part; CacheError if the disk refuses."""
    rest = memoryview(data)
    with disk_errors(Path(file.name)):
        while len(rest):
            rest = rest[file.write(rest) :]  # a raw file may take fewer bytes


def publish(file: FileIO, path: Path) -> None:
    """Gives a claimed part the name of its file once it is on disk; CacheError if the disk refuses."""
    with disk_errors(path):
        os.fsync(file.fileno())
        part_path(path).replace(path)


def write_array(path: Path, file: FileIO, shape: tuple[int, ...], dtype: np.dtype, parts: Iterable[np.ndarray]) -> None:
    """Writes and publishes an array in NumPy's format, part by part along its first axis, checksums beside it first.

    Args:
        path: Its file, ending in .npy.
        file: What `claim` gave for it.
        shape: Of the whole array.
        dtype: Of its numbers.
        parts: The array in order, in pieces of any length.

    Raises:
        CacheError: If the parts are not the array that was announced, or the disk is full.
    """
    append(file, _header(shape, dtype))
    rows = 0
    for part in parts:
        if part.shape[1:] != shape[1:] or part.dtype != dtype:
            raise CacheError(f"{path} is to hold {dtype} {shape}, but {part.dtype} {part.shape} came")
        append(file, np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        rows += len(part)
    if rows != shape[0]:
        raise CacheError(f"{path} is to hold {shape[0]} frames, but {rows} came")
    checksums = checksums_path(path)
    with disk_errors(checksums):
        part_path(checksums).write_text(json.dumps(asdict(Checksums.of(part_path(path)))), encoding="utf-8")
        part_path(checksums).replace(checksums)
    publish(file, path)


def open_array(path: Path, shape: tuple[int, ...], dtype: np.dtype, share: float) -> np.ndarray:
    """Returns the memory map of an array that `write_array` wrote, after checking it.

    Args:
        path: Its file.
        shape: Expected.
        dtype: Expected.
        share: How many of its blocks to compare with their checksums, see `Checksums.first_change`.

    Raises:
        CacheError: If it is missing, has another shape or size, or a checked block has changed.
    """
    if not path.is_file():
        raise CacheError(f"the cache shard {path} is missing; build the cache again, finished shards are kept")
    remedy = f"delete {path} and build again"
    recorded = _read_checksums(path, remedy)
    size = path.stat().st_size
    if size != recorded.size:
        raise CacheError(f"the cache shard {path} has {size} bytes, {recorded.size} were written; {remedy}")
    changed = recorded.first_change(path, share)
    if changed is not None:
        raise CacheError(
            f"the cache shard {path} is damaged: changed since it was written, at byte {changed} or soon "
            f"after; {remedy}"
        )
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise CacheError(f"the cache shard {path} is damaged ({error}); {remedy}") from error
    if array.shape != shape or array.dtype != dtype:
        raise CacheError(
            f"the cache shard {path} holds {array.dtype} {array.shape}, expected {dtype} {shape}; {remedy}"
        )
    return array


def _read_checksums(path: Path, remedy: str) -> Checksums:
    """Returns what `write_array` wrote beside an array."""
    place = checksums_path(path)
    if not place.is_file():
        raise CacheError(f"the cache shard {path} lacks its checksums {place.name}; {remedy}")
    try:
        found = json.loads(place.read_bytes())
        checksums = Checksums(int(found["size"]), int(found["block"]), tuple(map(int, found["crc32"])))
    except (ValueError, KeyError, TypeError) as error:
        raise CacheError(f"the cache shard's checksums {place} are damaged ({error!r}); {remedy}") from error
    if checksums.block < 1 or len(checksums.crc32) != -(-checksums.size // checksums.block):
        raise CacheError(f"the cache shard's checksums {place} are damaged (not one a block); {remedy}")
    return checksums


def _header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """Returns what stands before the numbers in a .npy file."""
    header = BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()


def _lock(file: FileIO) -> bool:
    """Returns whether the file could be locked at once."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise CacheError(
            f"{file.name} can't be locked ({error}), so processes can't share the building of a cache there; name a "
            "cache directory on another file system"
        ) from error
    return True


def _is_at(file: FileIO, path: Path) -> bool:
    """Returns whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
