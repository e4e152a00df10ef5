"""What goal-conditioned inverse dynamics would do, to begin a search with or to act on as it is."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.proposals.config import InverseDynamicsConfig
from world_model.base import LatentGoal, LatentState, WorldModel
from world_model.checkpoints.checkpoint import StoredModel
from world_model.heads.ways import INVERSE_DYNAMICS, InverseDynamics


class InverseDynamicsProposer:
    """The hypotheses of a checkpoint's inverse dynamics, the likeliest first, then noisy copies: a `Proposer`.

    Source: GC-IDM (arXiv 2605.08732); "Mode 1" of LeCun, A Path Towards Autonomous Machine Intelligence (2022),
    section 3.1.
    """

    def __init__(self, config: InverseDynamicsConfig, model: WorldModel, spec: ActionSpec) -> None:
        """Takes the settings and the model whose they are.

        Raises:
            ValueError: If the model has none.
        """
        encoding = getattr(model, "encoding", model)  # of simulated dynamics, the model that they encode with
        heads = encoding.heads if isinstance(encoding, StoredModel) else {}
        head = heads[INVERSE_DYNAMICS] if INVERSE_DYNAMICS in heads else None
        if not isinstance(encoding, StoredModel) or not isinstance(head, InverseDynamics):
            raise ValueError(
                "this checkpoint has no inverse dynamics: train them with scripts/train_heads.py, or plan without "
                "inverse_dynamics in controller.proposers"
            )
        self.config, self._model, self._head = config, encoding, head

    @torch.no_grad()
    def propose(
        self, state: LatentState, goal: LatentGoal, horizon: int, count: int, generator: torch.Generator
    ) -> Float[Tensor, "G H A"]:
        """See `Proposer.propose`. After its own horizon a sequence stays."""
        model = self._model
        now, wanted = state.tokens[:, -1].flatten(1), goal.tokens.flatten()[None]
        ways, logits = self._head(now, wanted, model.normalise_poses(state.poses[:, -1].to(model.action_mean)))
        order = logits[0].argsort(descending=True)
        best = model.action_mean + model.action_std * ways[0, order].float()  # (M, H, A)
        padded = best.new_zeros(len(best), horizon, best.shape[2])
        padded[:, : best.shape[1]] = best[:, :horizon]
        copies = padded[torch.arange(max(0, count - len(best))) % len(best)]
        noise = torch.randn(copies.shape, generator=generator, device=generator.device).to(copies)
        return torch.cat([padded, copies + self.config.noise * model.action_std * noise])[:count]
