"""What may be wrong with a file that can't be read."""

from __future__ import annotations

from pathlib import Path

_LFS = b"version https://git-lfs"


def suspect(path: Path) -> str:
    """Returns what may be wrong with a file that can't be read, for an error."""
    with path.open("rb") as file:
        head = file.read(len(_LFS))
    if head == _LFS:
        return "it is a pointer of Git LFS: run `git lfs pull` in its folder to get the file itself"
    return "it may be truncated" if head else "it is empty"
