"""One array on disk, written once: claimed by a lock that dies with its process, whole or absent, with checksums."""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, FileIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt32

BLOCK_BYTES = 4 * 1024 * 1024


class CacheError(ValueError):
    """A cache on disk is incomplete, damaged or not the one that was asked for, or can't be built."""


@dataclass(frozen=True)
class Shard:
    """A file in NumPy's format, and behind the array a CRC-32 of each block of all that is before.

    Attributes:
        path: Of the file, ending in .npy.
        shape: Of the array.
        dtype: NumPy name of its numbers.
        name: What the checksums begin with: a file that is put in another's place is seen to be another.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: str
    name: str

    def write(self, file: FileIO, parts: Iterable[np.ndarray]) -> None:
        """Writes and publishes the array.

        Args:
            file: What `claim` gave for the path.
            parts: The array in order, along its first axis, in pieces of any length.

        Raises:
            CacheError: If the parts are not the array that was announced, or the disk is full.
        """
        append(file, self._header)
        rows = 0
        for part in parts:
            if part.shape[1:] != self.shape[1:] or part.dtype != self.dtype:
                raise CacheError(
                    f"{self.path} is to hold {self.dtype} {self.shape}, but {part.dtype} {part.shape} came"
                )
            append(file, np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
            rows += len(part)
        if rows != self.shape[0]:
            raise CacheError(f"{self.path} is to hold {self.shape[0]} frames, but {rows} came")
        append(file, self._checksums(part_path(self.path), np.arange(self._blocks)).tobytes())
        publish(file, self.path)

    def open(self, share: float) -> np.ndarray:
        """Returns the array's memory map after checking it.

        Args:
            share: Of its blocks that are compared with their checksums, evenly chosen; always at least one.

        Raises:
            CacheError: If it is missing, has another size, or a checked block has changed.
        """
        if not self.path.is_file():
            raise CacheError(f"the cache shard {self.path} is missing; build the cache again, finished shards are kept")
        size, expected = self.path.stat().st_size, self._size + 4 * self._blocks
        remedy = f"delete {self.path} and build again"
        if size != expected:
            raise CacheError(f"the cache shard {self.path} has {size} bytes, {expected} were written; {remedy}")
        count = max(1, round(share * self._blocks))
        chosen = np.unique(np.linspace(0, self._blocks - 1, count).round().astype(int))
        written = np.fromfile(self.path, "<u4", offset=self._size)[chosen]
        changed = chosen[self._checksums(self.path, chosen) != written]
        if len(changed):
            raise CacheError(
                f"the cache shard {self.path} is damaged: changed since it was written, at byte "
                f"{changed[0] * BLOCK_BYTES} or soon after; {remedy}"
            )
        return np.memmap(self.path, self.dtype, "r", len(self._header), self.shape)

    @property
    def _header(self) -> bytes:
        """What stands before the numbers in a .npy file."""
        header, kind = BytesIO(), np.lib.format.dtype_to_descr(np.dtype(self.dtype))
        np.lib.format.write_array_header_1_0(header, {"descr": kind, "fortran_order": False, "shape": self.shape})
        return header.getvalue()

    @property
    def _size(self) -> int:
        """Of header and array [bytes]."""
        return len(self._header) + int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def _blocks(self) -> int:
        """Into which header and array are cut; the last one may be shorter."""
        return -(-self._size // BLOCK_BYTES)

    def _checksums(self, path: Path, blocks: np.ndarray) -> UInt32[np.ndarray, "blocks"]:
        """Returns the checksums of chosen blocks as they are in a file now."""
        start, sums = zlib.crc32(self.name.encode()), []
        with path.open("rb") as file:
            for place in (blocks * BLOCK_BYTES).tolist():
                file.seek(place)
                sums.append(zlib.crc32(file.read(min(BLOCK_BYTES, self._size - place)), start))
        return np.array(sums, "<u4")


def part_path(path: Path) -> Path:
    """Returns where a file grows until it is whole; the next to build it takes over what a killed one left there."""
    return path.with_name(f"{path.name}.part")


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
