"""Recorded actions to begin a search with: what led from a frame like the present one to a frame like the goal."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.proposals.config import RetrievalConfig
from world_model.base import LatentGoal, LatentState, WorldModel
from world_model.heads.bank import HEAD, Bank


class Retrieval:
    """The nearest stretches of a checkpoint's bank of recordings, a `Proposer`.

    Source: IMWM (arXiv 2606.01626), retrieved initial action sequences.
    """

    def __init__(self, config: RetrievalConfig, model: WorldModel, spec: ActionSpec) -> None:
        """Takes the settings and the model whose bank it is.

        Raises:
            ValueError: If the model has none.
        """
        heads = getattr(model, "heads", {})
        bank = heads[HEAD] if HEAD in heads else None
        if not isinstance(bank, Bank):
            raise ValueError(
                "this checkpoint has no bank of recordings: train one with bank_frames over 0, or plan without "
                "retrieval in controller.proposers"
            )
        self.config, self._bank = config, bank

    def propose(
        self, state: LatentState, goal: LatentGoal, horizon: int, count: int, generator: torch.Generator
    ) -> Float[Tensor, "G H A"]:
        """See `Proposer.propose`."""
        now, wanted = state.tokens[0, -1].flatten(), goal.tokens.flatten()
        return self._bank.nearest(now, wanted, horizon, count, self.config.longest).actions
