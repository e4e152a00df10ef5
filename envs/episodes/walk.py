"""The folders that recordings are in, at any depth and behind links."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path


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
