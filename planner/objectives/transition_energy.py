"""A learnt cost: how unlikely recordings were to go so on a way to the goal."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from envs.spec import ActionSpec
from planner.objectives.objective_config import TransitionEnergyConfig
from planner.proposals.pace import Pace
from world_model.base import LatentGoal, LatentState, WorldModel
from world_model.compact import compact_with
from world_model.heads.transitions import TRANSITION_ENERGY, TransitionEnergy
from world_model.heads.ways import Looked, expected


class TransitionEnergyCost:
    """How unlikely recordings were to see the predicted frames, one after another, on a quick way: an `Objective`.

    ::

        cost = sum_h E(z_{h-1}, s_{h-1}, z_h, s_h, g, n - h)        h = 1 .. min(H, n)

    n, how many actions a quick way from z_0 has, the same head tells, see `Pace`; a slower way, once taken up, is gone
    to its end. Where none are left staying costs nothing, and the squared motion of the arm counts: what is left of a
    distance says little there. Of what was seen, and nothing predicted, the cost is the number of actions expected.

    Source: implicit behavioural cloning (arXiv 2109.00137), through predicted frames.
    """

    def __init__(self, config: TransitionEnergyConfig, goal: LatentGoal, spec: ActionSpec, model: WorldModel) -> None:
        """Takes the settings, the latent goal and the model whose energy it is.

        Raises:
            ValueError: If the model has none, or is to doubt and has no temporal distance.
        """
        lacking = (
            "this checkpoint has no transition energy: train one with scripts/train_heads.py --learn "
            f"{TRANSITION_ENERGY}, or take an objective of another kind"
        )
        self._model, self._head = compact_with(model, TRANSITION_ENERGY, TransitionEnergy, lacking)
        self._pace = Pace(config, self._model)
        self._goal = goal.tokens.flatten()[None]  # (1, Z)
        self._wanted = self._head.judge.look(self._goal)
        self._start: LatentState | None = None
        self._before: Looked = self._wanted
        self._start_pose = self._wanted.pose
        self._count: Int[Tensor, "1"] = torch.zeros(1, dtype=torch.long, device=self._goal.device)
        self._detour: Int[Tensor, "1"] = self._count  # actions that are left of a slower way that was taken up

    def __call__(self, predicted: LatentState, actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S"]:
        """Returns the cost of each of S rollouts; the actions do not matter here."""
        frames, judge = predicted.tokens.flatten(2), self._head.judge  # (S, H, Z)
        poses = self._model.normalise_poses(predicted.poses)
        if predicted.start is None:
            left = expected(judge(frames.flatten(0, 1), self._goal, poses.flatten(0, 1)).logits)
            return left.unflatten(0, frames.shape[:2]).mean(dim=1)
        if predicted.start is not self._start:
            self._depart(predicted.start)
        if not self._count.any():
            return (poses - self._start_pose).square().mean(dim=(1, 2))
        way = judge.told(judge.look(frames), poses)
        ways = Looked(*(part[None] for part in way))
        return self._head.energies(self._before, ways, self._wanted, self._count)[0].sum(dim=1)

    def _depart(self, start: LatentState) -> None:
        """Takes up where plans begin, and how many actions a quick way from there has."""
        latents, judge = start.tokens[:, -1].flatten(1), self._head.judge
        poses = self._model.normalise_poses(start.poses[:, -1].to(latents))
        self._start_pose = poses
        with torch.no_grad():
            logits = self._pace.seen(judge, start, self._goal)
            count = self._pace(logits, latents, self._goal, poses).clamp(max=judge.longest)
            going_on = torch.where(count > 0, (self._detour - 1).clamp_min(0), 0)
            self._count = torch.maximum(count, going_on)
            self._detour = torch.where(count > self._pace.quick(logits), self._count, going_on)
            self._before = judge.told(judge.look(latents), poses)
        self._start = start
