"""A websocket server that anyone may knock at: who is let in, how much they may send and how long they may be silent.

Shared by the plan server and by `envs.arms.remote.arm.serve_arm`.
"""

from __future__ import annotations

import asyncio
import hmac
import http
import ipaddress
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from envs.arms.remote.messages import MessageError, MessageLimits, pack, unpack
from envs.ranges import check_range

logger = logging.getLogger(__name__)
_UNTAKEN_BYTES = 20 * 2**20
"""A client that asks (also for pongs) and does not take the answers is dropped when so many bytes wait for it."""
_MIN_TOKEN = 16


@dataclass(frozen=True)
class ListenConfig:
    """Where a server listens and what it takes from anyone.

    Attributes:
        address: Where to listen. Any but a loopback address needs a token.
        port: TCP port; 0 for any free one.
        token: Secret that a client must know, at least 16 printable characters; None for none, on loopback only.
        connections: Clients at a time.
        rate: Messages a second that are read from one client; the rest waits in its own socket.
        message_bytes: Length of a message.
        silence: How long a client may take to shake hands, to answer a ping or to take an answer [s].

    Raises:
        ValueError: If a number is out of its range, the token is short or there is none where one is needed.
    """

    address: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    connections: int = 8
    rate: float = 50.0
    message_bytes: int = 16 * 2**20
    silence: float = 20.0

    def __post_init__(self) -> None:
        check_range(self, "(0, inf)", "connections", "rate", "message_bytes", "silence", of="a server's ")
        check_range(self, "[0, 65535]", "port", of="a server's ")
        if self.token is None and not _is_loopback(self.address):
            raise ValueError(
                f"listening on {self.address or 'all addresses'!r} lets others on the network in: name a token, or "
                "listen on 127.0.0.1"
            )
        if self.token is not None and (len(self.token) < _MIN_TOKEN or not _is_header_safe(self.token)):
            raise ValueError(f"a token is at least {_MIN_TOKEN} printable ASCII characters without spaces")


async def listen_until_cancelled(
    handle: Callable[[ServerConnection], Awaitable[None]], config: ListenConfig, ready: Callable[[str], None]
) -> None:
    """Serves a handler's clients until cancelled; calls `ready` with the URL once it listens.

    ``GET /healthz`` is answered 200. A client without the token gets 401, one too many 503, and a browser 403: pages
    from elsewhere may not reach a server on loopback.

    Raises:
        OSError: If the address or the port cannot be had.
    """
    async with serve(
        handle,
        config.address,
        config.port,
        process_request=lambda connection, request: _answer_knock(connection, request, config),
        origins=[None],
        compression=None,
        max_size=config.message_bytes,
        max_queue=1,
        open_timeout=config.silence,
        ping_interval=config.silence,
        ping_timeout=config.silence,
        close_timeout=min(config.silence, 1.0),
        logger=_quiet_logger(),
        create_connection=_Connection,
    ) as server:
        host, port = next(iter(server.sockets)).getsockname()[:2]
        ready(f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}")
        await asyncio.get_running_loop().create_future()


async def read_messages(connection: ServerConnection, config: ListenConfig) -> AsyncIterator[dict[str, Any]]:
    """Yields a client's messages until it leaves, no faster than the configured rate.

    One that cannot be read is answered with one line and ends the connection.
    """
    loop, limits = asyncio.get_running_loop(), MessageLimits(message_bytes=config.message_bytes)
    free_at = loop.time()
    try:
        async for data in connection:
            await asyncio.sleep(free_at - loop.time())
            free_at = max(free_at, loop.time()) + 1 / config.rate
            if isinstance(data, str):
                raise MessageError("a message is a binary frame of msgpack, got a text frame")
            yield unpack(data, limits)
    except MessageError as error:
        await reply(connection, str(error), config)
        await dismiss(connection, 1007, "unreadable message")
    except ConnectionClosed:
        return


async def reply(connection: ServerConnection, answer: dict[str, Any] | str, config: ListenConfig) -> None:
    """Sends a message, or an error as a text frame; a client that does not take it in time, or left, is forgotten."""
    try:
        async with asyncio.timeout(config.silence):
            await connection.send(answer if isinstance(answer, str) else pack(answer))
    except TimeoutError:
        connection.transport.abort()
    except ConnectionClosed:
        return


async def dismiss(connection: ServerConnection, code: int, reason: str) -> None:
    """Closes a connection; what its client still sends is read and dropped, or its farewell would wait behind that."""
    closing = asyncio.ensure_future(connection.close(code, reason))
    with suppress(ConnectionClosed):
        while True:
            await connection.recv(decode=False)
    await closing


class _Connection(ServerConnection):
    """A connection whose pongs do not pile up: the library writes them whether the client takes them or not."""

    def data_received(self, data: bytes) -> None:
        """Handles bytes from the client."""
        super().data_received(data)
        if self.transport.get_write_buffer_size() > _UNTAKEN_BYTES:
            self.transport.abort()


def _answer_knock(connection: ServerConnection, request: Request, config: ListenConfig) -> Response | None:
    """Returns what an HTTP request is answered; None lets it become a websocket."""
    if request.path == "/healthz":
        return connection.respond(http.HTTPStatus.OK, "OK\n")
    if config.token is not None and not _knows(request, config.token):
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "this server needs its token\n")
    if len(connection.server.connections) >= config.connections:
        return connection.respond(
            http.HTTPStatus.SERVICE_UNAVAILABLE, f"this server has its {config.connections} clients already\n"
        )
    return None


def _knows(request: Request, token: str) -> bool:
    """Returns whether a request carries the token, as openpi's clients send it or as a bearer's; in constant time."""
    told = " ".join(request.headers.get_all("Authorization")).encode()
    accepted = [hmac.compare_digest(told, f"{scheme} {token}".encode()) for scheme in ("Api-Key", "Bearer")]
    return any(accepted)


def _is_loopback(address: str) -> bool:
    """Returns whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _is_header_safe(token: str) -> bool:
    """Returns whether a token can stand in an HTTP header as it is."""
    return token.isascii() and token.isprintable() and " " not in token


def _quiet_logger() -> logging.Logger:
    """Returns the websocket library's log without a traceback for everyone who knocks with something else."""
    quiet = logging.getLogger(f"{__name__}.websockets")
    quiet.addFilter(_is_no_handshake)
    return quiet


def _is_no_handshake(record: logging.LogRecord) -> bool:
    """Returns whether a log record is about something else than a failed handshake."""
    return "handshake" not in str(record.msg)
