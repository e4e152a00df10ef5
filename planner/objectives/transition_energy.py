"""A learnt cost: how unlikely recordings were to go so on a way to the goal."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.objectives.objective_config import TransitionEnergyConfig
from planner.proposals.pace import Pace
from world_model.base import LatentGoal, LatentState, WorldModel
from world_model.checkpoints.checkpoint import find_head
from world_model.compact import compact_with
from world_model.heads.transitions import TRANSITION_ENERGY, TransitionEnergy
from world_model.heads.ways import INVERSE_DYNAMICS, TEMPORAL_DISTANCE, InverseDynamics, Looked, TemporalDistance


class TransitionEnergyCost:
    """How unlikely recordings were to see the predicted frames, one after another, on a quick way: an `Objective`.

    ::

        cost = mean_h E(z_{h-1}, s_{h-1}, z_h, s_h, g, n - h)        h = 1 .. H, n: actions of a quick way from z_0

    How many these are the checkpoint's inverse dynamics tell, or without them the temporal distance, see `Pace`; no
    action of theirs is asked for. Where none are left it is the squared distance from the goal; of what was seen, and
    nothing predicted, it is the number of actions that the temporal distance expects.

    Source: implicit behavioural cloning (arXiv 2109.00137), through predicted frames.
    """

    def __init__(self, config: TransitionEnergyConfig, goal: LatentGoal, spec: ActionSpec, model: WorldModel) -> None:
        """Takes the settings, the latent goal and the model whose energy it is.

        Raises:
            ValueError: If the model has none, or no temporal distance.
        """

        def lacking(what: str, name: str) -> str:
            learnt = f"train one with scripts/train_heads.py --learn {name}"
            return f"this checkpoint has no {what}: {learnt}, or take an objective of another kind"

        energy = lacking("transition energy", TRANSITION_ENERGY)
        distance = lacking("temporal distance, which tells how long a way is to be", TEMPORAL_DISTANCE)
        self._model, self._head = compact_with(model, TRANSITION_ENERGY, TransitionEnergy, energy)
        _, self._distance = compact_with(model, TEMPORAL_DISTANCE, TemporalDistance, distance)
        self._inverse = find_head(self._model, INVERSE_DYNAMICS, InverseDynamics)
        self._pace = Pace(config, self._model)
        self._goal = goal.tokens.flatten()[None]  # (1, Z)
        self._wanted = self._head.judge.look(self._goal)
        self._start: LatentState | None = None
        self._before: Looked = self._wanted
        self._count = 0

    def __call__(self, predicted: LatentState, actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S"]:
        """Returns the cost of each of S rollouts; the actions do not matter here."""
        frames = predicted.tokens.flatten(2)  # (S, H, Z)
        poses = self._model.normalise_poses(predicted.poses)
        if predicted.start is None:
            left = self._distance.actions(frames.flatten(0, 1), self._goal, poses.flatten(0, 1))
            return left.unflatten(0, frames.shape[:2]).mean(dim=1)
        if predicted.start is not self._start:
            self._depart(predicted.start)
        if self._count == 0:
            return (frames - self._goal).square().mean(dim=(1, 2))
        samples, horizon = frames.shape[:2]
        after = self._head.judge.told(self._head.judge.look(frames), poses)
        before = Looked(
            *(
                torch.cat([was.expand(samples, 1, -1), now[:, :-1]], dim=1)
                for was, now in zip(self._before, after, strict=True)
            )
        )
        wanted = Looked(*(part.expand(samples, horizon, -1) for part in self._wanted))
        likely = self._head.likelihoods(before, after, wanted)
        left = (self._count - torch.arange(1, horizon + 1, device=likely.device)).clamp_min(0)
        return -likely.gather(2, left[None, :, None].expand(samples, horizon, 1)).mean(dim=(1, 2))

    def _depart(self, start: LatentState) -> None:
        """Takes up where plans begin, and how many actions a quick way from there has."""
        latents = start.tokens[:, -1].flatten(1)
        poses = self._model.normalise_poses(start.poses[:, -1].to(latents))
        with torch.no_grad():
            if self._inverse is None:
                logits, _ = self._distance.longest(latents, self._goal, poses)
            else:
                logits = self._inverse.judge(latents, self._goal, poses).logits
            self._count = min(int(self._pace(logits, latents, self._goal, poses)), self._head.judge.longest)
            self._before = self._head.judge.told(self._head.judge.look(latents), poses)
        self._start = start
