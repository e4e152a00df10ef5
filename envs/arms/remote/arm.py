"""An arm on another machine: `serve_arm` there, `RemoteArm` here.

    serve_arm(SafeArm(FrankaArm(...)), "192.168.1.5", token=...)      # on the arm's machine, inside its safety filter
    arm = RemoteArm("ws://192.168.1.5:8001", token=...)               # an `envs.arms.base.StreamingArm`

The arm's side looks after the arm by itself: when set-points stay away, because the network or this side failed, it
holds the arm and then stops it (`envs.arms.remote.follower`).
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from envs.arms.base import ArmError
from envs.arms.remote.arm_server import SILENCE, ArmServer
from envs.arms.remote.connection import Connection, ServerError
from envs.arms.remote.follower import FollowerConfig
from envs.arms.remote.listen import ListenConfig
from envs.spec import POSE_NAMES, ActionSpec, Observation, SpecError

if TYPE_CHECKING:
    from envs.arms.base import StreamingArm

logger = logging.getLogger(__name__)


class RemoteArm:
    """An `envs.arms.base.StreamingArm` over a websocket.

    `send` and `stop` hand over to a thread of its own, so that a slow network never blocks the caller; of set-points
    that wait only the newest is sent. After a failure `send` and `observe` raise it until `connect` is called again.
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 2.0) -> None:
        """Stores where the arm is; nothing is opened before it is needed.

        Args:
            url: Such as ws://192.168.1.5:8001.
            token: Secret that the arm's side asks for.
            timeout: For connecting, for an observation and for handing over a stop [s].
        """
        self.url, self.token, self.timeout = url, token, timeout
        self._changed = threading.Condition()
        self._connection: Connection | None = None
        self._thread: threading.Thread | None = None
        self._set_point: Float[np.ndarray, "7"] | None = None
        self._stopping = False
        self._closing = False
        self._failure: str | None = None
        self._last_time = -np.inf

    @property
    def action_spec(self) -> ActionSpec:
        """See `Arm.action_spec`; connects if that was not done yet."""
        return ActionSpec.from_dict(self._connected().metadata["action_spec"])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """See `Arm.image_shape`; connects if that was not done yet."""
        height, width, channels = self._connected().metadata["image_shape"]
        return height, width, channels

    def connect(self) -> None:
        """See `Arm.connect`; after a failure it connects anew.

        Raises:
            ArmError: If there is no arm server, it lets nobody in or it has a client already.
        """
        if self._connection is not None and self._failure is None:
            return
        self._release()
        try:
            connection = Connection(self.url, self.token, self.timeout)
        except ServerError as error:
            raise ArmError(str(error)) from error
        if "image_shape" not in connection.metadata:
            connection.close()
            raise ArmError(f"{self.url} is no arm server: run envs.arms.remote.arm.serve_arm on the arm's machine")
        self._connection, self._failure = connection, None
        self._set_point, self._stopping, self._closing = None, False, False
        self._thread = threading.Thread(target=self._run, args=(connection,), name="remote-arm", daemon=True)
        self._thread.start()

    def observe(self) -> Observation:
        """See `Arm.observe`. The time is this machine's, rounded to the past by the way of the request.

        Raises:
            ArmError: If the arm's side could not look, left or took too long.
        """
        connection = self._checked()
        asked = time.monotonic()
        try:
            seen = connection.request({"observe": True})
            image, pose, age = (seen.get(name) for name in ("image", "pose", "age"))
            if not (isinstance(image, np.ndarray) and isinstance(pose, np.ndarray) and isinstance(age, float)):
                raise ArmError(f"{self.url} sent no observation but {', '.join(seen)[:80]}")
            self._last_time = max(self._last_time, asked - age)
            return Observation(image, pose, self._last_time)
        except (ServerError, SpecError) as error:
            raise ArmError(str(error)) from error

    def send(self, set_point: Float[np.ndarray, "7"]) -> None:
        """See `StreamingArm.send`.

        Raises:
            ValueError: If the set-point is not seven finite numbers.
            ArmError: If the arm is not connected or the connection failed.
        """
        self._checked()
        set_point = np.array(set_point, dtype=np.float64)
        if set_point.shape != (7,) or not np.all(np.isfinite(set_point)):
            raise ValueError(f"a set-point is 7 finite numbers {POSE_NAMES}, got {set_point!r}")
        with self._changed:
            self._set_point = set_point
            self._changed.notify_all()

    def stop(self) -> None:
        """See `Arm.stop`. Without a connection there is nothing to do: the arm's side stops by itself.

        Raises:
            ArmError: If it could not be handed over in time.
        """
        with self._changed:
            self._set_point = None
            if self._connection is None or self._failure is not None:
                return
            self._stopping = True
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: not self._stopping or self._failure is not None, self.timeout):
                raise ArmError(f"{self.url} could not be told to stop within {self.timeout:g} s; it does so by itself")

    def close(self) -> None:
        """See `Arm.close`."""
        try:
            self.stop()
        finally:
            self._release()

    def _connected(self) -> Connection:
        """Returns the connection, which is made if there is none."""
        self.connect()
        assert self._connection is not None
        return self._connection

    def _checked(self) -> Connection:
        """Returns the connection if it works."""
        if self._connection is None:
            raise ArmError(f"the arm at {self.url} is not connected: call connect() first")
        if self._failure is not None:
            raise ArmError(self._failure)
        return self._connection

    def _release(self) -> None:
        """Ends the connection and its thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._connection is not None:
            self._connection.close()
        if self._thread is not None:
            self._thread.join(self.timeout)
        self._connection = self._thread = None

    def _run(self, connection: Connection) -> None:
        """Sends the newest set-point, a stop before it, until the connection is over."""
        try:
            while not self._closing:
                with self._changed:
                    self._changed.wait_for(lambda: self._closing or self._stopping or self._set_point is not None)
                    stopping, set_point = self._stopping, self._set_point
                    if not stopping:
                        self._set_point = None
                if stopping:
                    connection.send({"stop": True})
                    with self._changed:
                        self._stopping = False
                        self._changed.notify_all()
                elif set_point is not None:
                    connection.send({"set_point": set_point, "sent": time.monotonic()})
        except ServerError as error:
            with self._changed:
                self._failure = str(error)
                self._changed.notify_all()


def serve_arm(
    arm: StreamingArm,
    address: str = "127.0.0.1",
    port: int = 8001,
    token: str | None = None,
    follower: FollowerConfig | None = None,
) -> None:
    """Connects an arm and lets clients drive it, one at a time, until SIGINT or SIGTERM; closes it whatever happens.

    Args:
        arm: The arm, inside its `envs.arms.safety.SafeArm`.
        address: Where to listen; any but a loopback address needs a token.
        port: TCP port.
        token: Secret that a client must know.
        follower: When the arm is held and stopped because set-points stay away.

    Raises:
        ArmError: If the arm is not there or not ready.
        ValueError: If a token is needed and there is none.
        OSError: If the address or the port cannot be had.
    """
    config = ListenConfig(address, port, token, silence=SILENCE)

    async def serve() -> None:
        server = ArmServer(arm, config, follower)
        task = asyncio.ensure_future(server.run(lambda url: logger.info("serving the arm on %s", url)))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    try:
        arm.connect()
        asyncio.run(serve())
    finally:
        arm.close()
