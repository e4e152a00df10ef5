"""The arm's side of an arm that is driven over a websocket; `envs.arms.remote.arm.serve_arm` runs it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from websockets.asyncio.server import ServerConnection

from envs.arms.base import ArmError
from envs.arms.remote.follower import Follower, FollowerConfig
from envs.arms.remote.listen import ListenConfig, dismiss, listen_until_cancelled, read_messages, reply
from envs.arms.remote.messages import PROTOCOL, MessageError

if TYPE_CHECKING:
    from envs.arms.base import StreamingArm

SILENCE = 2.0
"""Until a client that does not answer makes room for another [s]."""

_PENDING = 4  # observations that one client may wait for
_RATE = 2000.0  # messages a second that are read from the client


class ArmServer:
    """Lets one client at a time drive an arm, until it is cancelled; it runs once."""

    def __init__(
        self, arm: StreamingArm, config: ListenConfig | None = None, follower: FollowerConfig | None = None
    ) -> None:
        """Keeps what `run` serves.

        Args:
            arm: The arm inside its `envs.arms.safety.SafeArm`, connected.
            config: Where to listen; ``connections`` and ``rate`` are an arm's own.
            follower: When the arm is held and stopped.
        """
        self._arm = arm
        self._config = replace(config or ListenConfig(port=8001, silence=SILENCE), connections=1, rate=_RATE)
        self._follower = follower or FollowerConfig()
        self._turn = asyncio.Lock()
        self._looking = ThreadPoolExecutor(max_workers=1, thread_name_prefix="looking")
        self._stopping = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stopping")

    async def run(self, ready: Callable[[str], None]) -> None:
        """Serves until cancelled; the arm is stopped then.

        Args:
            ready: Called with the URL once the server listens.

        Raises:
            OSError: If the address or the port cannot be had.
        """
        try:
            await listen_until_cancelled(self._serve, self._config, ready)
        finally:
            for pool in (self._looking, self._stopping):
                pool.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, connection: ServerConnection) -> None:
        """Does what one client says until it leaves, then waits until the arm is stopped."""
        async with self._turn:  # the follower of the client before may still have to stop the arm
            follower = Follower(self._arm, self._follower)
            looks: set[asyncio.Task[None]] = set()
            try:
                await asyncio.wrap_future(self._looking.submit(self._make_ready))
                await reply(connection, self._metadata(), self._config)
                async for message in read_messages(connection, self._config):
                    await self._obey(connection, message, follower, looks)
            except (RuntimeError, ValueError, OSError) as error:  # the driver's, and unreadable messages
                text = " ".join(str(error).split())
                await reply(connection, text, self._config)
                await dismiss(connection, 1011, text.encode()[:120].decode(errors="ignore"))
            finally:
                for look in looks:
                    look.cancel()
                await asyncio.wrap_future(self._stopping.submit(follower.finish))

    async def _obey(
        self, connection: ServerConnection, message: dict[str, Any], follower: Follower, looks: set[asyncio.Task[None]]
    ) -> None:
        """Does what a message says."""
        if follower.fault is not None:
            raise ArmError(follower.fault)
        match message:
            case {"set_point": np.ndarray() as set_point, "sent": float() as sent, **rest} if not rest:
                if set_point.shape != (7,) or not np.all(np.isfinite([*set_point, sent])):
                    raise MessageError(f"a set-point is 7 finite numbers, got {set_point.dtype} {set_point.shape}")
                follower.follow(set_point.astype(np.float64), sent)
            case {"stop": True, **rest} if not rest:
                await asyncio.wrap_future(self._stopping.submit(follower.stop))
            case {"observe": True, **rest} if not rest:
                if len(looks) >= _PENDING:
                    raise MessageError(f"{_PENDING} observations are asked for already: wait for them")
                look = asyncio.create_task(self._observe(connection))
                looks.add(look)
                look.add_done_callback(looks.discard)
            case _:
                raise MessageError("an arm knows set_point with sent, stop and observe")

    async def _observe(self, connection: ServerConnection) -> None:
        """Answers with what the arm sees, while set-points go on."""
        try:
            seen = await asyncio.wrap_future(self._looking.submit(self._arm.observe))
            age = time.monotonic() - seen.time
            answer = {"image": seen.image, "pose": seen.pose.astype(np.float64), "age": float(age)}
        except (RuntimeError, ValueError, OSError) as error:
            await reply(connection, " ".join(str(error).split()), self._config)
            return
        await reply(connection, answer, self._config)

    def _make_ready(self) -> None:
        """Connects an arm anew that has failed since: the client before was told so, and a person looked at it."""
        try:
            self._arm.observe()
        except ArmError:
            self._arm.connect()

    def _metadata(self) -> dict[str, Any]:
        """Returns the first message of a connection."""
        spec, shape = self._arm.action_spec.to_dict(), list(self._arm.image_shape)
        return {"protocol": PROTOCOL, "action_spec": spec, "image_shape": shape}
