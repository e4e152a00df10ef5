"""Costs on latents: how far a predicted future is from what is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from envs.pose import difference
from planner.base import Objective
from world_model.base import LatentState, WorldModel

_OUTSIDE_WEIGHT = 10.0  # 1/m: 1 cm outside costs as much as a few centimetres from the goal


@dataclass(frozen=True)
class GoalDistanceConfig:
    """Settings of `GoalDistance`.

    Attributes:
        norm: "l1" for the mean absolute difference, "l2" for the mean squared one.
        frames: "all" for the mean over all predicted frames, "last" for the last one alone (as the official planner
            does; a receding horizon can then postpone for ever).
        pose_weight: Weight of the same distance between the predicted poses and the goal's pose. 0 ignores the goal's
            pose, and so does every figure that says "goal image".
        scales: Tokens are also compared after averaging over each square of s x s neighbours, for every s given, and
            the distances are averaged. (1,) compares token by token; (1, 2) has fewer local minima where what moves
            covers a few tokens, because near misses count too.
        workspace_low: Lowest position (x, y, z) [m] that plans should lead to; None for anywhere. Where a model was
            never trained its predictions are arbitrary, and a planner finds the ones that look like the goal.
        workspace_high: Highest position [m].

    Raises:
        ValueError: If a setting is unknown or negative.
    """

    norm: Literal["l1", "l2"] = "l1"
    frames: Literal["all", "last"] = "all"
    pose_weight: float = 0.0
    scales: tuple[int, ...] = (1,)
    workspace_low: tuple[float, float, float] | None = None
    workspace_high: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if (self.workspace_low is None) != (self.workspace_high is None):
            raise ValueError("a workspace has both corners or none: set workspace_low and workspace_high")
        if self.norm not in {"l1", "l2"}:
            raise ValueError(f"the norm of a goal distance is 'l1' or 'l2', got {self.norm!r}")
        if self.frames not in {"all", "last"}:
            raise ValueError(f"the frames of a goal distance are 'all' or 'last', got {self.frames!r}")
        if not 0 <= self.pose_weight < float("inf"):
            raise ValueError(f"the pose weight of a goal distance must be a number from 0 up, got {self.pose_weight}")
        if not self.scales or min(self.scales) < 1:
            raise ValueError(f"the scales of a goal distance are whole numbers from 1 up, got {self.scales}")


class GoalDistance:
    """Distance between predicted frames and one goal frame, an `Objective`.

    The cost of sample s is::

        cost_s = mean_k mean_{h,n,d} |A_k(z_{s,h} - g)_{n,d}|^q  +  w mean_{h,p} |difference(s_{s,h}, s_goal)_p|^q

                 + 10 / m * mean_h (how far the position of s_{s,h} is outside the workspace, summed over axes)

    q is 1 for "l1" and 2 for "l2"; A_k averages tokens over squares of k x k neighbours, k runs over the scales; h runs
    over all predicted frames or is the last; n over tokens and d over channels. The pose difference is in [m, rad, 1]
    as it stands, and w is 0 unless asked for.

    Source: V-JEPA 2 (arXiv 2506.09985), section 3.2 (l1, last frame).
    """

    def __init__(self, goal: LatentState, config: GoalDistanceConfig | None = None) -> None:
        """Takes the goal and the settings, None for the defaults.

        Raises:
            ValueError: If the goal is not one frame, or too small a grid of tokens for the scales.
        """
        if goal.tokens.ndim != 4 or tuple(goal.tokens.shape[:2]) != (1, 1):
            raise ValueError(f"a goal is the latent of one frame, (1, 1, N, D), got {tuple(goal.tokens.shape)}")
        self.goal = goal
        self.config = config or GoalDistanceConfig()
        self._grid = isqrt(goal.tokens.shape[2])
        largest = max(self.config.scales)
        if largest > 1 and (self._grid**2 != goal.tokens.shape[2] or largest > self._grid):
            raise ValueError(
                f"scales up to {largest} need a square grid of tokens at least that wide, got {goal.tokens.shape[2]} "
                "tokens"
            )

    def __call__(self, predicted: LatentState, actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S"]:
        """Returns the cost of each of S rollouts; the actions do not matter here."""
        first = -1 if self.config.frames == "last" else 0
        cost = self._token_distance(predicted.tokens[:, first:] - self.goal.tokens)
        if self.config.pose_weight:
            poses = difference(predicted.poses[:, first:], self.goal.poses)
            cost = cost + self.config.pose_weight * self._mean_power(poses)
        if self.config.workspace_low is not None and self.config.workspace_high is not None:
            cost = cost + _OUTSIDE_WEIGHT * self._outside(predicted.poses[..., :3]).mean(dim=1)
        return cost

    def _token_distance(self, residual: Float[Tensor, "S H N D"]) -> Float[Tensor, "S"]:
        """Returns the distance of each sample, the mean over the scales. Overwrites the residual."""
        # finest last: it may be the residual itself, which is overwritten
        costs = [self._mean_power(self._blur(residual, scale)) for scale in sorted(self.config.scales, reverse=True)]
        return torch.stack(costs).mean(dim=0)

    def _blur(self, tokens: Float[Tensor, "S H N D"], scale: int) -> Float[Tensor, "S H n D"]:
        """Returns the averages over all squares of scale x scale neighbouring tokens that lie within the grid."""
        if scale == 1:
            return tokens
        grid = tokens.unflatten(2, (self._grid, self._grid))
        for axis in (2, 3):
            places = self._grid - scale + 1
            grid = torch.stack([grid.narrow(axis, i, places) for i in range(scale)]).mean(dim=0)
        return grid.flatten(2, 3)

    def _outside(self, positions: Float[Tensor, "S H 3"]) -> Float[Tensor, "S H"]:
        """Returns how far positions are outside the workspace, summed over the axes [m]."""
        low, high = (positions.new_tensor(c) for c in (self.config.workspace_low, self.config.workspace_high))
        return ((low - positions).clamp_min(0) + (positions - high).clamp_min(0)).sum(dim=-1)

    def _mean_power(self, residual: Float[Tensor, "S ..."]) -> Float[Tensor, "S"]:
        """Returns the mean absolute or squared residual of each sample. Overwrites the residual: half the time."""
        power = residual.abs_() if self.config.norm == "l1" else residual.square_()
        return power.flatten(1).mean(dim=1)  # (S, ...) -> (S,)


def score_actions(
    model: WorldModel, cost: Objective, state: LatentState, actions: Float[Tensor, "S H A"], chunk: int
) -> Float[Tensor, "S"]:
    """Returns the predicted cost of each action sequence from a state, `chunk` sequences at a time.

    Without gradient, unless the actions ask for one.
    """
    with torch.set_grad_enabled(actions.requires_grad):
        return torch.cat([cost(model.rollout(state, part), part) for part in actions.split(chunk)])
