"""What goal-conditioned inverse dynamics would do, to begin a search with or to act on as it is."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.proposals.config import InverseDynamicsConfig
from planner.proposals.pace import Pace
from world_model.base import LatentGoal, LatentState, WorldModel
from world_model.compact import compact_with
from world_model.heads.ways import INVERSE_DYNAMICS, InverseDynamics


class InverseDynamicsProposer:
    """Ways that a checkpoint's inverse dynamics go in imagination, each action after what the last is predicted to do.

    A `Proposer`. The first way takes the likeliest action each time, the others draw theirs; where the goal counts as
    reached, they stay. How many actions a way is to have `Pace` says.

    Source: GC-IDM (arXiv 2605.08732); a policy's rollouts as a search's candidates (TD-MPC, arXiv 2203.04955); "Mode 1"
    of LeCun, A Path Towards Autonomous Machine Intelligence (2022), section 3.1.
    """

    def __init__(self, config: InverseDynamicsConfig, model: WorldModel, spec: ActionSpec) -> None:
        """Takes the settings and the model whose they are.

        Raises:
            ValueError: If the model has none, or what its settings need.
        """
        lacking = (
            "this checkpoint has no inverse dynamics: train them with scripts/train_heads.py, or plan without "
            "inverse_dynamics in controller.proposers"
        )
        encoding, head = compact_with(model, INVERSE_DYNAMICS, InverseDynamics, lacking)
        self.config, self._model, self._head = config, encoding, head
        self._pace, self._rest = Pace(config, encoding), encoding.rest * head.free
        self._bounds = tuple(torch.tensor(bound).to(encoding.action_mean) for bound in (spec.low, spec.high))

    @torch.no_grad()
    def propose(
        self, state: LatentState, goal: LatentGoal, horizon: int, count: int, generator: torch.Generator
    ) -> Float[Tensor, "G H A"]:
        """See `Proposer.propose`."""
        model, (low, high) = self._model, self._bounds
        wanted, ways = goal.tokens.flatten().expand(count, -1), []
        before = LatentState(state.tokens[:, :-1], state.poses[:, :-1])
        believed = self._pace.seen(self._head.judge, before, wanted[:1]) if before.tokens.shape[1] else None
        latents = state.tokens[0, -1].flatten().expand(count, -1)
        poses = state.poses[0, -1].to(low).expand(count, -1)
        for _ in range(horizon):
            actions, believed = self._first(latents, wanted, poses, believed, generator)
            actions = actions.clamp(low, high)
            latents, poses = model.predict(latents, poses, actions), model.motion.compose(poses, actions)
            ways.append(actions)
        return torch.stack(ways, dim=1)

    def _first(
        self,
        latents: Float[Tensor, "G Z"],
        goals: Float[Tensor, "G Z"],
        poses: Float[Tensor, "G P"],
        believed: Float[Tensor, "#G K+1"] | None,
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, "G A"], Float[Tensor, "G K+1"]]:
        """Returns the first action of a quick way from each frame, physical units, and what to believe there.

        None is done where the goal is reached.
        """
        model, head, config = self._model, self._head, self.config
        normalised = model.normalise_poses(poses)
        judged = head.judge(latents, goals, normalised)
        believed = self._pace.after(believed, judged.logits)
        counts = self._pace(believed, latents, goals, normalised).clamp(max=head.judge.longest)
        told = head.act(judged.features, counts)
        actions = head.first(told[:1], self._rest)
        if len(told) > 1:
            actions = torch.cat([actions, head.first.draw(told[1:], self._rest, config.temperature, generator)])
        actions = model.actions_of(actions) * head.free
        return actions * (counts > 0)[:, None], believed
