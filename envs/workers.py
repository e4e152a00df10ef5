"""Worker processes end with their parent, whatever ends it: nobody writes on after a program that was killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def ctrl_c_is_ours() -> Iterator[None]:
    """Leaves Ctrl-C, which a terminal sends to all of a program's processes, to this one: around starting the others.

    They inherit that it is blocked, so that it does not meet them in the midst of their imports either.
    """
    resource_tracker.ensure_running()  # it would unblock the signal
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def end_with_parent() -> None:
    """Ends this worker process at once when its parent has ended; to be called first in every worker process.

    A thread waits for that on the parent's pipe, which the kernel closes even for a parent that was killed.
    """
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    """Waits for the parent's end and ends this process."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a worker process"
    parent.join()
    os._exit(1)
