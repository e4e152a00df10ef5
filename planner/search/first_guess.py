"""No search: the first guess is the plan."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.base import Plan, Score, check_guesses
from planner.search.planner_config import FirstGuessConfig


class FirstGuess:
    """Follows the first guess, clipped to the bounds, whatever it costs; the cost is reported and changes nothing.

    With a proposer that is this one acting by itself: the reactive mode beside planning, in a
    fraction of the time, and what tells how much a search adds to proposals. Without, it stays.

    Source: "Mode 1" of LeCun, A Path Towards Autonomous Machine Intelligence (2022), section 3.1.
    """

    def __init__(self, config: FirstGuessConfig | None = None) -> None:
        """Takes the settings; None for the defaults."""
        self.config = config or FirstGuessConfig()
        self.horizon = self.config.horizon

    def plan(
        self,
        score: Score,
        spec: ActionSpec,
        guesses: Float[Tensor, "G H A"],
        generator: torch.Generator,
        deadline: float | None = None,
    ) -> Plan:
        """See `Planner.plan`."""
        check_guesses(guesses, self.horizon, spec)
        low, high = (guesses.new_tensor(bound) for bound in (spec.low, spec.high))
        actions = guesses[0].clamp(low, high)
        costs = score(actions[None])
        return Plan(actions, costs[0].item(), costs.detach(), evaluations=1)
