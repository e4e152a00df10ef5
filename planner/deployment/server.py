"""The plan server that deploy.py starts for itself: serve.py in a process that ends with this one, whatever happens.

Run as a program it is that process: it serves until its standard input closes, which the kernel does even for a parent
that was killed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_READY = re.compile(r"serving plans on (\S+)\n")
_LOOK = 0.05  # s between two looks at what it says
_PATIENCE = 5.0  # s that the server gets to end by itself
_NICENESS = 10


@contextmanager
def plan_server(arguments: Sequence[str], log: Path) -> Iterator[str]:
    """Yields the URL of a plan server on a free loopback port.

    Args:
        arguments: Of scripts/serve.py, without address and port.
        log: File for what the server has to say.

    Raises:
        ValueError: If it ends before it serves, with its own last line.
    """
    command = [
        sys.executable,
        "-P",
        "-m",
        "planner.deployment.server",
        *arguments,
        "--address",
        "127.0.0.1",
        "--port",
        "0",
    ]
    with (
        log.open("wb") as output,
        # a session of its own: Ctrl-C is for the robot's side, which ends the server when the arm is stopped
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
        ) as server,
    ):
        try:
            yield _wait_for_url(server, log)
        finally:
            assert server.stdin is not None
            server.stdin.close()
            try:
                server.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                server.kill()


def give_way() -> None:
    """Lets other programs, such as the robot's side, go before this process.

    Where Linux shares out time among sessions first (autogroups), the server's own session has the same effect.
    """
    os.nice(_NICENESS)


def _wait_for_url(server: subprocess.Popen[bytes], log: Path) -> str:
    """Returns the URL once the server listens; shows how long that takes. However large a model is, it may load."""
    began = time.monotonic()
    while True:
        ended = server.poll() is not None
        told = log.read_text(errors="replace", encoding="utf-8")
        if ready := _READY.search(told):  # whatever else a planner of one's own, or a library, prints
            break
        if ended:
            lines = told.strip().splitlines() or ["it said nothing"]
            raise ValueError(f"the plan server did not start, {log}: {lines[-1].removeprefix('error: ')}")
        _show(f"starting the plan server: {time.monotonic() - began:.0f} s", over=False)
        time.sleep(_LOOK)
    _show(f"the plan server is ready on {ready[1]} after {time.monotonic() - began:.1f} s", over=True)
    return ready[1]


def _show(text: str, over: bool) -> None:
    """Shows progress: in place on a terminal, otherwise only how it ended."""
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="\n" if over else "", file=sys.stderr, flush=True)
    elif over:
        print(text, file=sys.stderr)


def _end_with_parent() -> None:
    """Ends this process when its standard input closes."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os._exit(1)  # a plan that does not end


if __name__ == "__main__":
    give_way()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from planner.serving.program import main

    main()
