"""How every program ends: its result, one line for what a user can get wrong, or nothing where nobody reads any more.

Imported first, so that Ctrl-C during the other imports, which take seconds, ends in one line as well.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Protocol, TypeVar

from envs.terminal import use_utf8

FAILED = 1
INTERRUPTED = 130
NOBODY_READS = 141  # as of a program that SIGPIPE ends
WRONG = (ValueError, OSError, ImportError)
"""What a user can get wrong raises one of these; anything else is a fault of ours and shows its traceback."""

Status = TypeVar("Status", int, None, covariant=True)


class Main(Protocol[Status]):
    """The main function of a program."""

    def __call__(self, arguments: Sequence[str] | None = None) -> Status:
        """Runs the command line, None for the process's own, and returns the exit status."""
        ...


def program(resumes: bool = False) -> Callable[[Main[Status]], Main[Status]]:
    """Returns what makes a main function end in one line.

    With ``python -X dev`` the traceback of an error is shown before its line.

    Args:
        resumes: Whether the same command goes on where Ctrl-C stopped it.
    """

    def decorate(main: Main[Status]) -> Main[Status]:
        @functools.wraps(main)
        def ended(arguments: Sequence[str] | None = None) -> Status:
            if signal.getsignal(signal.SIGINT) is _end_at_once:
                signal.signal(signal.SIGINT, signal.default_int_handler)
            if arguments is None:
                use_utf8()
            try:
                try:
                    return main(arguments)
                finally:
                    sys.stdout.flush()  # what is still in the buffer may meet a closed pipe, too
            except KeyboardInterrupt:
                raise _end(f"interrupted{'; the same command goes on from here' * resumes}", INTERRUPTED) from None
            except WRONG as error:
                end_unread(error)
                if sys.flags.dev_mode:
                    traceback.print_exc()
                sys.exit(f"error: {error}")

        return ended

    return decorate


def end_unread(error: Exception) -> None:
    """Ends the program in silence if its output has no reader any more, as in ``program | head``; else returns."""
    if isinstance(error, BrokenPipeError) and any(_is_unread(stream) for stream in (1, 2)):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            if _is_unread(stream):
                os.dup2(nowhere, stream)  # the interpreter writes its buffers once more at its end
        raise SystemExit(NOBODY_READS)


def _is_unread(stream: int) -> bool:
    """Returns whether an output stream is a pipe that nobody reads."""
    watch = select.poll()
    watch.register(stream, 0)
    return any(event & select.POLLERR for _, event in watch.poll(0))


def _end(message: str, status: int) -> SystemExit:
    """Returns the end of a program with a message and a status; `SystemExit` alone has either of them."""
    print(message, file=sys.stderr)
    end = SystemExit(message)
    end.code = status
    return end


def _say_interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Prints one line for Ctrl-C outside of `program`; hands anything else on."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _is_ours(command: str) -> bool:
    """Returns whether a process runs one of our programs: scripts/X.py or vjepa-planner X."""
    scripts = Path(__file__).resolve().parents[1] / "scripts"
    return command.startswith("vjepa-planner ") or Path(command).resolve().parent == scripts


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """Ends the process as the signal does, in one line: an exception in the midst of a library's import can abort."""
    os.write(2, b"interrupted\n")  # whatever sys.stderr is in the midst of
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # torch's idle threads yield: 5 times faster beside other programs
sys.excepthook = _say_interrupted
if _is_ours(sys.argv[0]) and multiprocessing.parent_process() is None:  # a program of ours imports
    signal.signal(signal.SIGINT, _end_at_once)
