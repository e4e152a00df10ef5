"""The asking side of a websocket: time-outs everywhere, one line for everything that goes wrong."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.sync.client import connect

from envs.arms.remote.messages import PROTOCOL, MessageError, MessageLimits, pack, unpack

_PING_SECONDS = 5.0


class ServerError(RuntimeError):
    """The other side cannot be reached, left, took too long or answered with an error."""


class Connection:
    """A connection to one of our servers.

    The server answers every request in turn. An answer that came too late for its request is dropped when the next one
    is made, so that a connection survives a time-out.
    """

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        """Connects and reads what the server tells about itself, `metadata`.

        Args:
            url: Such as ws://127.0.0.1:8000; wss:// for a server behind TLS.
            token: Secret that the server asks for.
            timeout: For connecting, for sending a message and for an answer [s].

        Raises:
            ServerError: If there is no server of ours, or it lets nobody in.
        """
        self.url, self.timeout = url, timeout
        self._limits = MessageLimits()
        self._lock = threading.Lock()  # one request at a time
        self._late = 0  # answers that are still to come, to requests that were given up
        headers = {} if token is None else {"Authorization": f"Api-Key {token}"}
        self._resources = ExitStack()
        try:
            opened = _open_socket(url, timeout)
            self._resources.callback(opened.close)
            link = connect(
                url,
                sock=opened,
                additional_headers=headers,
                compression=None,
                proxy=None,
                open_timeout=timeout,
                close_timeout=min(timeout, 1.0),
                ping_interval=max(timeout, _PING_SECONDS),
                ping_timeout=max(timeout, _PING_SECONDS),
                max_size=self._limits.message_bytes,
            )
            self._socket = self._resources.enter_context(link)
        except (OSError, EOFError, InvalidHandshake, InvalidURI) as error:
            self.close()
            raise ServerError(f"no connection to {url}: {_why_not(error)}") from error
        try:
            self.metadata = self._receive(time.monotonic() + timeout)
            if self.metadata.get("protocol") != PROTOCOL:
                raise ServerError(
                    f"{url} speaks protocol {self.metadata.get('protocol')!r}, this side {PROTOCOL}: run the same "
                    "version of vjepa-planner on both"
                )
        except BaseException:
            self.close()
            raise

    def request(self, message: dict[str, Any]) -> dict[str, Any]:
        """Sends a message and returns the answer to it.

        Raises:
            ServerError: The server's own line, that it left or that it took too long.
        """
        with self._lock:
            self.send(message)
            self._late += 1
            deadline = time.monotonic() + self.timeout
            while self._late > 1:
                self._skip(deadline)
            return self._receive(deadline)

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message that has no answer.

        Raises:
            ServerError: If the server left or took nothing for the time-out.
        """
        try:
            self._socket.send(pack(message))
        except ConnectionClosed as error:
            raise ServerError(self._left(error)) from error

    def close(self) -> None:
        """Closes the connection. Closing twice does no harm."""
        self._resources.close()

    def _skip(self, deadline: float) -> None:
        """Reads an answer that nobody waits for any more."""
        try:
            self._socket.recv(timeout=deadline - time.monotonic())
        except TimeoutError as error:
            raise ServerError(f"{self.url} still works on an earlier request") from error
        except ConnectionClosed as error:
            raise ServerError(self._left(error)) from error
        self._late -= 1

    def _receive(self, deadline: float) -> dict[str, Any]:
        """Returns the next message."""
        begun = time.monotonic()
        try:
            data = self._socket.recv(timeout=deadline - begun)
        except TimeoutError as error:
            raise ServerError(f"{self.url} did not answer within {deadline - begun:.3g} s") from error
        except ConnectionClosed as error:
            raise ServerError(self._left(error)) from error
        self._late = max(0, self._late - 1)
        if isinstance(data, str):
            raise ServerError(data)
        try:
            return unpack(data, self._limits)
        except MessageError as error:
            raise ServerError(f"{self.url} is no server of ours: {error}") from error

    def _left(self, error: ConnectionClosed) -> str:
        """Returns one line about a connection that is over."""
        reason = error.rcvd.reason if error.rcvd is not None else ""
        return f"{self.url} closed the connection{f': {reason}' if reason else ''}"


def _open_socket(url: str, timeout: float) -> socket.socket:
    """Returns a connected socket on which sending, too, gives up after the time-out."""
    parts = urlsplit(url)
    if parts.scheme not in {"ws", "wss"} or not parts.hostname:
        raise InvalidURI(url, "expected ws://address:port")
    try:
        port = parts.port or (443 if parts.scheme == "wss" else 80)
    except ValueError as error:
        raise InvalidURI(url, str(error)) from error
    opened = socket.create_connection((parts.hostname, port), timeout)
    opened.settimeout(None)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    seconds = int(timeout)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, int((timeout - seconds) * 1e6)))
    return opened


def _why_not(error: Exception) -> str:
    """Returns one line about a connection that did not come about."""
    if isinstance(error, InvalidStatus):
        body = (error.response.body or b"").decode(errors="replace").strip()
        return f"{body or 'refused'} (HTTP {error.response.status_code})"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there; start the server first"
    return str(error) or type(error).__name__
