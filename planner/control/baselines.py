"""Actors that look at nothing: what a task gives away by itself, or to luck."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from envs.spec import ActionSpec, Goal, Observation


class ZeroActions:
    """A controller that stays: the baseline of a task that solves itself."""

    def __init__(self, spec: ActionSpec) -> None:
        """Takes the arm's actions."""
        self._action = np.clip(np.zeros(spec.size), spec.low, spec.high)

    def reset(self, goals: Sequence[Goal], seed: int) -> None:
        """Has nothing to prepare."""

    def step(self, observation: Observation) -> tuple[Float[np.ndarray, "A"], None]:
        """Returns the zero action (the nearest to it within the bounds) and no plan."""
        return self._action.copy(), None


class RandomActions:
    """A controller that draws uniformly within the bounds: the baseline of a task that luck solves."""

    def __init__(self, spec: ActionSpec) -> None:
        """Takes the arm's actions."""
        self._spec = spec
        self._generator = np.random.default_rng(0)

    def reset(self, goals: Sequence[Goal], seed: int) -> None:
        """Starts the draws of a seed, which are not those that a task draws its start and goal by."""
        self._generator = np.random.default_rng((seed, 1))

    def step(self, observation: Observation) -> tuple[Float[np.ndarray, "A"], None]:
        """Returns a random action and no plan."""
        return self._generator.uniform(self._spec.low, self._spec.high), None
