"""Recorded actions to begin a search with: what led from a frame like the present one to a frame like the goal."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.proposals.config import RetrievalConfig
from world_model.base import LatentGoal, LatentState, WorldModel
from world_model.checkpoints.checkpoint import find_head
from world_model.heads.bank import HEAD, Bank
from world_model.heads.ways import INVERSE_DYNAMICS, InverseDynamics

_AT_ONCE = 8192  # frames that are read at once


class Retrieval:
    """The nearest stretches of a checkpoint's bank of recordings, a `Proposer`.

    A distance of latents weighs all that images show alike. Where the checkpoint has inverse dynamics, frames are
    compared by what these read from them: where things are, and the arm's pose. No network gives an action.

    Source: IMWM (arXiv 2606.01626), retrieved initial action sequences.
    """

    def __init__(self, config: RetrievalConfig, model: WorldModel, spec: ActionSpec) -> None:
        """Takes the settings and the model whose bank it is.

        Raises:
            ValueError: If the model has none.
        """
        bank, inverse = find_head(model, HEAD, Bank), find_head(model, INVERSE_DYNAMICS, InverseDynamics)
        if bank is None:
            raise ValueError(
                "this checkpoint has no bank of recordings: train one with bank_frames over 0, or plan without "
                "retrieval in controller.proposers"
            )
        self.config, self._bank = config, bank
        self._judge = None if inverse is None else inverse.judge
        stored = self._read(bank.latents)
        self._scale = stored.std(0).clamp_min(1e-6) if self._judge else torch.ones_like(stored[0])
        self._keys = stored / self._scale

    @torch.no_grad()
    def _read(self, latents: Float[Tensor, "F Z"]) -> Float[Tensor, "F C"]:
        """Returns what frames are compared by, not scaled yet."""
        if self._judge is None:
            return latents
        return torch.cat([self._judge.embed(part).float() for part in latents.split(_AT_ONCE)])

    def propose(
        self, state: LatentState, goal: LatentGoal, horizon: int, count: int, generator: torch.Generator
    ) -> Float[Tensor, "G H A"]:
        """See `Proposer.propose`."""
        seen = torch.stack([state.tokens[0, -1].flatten(), goal.tokens.flatten()]).to(self._keys)
        now, wanted = self._read(seen) / self._scale
        return self._bank.nearest(self._keys, now, wanted, horizon, count, self.config.longest).actions
