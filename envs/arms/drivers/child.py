"""A process that answers one JSON line to each it is given."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import tempfile
import time
from typing import Any

from envs.arms.base import ArmError

_LONGEST = 1 << 16  # bytes of an answer
_ENDING = 2.0  # seconds for the process to end by itself when it is closed


class JsonChild:
    """A process of our own with pipes to it. `ask` is for one thread at a time."""

    def __init__(self, command: list[str], name: str) -> None:
        """Starts the process.

        Args:
            command: Program and arguments.
            name: What messages call it.

        Raises:
            ArmError: If the program is not there.
        """
        self._name = name
        self._complaints = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints, start_new_session=True
            )
        except OSError as error:
            self._complaints.close()
            raise ArmError(f"{name} cannot be started ({error}): is {command[0]} the Python it needs?") from error
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._received = b""
        self._late = 0  # answers that are still to come, to requests that were given up

    def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Returns the answer to a request; what comes late to one that was given up is dropped.

        Raises:
            ArmError: If the process has ended, does not answer in time [s] or answers something else.
        """
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()
        except (BrokenPipeError, ValueError) as error:  # ValueError: closed already
            raise ArmError(f"{self._name} has ended: {self._last_words()}") from error
        self._late, deadline, line = self._late + 1, time.monotonic() + timeout, b""
        while self._late:
            line = self._read_line(deadline, timeout)
            self._late -= 1
        try:
            return dict(json.loads(line))
        except ValueError as error:
            raise ArmError(f"{self._name} answered {line[:80]!r}, which is no JSON object") from error

    def close(self) -> None:
        """Ends the process: its input ends, and if that is not enough it is killed. Closing twice does no harm."""
        try:
            self._requests.close()
        except BrokenPipeError:
            pass  # it has ended already
        try:
            self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        self._complaints.close()

    def _read_line(self, deadline: float, timeout: float) -> bytes:
        while b"\n" not in self._received:
            with selectors.DefaultSelector() as selector:  # select.select takes no file number over 1023
                selector.register(self._answers, selectors.EVENT_READ)
                ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ArmError(f"{self._name} did not answer within {timeout} s")
            chunk = os.read(self._answers.fileno(), _LONGEST)
            if not chunk or len(self._received) > _LONGEST:
                raise ArmError(f"{self._name} has ended: {self._last_words()}")
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _last_words(self) -> str:
        """Returns the last line of what the process wrote to stderr."""
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "it closed its output"
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return f"exit status {self._process.returncode}, its last line: {lines[-1] if lines else 'none'}"
