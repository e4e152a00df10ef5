"""Text of every language in whatever locale and terminal a program is started."""

from __future__ import annotations

import io
import os
import sys


def use_utf8() -> None:
    """Makes names and texts of every language readable and printable; may start the program again, from its beginning.

    Arrow and FFmpeg take paths as UTF-8. Where the locale has another encoding Python cannot hand them a path that is
    not ASCII, so it is started in its UTF-8 mode (PEP 540). What a terminal cannot show is printed as an escape.
    """
    if os.name == "posix" and sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "PYTHONUTF8": "1"})
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
