"""Small disks to fill, and what is on a disk."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder by their names in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def small_disk(place: Path) -> Iterator[Callable[..., Path]]:
    """What a fixture yields: makes a disk in memory of a size such as "64k"; skips the test without the rights to."""
    mounted: list[Path] = []

    def make(size: str) -> Path:
        place.mkdir()
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True, check=False
        )
        if made.returncode:
            pytest.skip("mounting a small disk takes rights that this user does not have")
        mounted.append(place)
        return place

    try:
        yield make
    finally:
        for disk in mounted:
            subprocess.run(["umount", disk], check=True)
