"""The robot's side of a plan server (planner/serving/server.py). NumPy, msgpack and websockets only.

client = PlanClient("ws://127.0.0.1:8000")
client.reset([goal], seed=0)
actions = client.infer(observation)["actions"]   # (H, A), physical units
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.arms.remote.connection import Connection, ServerError

if TYPE_CHECKING:  # the client alone needs neither
    from jaxtyping import Float

    from envs.spec import Goal, Observation

__all__ = ["PlanClient", "ServerError"]


class PlanClient:
    """A connection to a plan server, for one thread.

    After a `ServerError` the client may be used again unless the connection is over; then every call raises.

    Attributes:
        metadata: What the server told on connect: checkpoint, action_spec (as `ActionSpec.to_dict` gives it), period
            [s], horizon, image_size [pixels] or None, goal_pose (whether a goal's pose matters), imagine (whether it
            can), protocol.
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 10.0, imagine: bool = False) -> None:
        """Connects.

        Args:
            url: Such as ws://127.0.0.1:8000.
            token: Secret that the server asks for; a server off loopback always does.
            timeout: For connecting and for each answer [s].
            imagine: Whether to ask, where the server can, for a picture of what each plan is predicted to lead to.

        Raises:
            ServerError: If there is no plan server, or it lets nobody in.
        """
        self._connection = Connection(url, token, timeout)
        self.metadata = self._connection.metadata
        if "horizon" not in self.metadata:
            self.close()
            raise ServerError(f"{url} is no plan server: it has no horizon")
        self._imagine = imagine and bool(self.metadata.get("imagine"))

    def reset(self, goals: Sequence[Goal], seed: int, action_spec: Mapping[str, Any] | None = None) -> None:
        """Forgets the past and names the goals, pursued one after another.

        Args:
            goals: Anything with an image (h, w, 3) uint8, a pose (7,) or None, and a mask (h, w) or None.
            seed: Of the planner's noise.
            action_spec: The arm's actions and bounds, as `ActionSpec.to_dict` gives them; the checkpoint's if None.

        Raises:
            ServerError: If the server refuses them, left or took too long.
        """
        told = [_without_open({"image": goal.image, "pose": goal.pose, "mask": goal.mask}) for goal in goals]
        spec = {} if action_spec is None else {"action_spec": dict(action_spec)}
        self._connection.request({"reset": {"goals": told, "seed": seed, **spec}})

    def infer(
        self,
        observation: Observation,
        committed: Float[np.ndarray, "K A"] | None = None,
        deadline: float | None = None,
    ) -> dict[str, Any]:
        """Returns the plan from an observation.

        Args:
            observation: Anything with an image (h, w, 3) uint8, a pose (7,) and a time [s].
            committed: Actions that will have been executed when the plan begins.
            deadline: Time that the server may take, waiting for its turn included [s].

        Returns:
            actions (H, A) float64, cost, costs (iterations,), evaluations, goal (how many were pursued before this one:
            of a list, its index), time (the observation's) and seconds (planning alone). With the first plan towards
            another goal than before, goal_image (h, w, 3) uint8, its picture if it has one. Where it was asked for and
            there was time, imagined: the stored image (h, w, 3) uint8 that is most like the plan's predicted end, and
            imagined_distance of their latents.

        Raises:
            ServerError: If the server refuses, left, or took longer than this client's time-out.
        """
        message: dict[str, Any] = {
            "observation": {"image": observation.image, "pose": observation.pose, "time": float(observation.time)}
        }
        if committed is not None:
            message["committed"] = np.asarray(committed, dtype=np.float64)
        if deadline is not None:
            message["deadline"] = float(deadline)
        if self._imagine:
            message["imagine"] = True
        return self._connection.request(message)

    def close(self) -> None:
        """Leaves. Closing twice does no harm."""
        self._connection.close()

    def __enter__(self) -> PlanClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _without_open(goal: dict[str, np.ndarray | None]) -> dict[str, np.ndarray]:
    """Returns what is known of a goal, as it travels: truth values as grey levels."""
    told = {name: value for name, value in goal.items() if value is not None}
    return {name: 255 * value.astype(np.uint8) if value.dtype == np.bool_ else value for name, value in told.items()}
