"""The simulated arm in real time, in a process of its own: whoever drives it shares no interpreter with its physics.

Run as a program it is that process. Its first line of input is a JSON object that says what to simulate; it answers
with the address of its arm, which it then serves (`envs.arms.remote.arm_server`), and answers any further line, to show
that it lives, after it has written how everything stood at each image into the file that the line may name. It ends
when its input ends, which the kernel sees to even for a parent that was killed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np
from jaxtyping import Float

from envs.arms.base import ArmError
from envs.arms.drivers.child import JsonChild
from envs.arms.remote.arm import RemoteArm
from envs.arms.remote.arm_server import SILENCE, ArmServer
from envs.arms.remote.follower import FollowerConfig
from envs.arms.remote.listen import ListenConfig
from envs.config import dump_config, load_config
from envs.simulation.arm import MujocoArm, MujocoArmConfig
from envs.simulation.objects import ObjectInstance
from envs.simulation.twin import Moment, MujocoTwin, TwinConfig
from envs.spec import Observation

logger = logging.getLogger(__name__)
T = TypeVar("T")

_STARTING = 60.0  # s until the process must have drawn its first image
_ANSWERING = 0.5  # s until it must show that it lives
_TELLING = 5.0  # s until it must have told how everything stood
_ENDING = 1.0  # s that it takes to end by itself at most
_FOLLOWING = FollowerConfig(timeout=1.0, stop_after=10.0)  # a busy machine is no broken network: its input tells that


class TwinProcess:
    """A `MujocoTwin` in a process of its own. See `envs.arms.base.StreamingArm`.

    `connect` starts it with arm and objects as they are placed then, in the scene that the arm's configuration says,
    and `close` ends it. The `MujocoArm` here never moves: it is the caller's, to place things and to draw goals with.
    Set-points and images go through an `envs.arms.remote.arm.RemoteArm`, so a set-point out of reach is a failure, told
    with the next one. When the process dies, `send` and `observe` say so.

    Attributes:
        arm: The caller's.
        config: How real it is.
        moments: How everything stood at each image of the last connection, once it is closed: privileged, for judging
            what came of a run. Nothing, of a process that died.
    """

    def __init__(self, arm: MujocoArm, config: TwinConfig | None = None) -> None:
        """Takes an arm, placed as it should start; nothing is started before `connect`."""
        self.arm = arm
        self.config = config or TwinConfig()
        self.action_spec = arm.action_spec
        self.image_shape = arm.image_shape
        self._asking = threading.Lock()
        self._child: JsonChild | None = None
        self._remote: RemoteArm | None = None
        self.moments: list[Moment] = []

    def connect(self) -> None:
        """See `StreamingArm.connect`. Starts the process and with it real time.

        Raises:
            ArmError: If it does not start or draws nothing.
        """
        if self._remote is not None:
            self._try(self._remote.connect)
            return
        self.moments = []
        token = secrets.token_urlsafe()
        request = {
            "arm": dump_config(self.arm.config),
            "twin": dump_config(self.config),
            "objects": [one.instance and dump_config(one.instance) for one in self.arm.objects],
            "state": self.arm.snapshot().tolist(),
            "token": token,
        }
        command = [sys.executable, "-P", "-m", "envs.simulation.twin_process"]
        self._child = JsonChild(command, "the simulated arm (its process)")
        try:
            self._remote = RemoteArm(self._child.ask(request, _STARTING)["url"], token)
            self._remote.connect()
        except BaseException:
            self.close()
            raise

    def observe(self) -> Observation:
        """See `StreamingArm.observe`."""
        return self._try(self._connected().observe)

    def send(self, set_point: Float[np.ndarray, "7"]) -> None:
        """See `StreamingArm.send`."""
        remote = self._connected()
        self._try(lambda: remote.send(set_point))

    def stop(self) -> None:
        """See `StreamingArm.stop`."""
        remote = self._remote
        if remote is not None:
            self._try(remote.stop)

    def close(self) -> None:
        """See `StreamingArm.close`. The process is over afterwards, whether it still answers or not."""
        remote, child = self._remote, self._child
        self._remote = self._child = None
        try:
            if remote is not None:
                remote.close()
        except ArmError as error:
            logger.warning("the simulated arm did not hear that it is to stop, its process is ended: %s", error)
        finally:
            if child is not None:
                with closing(child):
                    self.moments = _moments_of(child)

    def _connected(self) -> RemoteArm:
        """Returns the arm in the other process."""
        if self._remote is None:
            raise ArmError("the simulated arm is not connected: call connect() first")
        return self._remote

    def _try(self, step: Callable[[], T]) -> T:
        """Returns what a step returns; of a process that ended the failure is its own last line."""
        try:
            return step()
        except ArmError:
            with self._asking:
                if self._child is not None:
                    self._child.ask({}, _ANSWERING)  # raises if it is dead
            raise


def _moments_of(child: JsonChild) -> list[Moment]:
    """Returns how everything stood at each image, if the process still tells."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "moments.npz"
        try:
            child.ask({"moments": str(file)}, _TELLING)
        except ArmError:
            return []
        with np.load(file) as told:
            return [Moment(float(at), state) for at, state in zip(told["times"], told["states"], strict=True)]


def main() -> None:
    """Simulates, and serves the arm, until the input ends."""
    requests, answers = os.fdopen(os.dup(0), "r", encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a library prints must not come among the answers
    threading.excepthook = _end_with_error
    request = json.loads(requests.readline())
    arm = MujocoArm(load_config(MujocoArmConfig, request["arm"]))
    for one, instance in zip(arm.objects, request["objects"], strict=True):
        if instance is not None:
            one.become(load_config(ObjectInstance, instance))
    arm.restore(np.array(request["state"]))
    with closing(MujocoTwin(arm, load_config(TwinConfig, request["twin"]))) as twin:
        twin.connect()
        server = ArmServer(twin, ListenConfig(port=0, token=request["token"], silence=SILENCE), _FOLLOWING)
        asyncio.run(_serve(server, requests, answers, twin))


async def _serve(server: ArmServer, requests: TextIO, answers: TextIO, twin: MujocoTwin) -> None:
    """Serves until the input ends."""
    task = asyncio.ensure_future(server.run(lambda url: _answer(answers, {"url": url})))
    loop = asyncio.get_running_loop()

    def show_life() -> None:
        for line in requests:
            file = json.loads(line).get("moments")
            if file is not None:
                times, states = zip(*twin.moments(), strict=True)
                np.savez(file, times=np.array(times), states=np.array(states))
            _answer(answers, {})
        loop.call_soon_threadsafe(task.cancel)
        time.sleep(_ENDING)
        os._exit(1)  # something hangs

    threading.Thread(target=show_life, name="input", daemon=True).start()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()


def _answer(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _end_with_error(failure: threading.ExceptHookArgs) -> None:
    """Ends this process because one of its threads failed: an arm without physics must not look alive."""
    threading.__excepthook__(failure)
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    main()
