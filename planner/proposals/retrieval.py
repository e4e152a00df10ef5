"""Recorded actions to begin a search with: what was done when things looked like now, and then like the goal."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.proposals.config import RetrievalConfig
from world_model.base import LatentGoal, LatentState, WorldModel
from world_model.checkpoints.checkpoint import find_head
from world_model.compact import compact_with
from world_model.heads.bank import HEAD, Bank, Leading
from world_model.heads.ways import INVERSE_DYNAMICS, InverseDynamics

_AT_ONCE = 8192  # frames that are read at once


class Retrieval:
    """Ways that follow a checkpoint's bank of recordings in imagination, a `Proposer`.

    Each action is that of one of the recorded frames that looked most like the present one and went on to what looked
    most like the goal; after what it is predicted to lead to, the bank is asked anew. The first way takes the nearest
    frame each time, the others draw among the nearest.

    A distance of latents weighs all that images show alike. Where the checkpoint has inverse dynamics, frames are
    compared by what these read from them: where things are, and the arm's pose. No network gives an action.

    Source: IMWM (arXiv 2606.01626), retrieved initial action sequences; nearest neighbours as a policy (VINN, arXiv
    2112.01511).
    """

    def __init__(self, config: RetrievalConfig, model: WorldModel, spec: ActionSpec) -> None:
        """Takes the settings and the model whose bank it is.

        Raises:
            ValueError: If the model has none.
        """
        lacking = (
            "this checkpoint has no bank of recordings: train one with bank_frames over 0, or plan without "
            "retrieval in controller.proposers"
        )
        encoding, bank = compact_with(model, HEAD, Bank, lacking)
        inverse = find_head(encoding, INVERSE_DYNAMICS, InverseDynamics)
        self.config, self._model, self._bank = config, encoding, bank
        self._judge = None if inverse is None else inverse.judge
        stored = self._read(bank.latents)
        self._scale = stored.std(0).clamp_min(1e-6) if self._judge else torch.ones_like(stored[0])
        self._keys = stored / self._scale
        self._bounds = tuple(torch.tensor(bound).to(encoding.action_mean) for bound in (spec.low, spec.high))
        self._goal: LatentGoal | None = None  # that was asked for last
        self._led: Leading | None = None  # what led there

    @torch.no_grad()
    def _read(self, latents: Float[Tensor, "F Z"]) -> Float[Tensor, "F C"]:
        """Returns what frames are compared by, not scaled yet."""
        if self._judge is None:
            return latents
        return torch.cat([self._judge.embed(part).float() for part in latents.split(_AT_ONCE)])

    @torch.no_grad()
    def propose(
        self, state: LatentState, goal: LatentGoal, horizon: int, count: int, generator: torch.Generator
    ) -> Float[Tensor, "G H A"]:
        """See `Proposer.propose`."""
        model, config, (low, high) = self._model, self.config, self._bounds
        frames, distances = self._leading(goal)
        keys, actions = self._keys[frames], self._bank.actions[frames].to(low)
        latents = state.tokens[0, -1].flatten().to(self._keys).expand(count, -1)
        poses, ways = state.poses[0, -1].to(low).expand(count, -1), []
        for _ in range(horizon):
            now = self._read(latents) / self._scale
            apart = torch.cdist(now, keys).square() / keys.shape[1] + distances
            near = apart.topk(min(config.neighbours, len(keys)), largest=False).indices  # (G, n)
            drawn = torch.randint(near.shape[1], (count, 1), generator=generator, device=generator.device).to(near)
            drawn[0] = 0
            action = actions[near.gather(1, drawn)[:, 0]].clamp(low, high)
            latents, poses = model.predict(latents, poses, action), model.motion.compose(poses, action)
            ways.append(action)
        return torch.stack(ways, dim=1)

    def _leading(self, goal: LatentGoal) -> Leading:
        """Returns the recorded frames that led to what looked like a goal, looked for once a goal."""
        if self._led is None or goal is not self._goal:
            wanted = self._read(goal.tokens.flatten()[None].to(self._keys))[0] / self._scale
            self._led = self._bank.leading(self._keys, wanted, self.config.leading, self.config.longest)
            self._goal = goal
        return self._led
