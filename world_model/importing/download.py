"""Downloads that go on where they broke off."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from world_model.checkpoints.weights_file import file_sha256

_BLOCK = 1 << 20


class DownloadError(OSError):
    """A file could not be had, or is not the one that was expected."""


def download(
    url: str,
    directory: Path,
    report: Callable[[int, int | None], object],
    sha256: str | None = None,
    tries: int = 5,
) -> Path:
    """Returns the file at a URL, in `directory` under its own name; one that is there already is not loaded again.

    An unfinished download stays beside it as NAME.part and the next call, or the next try, asks for the rest alone.

    Args:
        url: http, https or file.
        directory: Made if missing.
        report: Called with the bytes that are there and those there will be (None if the server does not say).
        sha256: Of the file; None if unknown.
        tries: How often a broken connection is taken up again.

    Raises:
        DownloadError: If the server refuses or breaks off too often, or the checksum is another.
    """
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
    if not name:
        raise DownloadError(f"{url} names no file")
    directory.mkdir(parents=True, exist_ok=True)
    finished, partial = directory / name, directory / f"{name}.part"
    if not finished.is_file():
        for left in reversed(range(tries)):
            try:
                _load_rest(url, partial, report)
                break
            except (http.client.HTTPException, ConnectionError, TimeoutError, urllib.error.URLError) as error:
                if left == 0 or isinstance(error, urllib.error.HTTPError):
                    kept = partial.stat().st_size if partial.exists() else 0
                    raise DownloadError(
                        f"{url} could not be loaded: {error}; {kept} bytes are kept, the same command goes on there"
                    ) from error
    source = finished if finished.is_file() else partial
    if sha256 is not None and file_sha256(source) != sha256:
        source.unlink()
        raise DownloadError(f"{url}: SHA-256 is not {sha256}; the file was damaged or replaced and has been removed")
    return finished if finished.is_file() else partial.replace(finished)


def _load_rest(url: str, partial: Path, report: Callable[[int, int | None], object]) -> None:
    """Appends to a partial file what it lacks."""
    there = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left of it
            return
        raise
    with response:
        continued = response.status == 206 if url.startswith("http") else False
        there = there if continued else 0
        length = response.headers.get("Content-Length")
        total = there + int(length) if length else None
        with partial.open("ab" if continued else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                there += len(block)
                report(there, total)
    if total is not None and there < total:
        raise http.client.IncompleteRead(b"", total - there)
