"""Servers in a thread of their own, and what a process holds on to."""

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

PAGE = os.sysconf("SC_PAGE_SIZE")


@contextmanager
def running(run: Callable[[Callable[[str], None]], Coroutine[Any, Any, None]]) -> Iterator[str]:
    """Yields the URL of a server, which is cancelled in the end."""
    urls: Queue[str] = Queue()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Task]] = []

    async def serve() -> None:
        task = asyncio.ensure_future(run(urls.put))
        loops.append((asyncio.get_running_loop(), task))
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    yield urls.get(timeout=20)
    loop, task = loops[0]
    loop.call_soon_threadsafe(task.cancel)
    thread.join(20)
    assert not thread.is_alive()


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Returns whether a condition becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def held() -> tuple[int, int]:
    """Returns how many file descriptors and threads this process has."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), threading.active_count()


def resident_bytes() -> int:
    """Returns how much memory this process has."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
