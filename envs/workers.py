"""Work shared out to processes, which end with their parent: nobody writes on after a program that was killed."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

PASSED_ON = (ValueError, OSError, ImportError)  # a worker's errors that its parent raises as they are
Result = TypeVar("Result")


class WorkerError(ValueError):
    """Worker processes ended before the work was done."""


def in_processes(
    function: Callable[..., Result],
    shared: Any,
    tasks: Iterable[Any],
    processes: int,
    advanced: Callable[[int], object] | None = None,
    spare: bool = False,
) -> Generator[Result, None, None]:
    """Yields the function's result of each task as it is done, in no fixed order where there are several processes.

    Processes are spawned anew, so a program that calls this needs its ``if __name__ == "__main__"``. They end with
    the generator, in the middle of a task where it is given up; Ctrl-C reaches this process alone.

    Args:
        function: Something a process can import.
        shared: Its first argument, which each process gets once.
        tasks: Its second arguments, small.
        processes: How many; with 1 all is done here.
        advanced: Told in the midst of tasks how much was done since it was told last; the function then gets, as its
            third argument, what it tells that to.
        spare: Whether each task is all that is left to do: then the others make up for a process that is killed.

    Raises:
        ValueError, OSError, ImportError: What the function raised.
        WorkerError: If a process was killed, of spare ones all, or failed otherwise (it prints its traceback).
    """
    if processes == 1:
        tell = () if advanced is None else (advanced,)
        yield from (function(shared, task, *tell) for task in tasks)
        return
    left, workers = list(tasks)[::-1], dict[Connection, SpawnProcess]()
    content = pickle.dumps((function, shared, advanced is not None))
    try:
        for _ in range(min(processes, len(left))):
            pipe, process = _start()
            workers[pipe] = process
        for pipe in workers:  # sent once all have begun to start up, as sending waits for that
            with suppress(ConnectionError):  # it was killed meanwhile, which is seen when nothing comes
                pipe.send_bytes(content)
        yield from _results(workers, left, advanced, spare)
    finally:
        for process in workers.values():
            process.terminate()
        for process in workers.values():
            process.join()


def _results(
    workers: Mapping[Connection, SpawnProcess],
    left: list[Any],
    advanced: Callable[[int], object] | None,
    spare: bool,
) -> Generator[Any, None, None]:
    """Yields what comes of the tasks that are left, given out from the last one on; see `in_processes`."""
    idle, busy, killed = list(workers), set[Connection](), 0
    while busy or (idle and left):
        while idle and left:
            busy.add(pipe := idle.pop())
            with suppress(ConnectionError):
                pipe.send(left.pop())
        for pipe in connection.wait(list(busy)):
            assert isinstance(pipe, Connection)
            try:
                kind, value = pipe.recv()
            except (EOFError, ConnectionResetError):
                busy.remove(pipe)
                killed += 1
                _check_killed(workers[pipe], killed, len(workers), spare)
                continue
            if kind == "error":
                raise value
            if kind == "result":
                busy.remove(pipe)
                idle.append(pipe)
                yield value
            elif advanced is not None:
                advanced(value)


def _check_killed(process: SpawnProcess, killed: int, count: int, spare: bool) -> None:
    """Returns if work goes on though a process has ended in the middle of it; raises WorkerError otherwise."""
    process.join()
    assert process.exitcode is not None, "it has ended"
    if process.exitcode > 0:
        raise WorkerError("a worker process failed; its traceback is printed above")
    if not spare:
        raise WorkerError(f"one of {count} processes was killed, perhaps because memory ran out; run again with fewer")
    if killed == count:
        raise WorkerError(f"all {count} worker processes were killed, perhaps for want of memory; use fewer")
    logger.warning("a worker process was killed (signal %d); the others do its work", -process.exitcode)


def _start() -> tuple[Connection, SpawnProcess]:
    """Returns the pipe to a started process, which takes tasks and brings what comes of them, and the process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    try:
        with ctrl_c_is_ours():
            process.start()
    finally:
        theirs.close()
    return ours, process


def _work(pipe: Connection) -> None:
    """Does tasks as they come, in a worker process."""
    end_with_parent()
    function, shared, tells = pickle.loads(pipe.recv_bytes())
    tell = (lambda number: pipe.send(("advanced", number)),) if tells else ()
    while True:
        try:
            result = function(shared, pipe.recv(), *tell)
        except PASSED_ON as error:
            pipe.send(("error", error))
            return
        pipe.send(("result", result))


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


def ask_git(*words: str) -> str | None:
    """Returns what git answers in one line; None where there is no git, no repository or no answer."""
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip() or None
    except FileNotFoundError:
        return None
