"""Replays of deploy.py: a recording's commands again, on the simulated twin."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from envs.episodes.recorder import RecordedStep, Recording
from envs.pose import difference
from envs.spec import Observation
from planner.control.plan_thread import Answer, Committed


class Replayed:
    """Answers with the recorded commands, one after another, whatever is seen. See `PlanSource`."""

    def __init__(self, recording: Recording) -> None:
        self._steps = iter(commands_of(recording))

    def infer(self, observation: Observation, committed: Committed = None, deadline: float | None = None) -> Answer:
        """See `PlanSource.infer`: the action that leads from here to where the recorded one led."""
        step = next(self._steps, None)
        if step is None or step.commanded is None:
            raise ValueError("the recording has no more commands")
        cost = {"cost": step.cost} if math.isfinite(step.cost) else {}  # of old recordings it may be unknown
        return {"actions": difference(observation.pose, step.commanded)[None], "seconds": 0.0, **cost}


def commands_of(recording: Recording) -> list[RecordedStep]:
    """Returns the steps that commanded something.

    Raises:
        ValueError: If there are none.
    """
    steps = [step for step in recording.steps if step.commanded is not None]
    if not steps:
        raise ValueError("the recording has no commands: there is nothing to replay")
    return steps


def deviations(recording: Recording, steps: list[RecordedStep]) -> Float[np.ndarray, "K"]:
    """Returns how far the replay was from the recording at each moment of both [m]."""
    pairs = zip(recording.steps, steps, strict=False)
    return np.array([np.linalg.norm(a.observation.pose[:3] - b.observation.pose[:3]) for a, b in pairs])
