"""Several processes at one piece of work, which they share out among themselves."""

from __future__ import annotations

import logging
import multiprocessing
import pickle
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from envs.workers import ctrl_c_is_ours, end_with_parent

logger = logging.getLogger(__name__)

PASSED_ON = (ValueError, OSError, ImportError)  # a worker's errors that its parent raises as they are
SECONDS_BETWEEN_LOOKS = 0.2


class WorkerError(ValueError):
    """The worker processes ended before the work was done."""


def run_workers(
    count: int, work: Callable[..., object], arguments: tuple[object, ...], watch: Callable[[], object]
) -> None:
    """Calls `work(*arguments)` in `count` spawned processes and returns when all have ended and the work is done.

    Each is to return only when the work of all is done: then the others make up for one that is killed. They end with
    their parent, however that ends, and leave Ctrl-C to it.

    Args:
        count: Processes.
        work: A function at the top of a module.
        arguments: Pickled to each process.
        watch: Called several times a second meanwhile.

    Raises:
        ValueError, OSError, ImportError: What `work` raised in one of them; the others are ended.
        WorkerError: If one failed otherwise (it prints its traceback), or all were killed.
    """
    workers: dict[Connection, SpawnProcess] = {}
    content = pickle.dumps((work, arguments))
    try:
        for _ in range(count):
            pipe, process = _start()
            workers[pipe] = process
        for pipe in workers:  # sent once all have begun to start up, as sending waits for that
            with suppress(ConnectionError):  # it was killed meanwhile, which is seen below
                pipe.send_bytes(content)
        pipes, done = set(workers), False
        while pipes:
            for pipe in connection.wait(list(pipes), SECONDS_BETWEEN_LOOKS):
                assert isinstance(pipe, Connection)
                pipes.remove(pipe)
                done |= _ended_well(workers[pipe], pipe)
            watch()
        if not done:
            raise WorkerError(f"all {count} worker processes were killed, perhaps for want of memory; use fewer")
    finally:
        for process in workers.values():
            process.terminate()
        for process in workers.values():
            process.join()


def _start() -> tuple[Connection, SpawnProcess]:
    """Returns the pipe to a started process, which takes its work and brings its error or its end, and the process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs,), daemon=True)
    try:
        with ctrl_c_is_ours():
            process.start()
    finally:
        theirs.close()
    return ours, process


def _run(pipe: Connection) -> None:
    """Works, in the worker process."""
    end_with_parent()
    work, arguments = pickle.loads(pipe.recv_bytes())
    try:
        work(*arguments)
    except PASSED_ON as error:
        pipe.send(error)


def _ended_well(process: SpawnProcess, pipe: Connection) -> bool:
    """Returns whether an ended worker did its work, False if it was killed; raises what it raised."""
    try:
        error = pipe.recv()
    except (EOFError, ConnectionResetError):
        process.join()
    else:
        raise error
    if process.exitcode is not None and process.exitcode > 0:
        raise WorkerError("a worker process failed; its traceback is printed above")
    if process.exitcode:
        logger.warning("a worker process was killed (signal %d); the others do its work", -process.exitcode)
    return process.exitcode == 0
