"""Files of recordings: found behind links, read once while they do not change, and what may be wrong with one."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

_LFS = b"version https://git-lfs"
_Others = ParamSpec("_Others")
_Content = TypeVar("_Content")


def read_once(
    most: int,
) -> Callable[[Callable[Concatenate[Path, _Others], _Content]], Callable[Concatenate[Path, _Others], _Content]]:
    """Returns what makes a function of a file, and of other hashable arguments, keep its latest results.

    A file that was changed since, or was not there, is read again.

    Args:
        most: How many results are kept.
    """

    def decorate(
        read: Callable[Concatenate[Path, _Others], _Content],
    ) -> Callable[Concatenate[Path, _Others], _Content]:
        @functools.lru_cache(most)
        def remembered(path: Path, changed: int, *args: _Others.args, **kwargs: _Others.kwargs) -> _Content:
            return read(path, *args, **kwargs)

        @functools.wraps(read)
        def asked(path: Path, *args: _Others.args, **kwargs: _Others.kwargs) -> _Content:
            return remembered(path, path.stat().st_mtime_ns if path.is_file() else 0, *args, **kwargs)

        return asked

    return decorate


def walk_folders(
    root: Path, repeated: Callable[[Path, Path], object] | None = None
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yields a folder and all in it that are not hidden, each once wherever links lead, with the names of what it has.

    Args:
        root: Where to begin.
        repeated: Is told of a folder that was yielded before under another path: this path and the real one.

    Yields:
        A folder, the names of the folders in it and those of its files, in the order of their names.
    """
    seen: set[str] = set()
    for folder, inside, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            inside.clear()
            if repeated is not None:
                repeated(Path(folder), Path(real))
            continue
        seen.add(real)
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        yield Path(folder), list(inside), sorted(name for name in files if not name.startswith("."))


def suspect(path: Path) -> str:
    """Returns what may be wrong with a file that can't be read, for an error."""
    with path.open("rb") as file:
        head = file.read(len(_LFS))
    if head == _LFS:
        return "it is a pointer of Git LFS: run `git lfs pull` in its folder to get the file itself"
    return "it may be truncated" if head else "it is empty"
