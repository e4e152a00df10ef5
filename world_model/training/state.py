"""The state of a run on disk, from which a run that was killed at any moment goes on."""

from __future__ import annotations

import logging
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from world_model.finite import not_finite, some, tensors_in

logger = logging.getLogger(__name__)


_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError,
    KeyError, IndexError, OverflowError,
)  # fmt: skip
"""What reading a damaged archive ends in; 3000 flipped bits gave no other."""


class StateError(ValueError):
    """A run directory's saved state is damaged or belongs to another configuration."""


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes tensors and plain values; the state that was there stays beside it, see `load_state`.

    The file is written under another name, is forced to disk and then takes its own, so that at any moment the last
    state or the one before it is there, whole.
    """
    temporary, previous = _other_names(path)
    try:
        with temporary.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # of what the disk refused, torch makes a RuntimeError
        refused = error if isinstance(error, OSError) else error.__context__
        if not isinstance(refused, OSError):
            raise
        temporary.unlink(missing_ok=True)  # what it takes of a full disk
        raise OSError(refused.errno, refused.strerror, str(path)) from error
    if path.is_file():
        path.replace(previous)
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the names, too, survive a power cut
    finally:
        os.close(folder)


def load_state(path: Path) -> dict[str, Any] | None:
    """Returns the last state that was written whole, or None if there is none yet; warns where it is not the last.

    Raises:
        StateError: If there are states but none can be read.
    """
    temporary, previous = _other_names(path)
    damaged = []
    for candidate in (path, temporary, previous):  # newest first: without `path`, the renaming was broken off
        if candidate.is_file():
            try:
                state = _read(candidate)
            except StateError as error:
                damaged.append((candidate, str(error)))
                continue
            for other, reason in damaged:
                logger.warning("%s can't be read (%s); going on from %s", other, reason, candidate.name)
            return state
    finished = [(file, reason) for file, reason in damaged if file != temporary]
    if not finished:  # nothing, or a first state that was still being written
        return None
    file, reason = finished[0]
    raise StateError(f"{file} can't be read ({reason}), and no state before it; delete it to start the run afresh")


def _other_names(path: Path) -> tuple[Path, Path]:
    """Returns where a state is while it is written, and where the one before the last is."""
    return path.with_name(f"{path.name}.tmp"), path.with_name(f"{path.stem}.previous{path.suffix}")


def _read(path: Path) -> dict[str, Any]:
    """Returns a state whose checksums (`torch.load` ignores them) and numbers are good; StateError says what is not."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
        if bad is not None:
            raise StateError(f"the checksum of its entry {bad} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        raise StateError(str(error).partition("\n")[0] or type(error).__name__) from error
    if not isinstance(state, dict):
        raise StateError(f"it holds a {type(state).__name__}, no state of a run")
    broken = not_finite(dict(tensors_in(state)))
    if broken:
        raise StateError(f"its run diverged: {len(broken)} tensors are not finite: {some(broken)}")
    return state
