"""Folders that programs write into: only those that are empty, or that the same program began itself.

What a program begins it marks, before anything else, with an empty file ``.vjepa-planner-<program>``. Nothing is
written into, replaced or deleted in a folder that holds other things.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

MARKER = ".vjepa-planner-"
_NOTHING = {"lost+found", ".DS_Store", "Thumbs.db", "desktop.ini"}  # what systems leave in an empty folder
_SHOWN = 4  # of many names in a folder, how many an error lists
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
_REFUSED = {*_FULL, *_FORBIDDEN, errno.ENAMETOOLONG, errno.EIO, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}


class FolderError(ValueError):
    """A folder can't be written, or holds what the program that was to write into it did not begin."""


def is_begun(folder: Path, program: str) -> bool:
    """Returns whether a program began a folder."""
    return (folder / f"{MARKER}{program}").exists()


def check_folder(folder: Path, program: str, option: str) -> None:
    """Returns if a program may write into a folder; changes nothing.

    Args:
        folder: Absent, empty or begun by the program.
        program: Name of the program, or of what it keeps in the folder.
        option: That names the folder, for the error.

    Raises:
        FolderError: If something else is there; it says what.
        OSError: If the folder can't be listed.
    """
    try:
        there = sorted(set(os.listdir(folder)) - _NOTHING)
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        file = next(place for place in (folder, *folder.parents) if place.exists())
        raise FolderError(f"{option} {folder}: {file} is a file, not a folder; name another {option}") from error
    if not there or f"{MARKER}{program}" in there:
        return
    begun_by = [name.removeprefix(MARKER) for name in there if name.startswith(MARKER)]
    names = ", ".join(there[:_SHOWN]) + (f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else "")
    holds = f"was begun by {begun_by[0]!r}, not by {program!r}" if begun_by else f"holds something else ({names})"
    raise FolderError(
        f"{option} {folder} {holds}: nothing was written there. Name another {option}, empty or not there yet"
    )


def begin_folder(folder: Path, program: str, option: str) -> None:
    """Makes a folder a program's own, see `check_folder`; doing it again changes nothing.

    Raises:
        FolderError: If something else is there.
        OSError: If the folder can't be made or written; see `explained`.
    """
    check_folder(folder, program, option)
    folder.mkdir(parents=True, exist_ok=True)
    if not is_begun(folder, program):
        (folder / f"{MARKER}{program}").touch()
    elif not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "it may not be written", str(folder))


def begin_cache(folder: Path) -> None:
    """Makes a folder one of caches, as `begin_folder` does; one that is full and read-only will do.

    Raises:
        FolderError: If something else is there.
        OSError: If the folder can't be made or written.
    """
    if not is_begun(folder, "cache"):
        begin_folder(folder, "cache", "--cache")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Names the folder in what the operating system refuses without a path: what was open there can't be written."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _REFUSED:
            raise OSError(error.errno, error.strerror, str(folder)) from error
        raise


@contextmanager
def explained(**folders: Path | None) -> Iterator[None]:
    """Makes a FolderError, one line, of what the operating system refuses: where, why, and the option that helps.

    Args:
        folders: Those that the program writes into, by the option that names them, without dashes; capitals stand for
            an argument that is none. None is none.

    Raises:
        FolderError: For no room, no right to write, a name that is too long and the like; other errors come through.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        options = {name if name.isupper() else f"--{name.replace('_', '-')}": place for name, place in folders.items()}
        raise FolderError(
            _explain(error, {option: folder for option, folder in options.items() if folder is not None})
        ) from error


@contextmanager
def results_folder(folder: Path, program: str) -> Iterator[None]:
    """Makes the folder of --output a program's own before any work, and explains what can't be written there.

    One that was not there before and got nothing, because the work was refused, is taken away again.

    Raises:
        FolderError: If something else is there, or it can't be written.
    """
    new, marker = not folder.exists(), folder / f"{MARKER}{program}"
    with explained(output=folder), writing(folder):
        begin_folder(folder, program, "--output")
        try:
            yield
        finally:
            if new and list(folder.iterdir()) == [marker]:
                marker.unlink()
                folder.rmdir()


def _explain(error: OSError, folders: Mapping[str, Path]) -> str:
    """Returns what was refused in one line."""
    reason, place = error.strerror or str(error), error.filename
    if not isinstance(place, str):
        return f"{reason}, writing into {' or '.join(f'{folder} ({option})' for option, folder in folders.items())}"
    for option, folder in folders.items():
        if not _lies_in(Path(place), folder):
            continue
        if error.errno in _FULL:
            remedy = f"make room there or name another {option}"
        elif error.errno == errno.ENAMETOOLONG:
            remedy = f"name a shorter {option}"
        else:
            remedy = f"name another {option}, where you may write"
        return f"{place}: {reason}; {remedy}. What is complete is kept, and the same command goes on"
    return f"{place}: {reason}"


def _lies_in(place: Path, folder: Path) -> bool:
    """Returns whether a place is in a folder, or is one that the folder would be made in."""
    place, folder = Path(os.path.abspath(place)), Path(os.path.abspath(folder))
    return place.is_relative_to(folder) or folder.is_relative_to(place)


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Gives a new folder to write into, which takes a folder's place once all is written; the old one is deleted then.

    After an error the old one is as it was.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        partial.chmod(0o755)
        yield partial
        old = folder.with_name(f".{folder.name}.old.{os.getpid()}")
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Puts a file in place whole or not at all; a leftover of a killed write is overwritten by the next one.

    Raises:
        OSError: With the file's path.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()  # what it takes of a full disk
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Puts a text file in place as `write_bytes` does."""
    write_bytes(path, text.encode())
