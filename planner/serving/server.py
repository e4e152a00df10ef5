"""A plan server: observations in, plans out, over a websocket.

The robot's side is `envs.arms.remote.client.PlanClient`; openpi's clients are understood as well (docs/remote.md).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from websockets.asyncio.server import ServerConnection

from envs.arms.remote.listen import ListenConfig, listen_until_cancelled, read_messages, reply
from envs.arms.remote.messages import PROTOCOL
from envs.spec import ActionSpec
from planner.base import Plan
from planner.control.controller import Controller
from planner.serving.requests import Request, read_request

if TYPE_CHECKING:  # import transformers, which takes seconds
    from world_model.base import LatentGoal
    from world_model.heads.neighbours import Gallery

logger = logging.getLogger(__name__)

_TIME_TO_IMAGINE = 0.05  # s that must be left of a request's time


@dataclass(frozen=True)
class Offer:
    """What a plan server tells every client on connect.

    Attributes:
        checkpoint: Name of the world model.
        action_spec: What an action means to it.
        horizon: Actions of a plan.
        image_size: Side of the images that it looks at [pixels], to which all are scaled; None where it looks at none.
        goal_pose: Whether plans depend on a goal's pose, so that a goal must come with it.
        gallery: Stored frames in which it looks up what a plan is predicted to lead to; None where it does not.
    """

    checkpoint: str
    action_spec: ActionSpec
    horizon: int
    image_size: int | None
    goal_pose: bool
    gallery: Gallery | None = None

    def to_metadata(self) -> dict[str, Any]:
        """Returns the first message of a connection."""
        return {
            "protocol": PROTOCOL,
            "checkpoint": self.checkpoint,
            "action_spec": self.action_spec.to_dict(),
            "period": self.action_spec.period,
            "horizon": self.horizon,
            "image_size": self.image_size,
            "goal_pose": self.goal_pose,
            "imagine": self.gallery is not None,
        }


class PlanServer:
    """Serves plans until it is cancelled; it runs once.

    Each connection has its own controller; all share the model. One thread plans, a request at a time, in the order of
    arrival; as a connection's next request is read when the last one was answered, the connections take turns. The
    event loop never plans, so `/healthz`, limits and other clients are served meanwhile. Who leaves while a plan waits
    or is made is forgotten: a plan that was not begun is not made. A plan that fails is answered with one line.
    """

    def __init__(
        self, make_controller: Callable[[ActionSpec], Controller], offer: Offer, config: ListenConfig | None = None
    ) -> None:
        """Keeps what `run` serves.

        Args:
            make_controller: Makes the controller of a connection, for an arm's actions and bounds.
            offer: What to tell on connect.
            config: Where to listen and what to take.
        """
        self._make_controller = make_controller
        self._offer = offer
        self._config = config or ListenConfig()
        self._planning = ThreadPoolExecutor(max_workers=1, thread_name_prefix="planning")

    async def run(self, ready: Callable[[str], None]) -> None:
        """Serves until cancelled.

        Args:
            ready: Called with the URL once the server listens.

        Raises:
            OSError: If the address or the port cannot be had.
        """
        try:
            await listen_until_cancelled(self._serve, self._config, ready)
        finally:
            self._planning.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, connection: ServerConnection) -> None:
        """Answers one client until it leaves."""
        session = Session(self._make_controller, self._offer)
        await reply(connection, self._offer.to_metadata(), self._config)
        async for message in read_messages(connection, self._config):
            received = time.monotonic()
            try:
                request = self._read(message, received)
                answer = await self._plan(connection, partial(session.answer, request, received))
            except ValueError as error:
                answer = " ".join(str(error).split())
            except RuntimeError as error:  # torch's, such as memory that ran out
                logger.exception("a plan failed")
                answer = f"the planner failed, its log has more: {' '.join(str(error).split())[:400]}"
            if answer is None:
                return
            await reply(connection, answer, self._config)

    def _read(self, message: Mapping[str, Any], received: float) -> Request:
        """Returns the request that a message makes of this server."""
        offer = self._offer
        return read_request(message, offer.action_spec.size, offer.goal_pose, received, offer.gallery is not None)

    async def _plan(self, connection: ServerConnection, task: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """Returns what a task gives in the planning thread, or None if the client leaves before."""
        job = asyncio.wrap_future(self._planning.submit(task))
        leaving = asyncio.ensure_future(connection.wait_closed())
        try:
            await asyncio.wait({job, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return job.result() if job.done() else None
        finally:
            leaving.cancel()
            job.cancel()


class Session:
    """The state of one connection: its controller."""

    def __init__(self, make_controller: Callable[[ActionSpec], Controller], offer: Offer) -> None:
        self._make_controller = make_controller
        self._offer = offer
        self._controller: Controller | None = None
        self._told: LatentGoal | None = None  # whose picture the client has

    def answer(self, request: Request, received: float) -> dict[str, Any]:
        """Returns the answer to a request that came at a monotonic time [s]; runs in the planning thread.

        Raises:
            ValueError: If it cannot be done, in one line.
        """
        if request.goals:
            spec = request.action_spec or self._offer.action_spec
            if self._controller is None or self._controller.spec != spec:
                self._controller = self._make_controller(spec)
            self._controller.reset(request.goals, request.seed)
            self._told = None
            if request.observation is None:
                return {"goals": len(request.goals)}
        if self._controller is None:
            raise ValueError('there is no goal yet: send it first, as "reset" or as openpi\'s "goal/image"')
        return self._plan(self._controller, request, received)

    def _plan(self, controller: Controller, request: Request, received: float) -> dict[str, Any]:
        """Returns the plan that a request asks for.

        The controller's own time limit is narrowed to what is left of the request's and restored afterwards.
        """
        assert request.observation is not None
        begun, config = time.monotonic(), controller.config
        until = math.inf if request.seconds is None else received + request.seconds
        if until <= begun:
            raise ValueError(
                f"the deadline of {request.seconds:g} s was over before the plan's turn came, after "
                f"{begun - received:.3g} s: give it more time, or let fewer clients share the server"
            )
        limit = min(until - begun, config.planning_time or math.inf)
        controller.config = replace(config, planning_time=None if limit == math.inf else limit)
        try:
            _, plan = controller.step(request.observation, request.committed)
        finally:
            controller.config = config
        actions = plan.actions.detach().cpu().numpy().astype(np.float64)
        answer = {
            "actions": np.clip(actions, controller.spec.low, controller.spec.high),  # undoes float32's rounding
            "cost": float(plan.cost),
            "costs": plan.costs.detach().cpu().numpy().astype(np.float64),
            "evaluations": plan.evaluations,
            "goal": controller.goal_index,
            "time": request.observation.time,
            "seconds": time.monotonic() - begun,
        }
        if controller.goal is not self._told:
            self._told = controller.goal
            answer |= {} if controller.goal.image is None else {"goal_image": controller.goal.image}
        if request.imagine and until - time.monotonic() >= _TIME_TO_IMAGINE:
            answer |= self._imagine(controller, plan)
        return answer

    def _imagine(self, controller: Controller, plan: Plan) -> dict[str, Any]:
        """Returns the stored image that is most like the end of a plan, and how far its latents are from it."""
        assert self._offer.gallery is not None, "read_request has seen to it"
        image, distance = self._offer.gallery.nearest(controller.imagine(plan).tokens[:, -1])
        return {"imagined": image, "imagined_distance": distance}
