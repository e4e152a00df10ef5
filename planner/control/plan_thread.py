"""Asks for plans in a thread of its own, so that nobody has to wait for them. Imports no torch."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from jaxtyping import Float

from envs.spec import ActionSpec, Observation

logger = logging.getLogger(__name__)

Committed: TypeAlias = Float[np.ndarray, "K A"] | None
"""Actions that will have been executed when a plan begins; None for nothing."""

Answer: TypeAlias = Mapping[str, Any]
"""A plan as a server sends it, see `PlanSource.infer`."""


class PlanError(RuntimeError):
    """There is no plan: the planner failed, is gone or takes too long."""


class Plans(Protocol):
    """Where plans come from without waiting: a `PlanThread`."""

    def ask(self, observation: Observation, committed: Committed, seconds: float) -> None:
        """Asks for a plan; what was asked before is forgotten.

        Args:
            observation: What to plan from.
            committed: See `Committed`.
            seconds: Time that planning may take, from now on [s].
        """
        ...

    def answer(self) -> Answer | None:
        """Returns what the last question was answered, None if it was not yet.

        Raises:
            PlanError: If there will be no answer.
        """
        ...


class PlanSource(Protocol):
    """Who plans: an `envs.arms.remote.client.PlanClient`. A failure is a RuntimeError, ValueError or OSError."""

    def infer(self, observation: Observation, committed: Committed = None, deadline: float | None = None) -> Answer:
        """Returns a plan: its actions (H, A), its cost and the seconds it took; the best found by its deadline [s]."""
        ...


class PlanThread:
    """Hands questions to a `PlanSource`, one at a time; only the newest one is answered.

    The source is told what is left of a question's time when its turn comes.
    """

    def __init__(self, source: PlanSource) -> None:
        """Starts the thread."""
        self._source = source
        self._changed = threading.Condition()
        self._question: tuple[Observation, np.ndarray | None, float] | None = None  # until when [monotonic s]
        self._answer: Answer | PlanError | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="plans", daemon=True)
        self._thread.start()

    def ask(self, observation: Observation, committed: Committed, seconds: float) -> None:
        """See `Plans.ask`."""
        with self._changed:
            self._question, self._answer = (observation, committed, time.monotonic() + seconds), None
            self._changed.notify()

    def answer(self) -> Answer | None:
        """See `Plans.answer`."""
        with self._changed:
            if self._answer is None and not self._thread.is_alive():
                raise PlanError("the plan thread is over")
            if isinstance(self._answer, PlanError):
                raise self._answer
            return self._answer

    def close(self) -> None:
        """Ends the thread once the source has answered; does not wait for it."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._question is not None)
                if self._closed or self._question is None:
                    return
                (observation, committed, until), self._question = self._question, None
            try:
                left = until - time.monotonic()
                if left <= 0.0:
                    raise PlanError("the planner was busy with an earlier question until the time was over")
                answer = self._source.infer(observation, committed, left)
            except (RuntimeError, ValueError, OSError) as error:
                answer = PlanError(" ".join(str(error).split()) or type(error).__name__)
            with self._changed:
                if self._question is None:
                    self._answer = answer


def first_action(answer: Answer, spec: ActionSpec) -> tuple[Float[np.ndarray, "A"], float, float]:
    """Returns the action that an answer begins with, within its bounds, the plan's cost and the seconds it took.

    That an action was outside of its bounds is logged. A planner that tells no cost has one of NaN.

    Raises:
        PlanError: If the answer is no plan, or its cost is not finite.
    """
    try:
        actions = np.asarray(answer.get("actions"), dtype=np.float64)
        cost, seconds = float(answer.get("cost", math.nan)), float(answer.get("seconds", math.nan))
    except (TypeError, ValueError) as error:
        raise PlanError(f"the planner's answer is no plan: {error}") from error
    if actions.ndim != 2 or actions.shape[1] != spec.size or not len(actions) or not np.all(np.isfinite(actions)):
        raise PlanError(f"a plan is (H, {spec.size}) finite numbers, got {str(actions.tolist())[:200]}")
    if "cost" in answer and not math.isfinite(cost):
        raise PlanError(f"the plan's cost is {cost}: what the planner predicts is no number, so it is not acted on")
    action = np.clip(actions[0], spec.low, spec.high)
    if not np.allclose(action, actions[0], rtol=0.0, atol=1e-6):
        logger.info("planned %s, commanded %s: outside of the action's bounds", actions[0], action)
    return action, cost, seconds
