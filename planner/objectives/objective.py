"""Costs on latents: how far a predicted future is from what is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite, isqrt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from envs.config import Choice
from envs.pose import END_EFFECTOR, Motion, motion_of
from envs.spec import ActionSpec
from planner.base import Objective, Score
from planner.objectives.action_cost import ActionCost, ActionCostConfig
from planner.objectives.mask import read_mask
from planner.objectives.objective_config import (
    OBJECTIVES,
    GoalDistanceConfig,
    ObjectiveConfig,
    ObjectiveSettings,
    SumConfig,
)
from world_model.base import LatentGoal, LatentState, WorldModel
from world_model.encoders.mask import average_over_patches

_OUTSIDE_WEIGHT = 10.0  # 1/m: 1 cm outside costs as much as a few centimetres from the goal
_TINY = 1e-12  # keeps 0 / 0 at 0


class GoalDistance:
    """Distance between predicted frames and one goal frame, an `Objective`.

    The cost of sample s is::

        cost_s = sum_h u_h ( image_weight * mean_k sum_n w_{k,n} mean_d |A_k(z_{s,h} - g)_{n,d}|^q
                             + pose_weight * mean_p v_p |difference(s_{s,h}, s_goal)_p|^q )

                 + 10 / m * mean_h (how far the position of s_{s,h} is outside the workspace, summed over axes)

    q is 1 for "l1" and 2 for "l2"; for "cosine" the mean over channels d is 1 - cos(A_k(z_{s,h})_n, A_k(g)_n) instead.
    A_k averages tokens over squares of k x k neighbours, k runs over the scales. h runs over the predicted frames: u_h
    is equal for "all", 1 for the last one with "last", and proportional to discount^h, h = 0, 1, ..., with
    "discounted". w weighs the tokens n, equally without a mask; with one, the goal's own or else that of the settings,
    A_k averages by the weights and w_k are their averages, so that a token of weight 0 counts on no scale. v are the
    pose parts, and differences of poses are in [m, rad, 1]. u and each w_k sum to 1.

    Where the goal says which way leads there, frame h is compared with the way's instead, and after its end with its
    last.

    Source: V-JEPA 2 (arXiv 2506.09985), section 3.2 (l1, last frame).
    """

    def __init__(
        self, goal: LatentGoal, config: GoalDistanceConfig | None = None, motion: Motion = END_EFFECTOR
    ) -> None:
        """Takes the goal, the settings, None for the defaults, and how poses differ.

        Raises:
            ValueError: If the goal's pose is weighed and open, or in parts and not the end effector's, or its grid of
                tokens is too small for the scales or none that the settings' mask fits, or the angle to a way is asked
                for.
        """
        self.goal, self._motion = goal, motion
        self.config = config or GoalDistanceConfig()
        count = len(goal.tokens)
        self._grid = isqrt(count)
        largest = max(self.config.scales)
        if largest > 1 and (self._grid**2 != count or largest > self._grid):
            raise ValueError(
                f"scales up to {largest} need a square grid of tokens at least that wide, got {count} tokens"
            )
        if self.config.pose_weight:
            self._pose = _told_pose(goal, self.config.pose_weight)
            self._pose_parts = _weights_of_pose(self._pose, self.config, motion)
        weights = goal.mask
        if weights is None and self.config.mask is not None:
            weights = torch.from_numpy(average_over_patches(read_mask(self.config.mask), count)).flatten()
        # of the scales that are compared, coarsest first: the finest may be the residual itself, which is overwritten
        self._scales = sorted(self.config.scales, reverse=True)
        self._weights = {} if weights is None else self._weights_by_scale(weights.to(goal.tokens))
        self._way = goal.way
        if self._way is not None and self.config.norm == "cosine":
            raise ValueError("the way to a goal is compared by norm l1 or l2, not by cosine: set objective.norm")
        self._directions: dict[int, Tensor] = {}
        if self.config.norm == "cosine":
            self._directions = {
                scale: _direction(self._average(goal.tokens[None, None], scale)) for scale in self._scales
            }

    def __call__(self, predicted: LatentState, actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S"]:
        """Returns the cost of each of S rollouts; the actions do not matter here."""
        first = -1 if self.config.frames == "last" else 0
        cost = self.config.image_weight * self._token_distance(predicted.tokens, first)
        if self.config.pose_weight:
            poses = self._power(self._motion.difference(predicted.poses[:, first:], self._pose[None, None]))
            cost = cost + self.config.pose_weight * self._mean(poses * self._pose_parts)
        if self.config.workspace_low is not None and self.config.workspace_high is not None:
            cost = cost + _OUTSIDE_WEIGHT * self._outside(predicted.poses[..., :3]).mean(dim=1)
        return cost

    def _token_distance(self, tokens: Float[Tensor, "S H N D"], first: int) -> Float[Tensor, "S"]:
        """Returns the distance of each sample's tokens from what is wanted, from a frame on, the mean over scales."""
        seen = tokens[:, first:]
        if self.config.norm == "cosine":
            costs = [self._cosine_distance(seen, scale) for scale in self._scales]
        else:
            residual = seen - self._wanted(tokens.shape[1])[first:]
            powers = ((scale, self._power(self._average(residual, scale))) for scale in self._scales)
            costs = [self._mean(power, self._weights.get(scale)) for scale, power in powers]
        return torch.stack(costs).mean(dim=0)

    def _wanted(self, frames: int) -> Float[Tensor, "H N D"]:
        """Returns what so many predicted frames are compared with: one goal for all, or each its own."""
        if self._way is None:
            return self.goal.tokens.expand(frames, -1, -1)
        return self._way[torch.arange(frames, device=self._way.device).clamp(max=len(self._way) - 1)]

    def _cosine_distance(self, tokens: Float[Tensor, "S H N D"], scale: int) -> Float[Tensor, "S"]:
        """Returns 1 - cos on one scale as |u - v|^2 / 2 of unit vectors: never below 0, and exact near the goal."""
        residual = _direction(self._average(tokens, scale)).sub_(self._directions[scale])
        return tokens.shape[-1] / 2 * self._mean(residual.square_(), self._weights.get(scale))

    def _power(self, residual: Float[Tensor, "S ..."]) -> Float[Tensor, "S ..."]:
        """Returns the absolute or squared residual. Overwrites the residual: half the time."""
        return residual.square_() if self.config.norm == "l2" else residual.abs_()

    def _mean(self, values: Float[Tensor, "S H ..."], weights: Float[Tensor, "n"] | None = None) -> Float[Tensor, "S"]:
        """Returns each sample's mean: over frames by their weights, over tokens by theirs, plain over the rest."""
        if weights is None and self.config.frames != "discounted":
            return values.flatten(1).mean(dim=1)  # (S, ...) -> (S,)
        if weights is None:
            frames = values.flatten(2).mean(dim=2)  # (S, H, ...) -> (S, H)
        else:
            frames = values.mean(dim=-1) @ (weights / weights.sum())  # (S, H, n, D) -> (S, H)
        if self.config.frames != "discounted":
            return frames.mean(dim=1)
        shares = self.config.discount ** torch.arange(frames.shape[1], device=frames.device, dtype=frames.dtype)
        return frames @ (shares / shares.sum())

    def _average(self, tokens: Float[Tensor, "S H N D"], scale: int) -> Float[Tensor, "S H n D"]:
        """Returns A_k: the averages over squares of neighbouring tokens, by the token weights where there are any."""
        if scale == 1 or not self._weights:
            return self._blur(tokens, scale)
        averages = self._blur(tokens * self._weights[1][:, None], scale)
        return averages.div_(self._weights[scale][:, None].clamp_min(_TINY))

    def _blur(self, tokens: Float[Tensor, "S H N D"], scale: int) -> Float[Tensor, "S H n D"]:
        """Returns the averages over all squares of scale x scale neighbouring tokens that lie within the grid."""
        if scale == 1:
            return tokens
        grid = tokens.unflatten(2, (self._grid, self._grid))
        for axis in (2, 3):
            places = self._grid - scale + 1
            total = grid.narrow(axis, 0, places) + grid.narrow(axis, 1, places)
            for first in range(2, scale):
                total += grid.narrow(axis, first, places)
            grid = total.div_(scale)
        return grid.flatten(2, 3)

    def _outside(self, positions: Float[Tensor, "S H 3"]) -> Float[Tensor, "S H"]:
        """Returns how far positions are outside the workspace, summed over the axes [m]."""
        low, high = (positions.new_tensor(c) for c in (self.config.workspace_low, self.config.workspace_high))
        return ((low - positions).clamp_min(0) + (positions - high).clamp_min(0)).sum(dim=-1)

    def _weights_by_scale(self, weights: Float[Tensor, "N"]) -> dict[int, Float[Tensor, "n"]]:
        """Returns the tokens' weights, which sum to 1, and their averages on every scale."""
        fine = weights / weights.sum()
        return {scale: self._blur(fine[None, None, :, None], scale).flatten() for scale in {1, *self._scales}}


def _told_pose(goal: LatentGoal, weight: float) -> Float[Tensor, "P"]:
    """Returns a goal's pose, which counts with a weight.

    Raises:
        ValueError: If it is open.
    """
    if goal.pose is None:
        raise ValueError(
            f"the objective weighs the goal's pose (pose_weight {weight:g}), which is open: give the goal its pose, or "
            "set objective.pose_weight to 0"
        )
    return goal.pose


def _weights_of_pose(pose: Float[Tensor, "P"], config: GoalDistanceConfig, motion: Motion) -> Float[Tensor, "P"]:
    """Returns what each number of a pose counts.

    Raises:
        ValueError: If position, rotation and gripper are weighed of a pose that is not the end effector's.
    """
    if motion is END_EFFECTOR:
        return pose.new_tensor(np.repeat(config.pose_parts, (3, 3, 1)))
    if config.pose_parts != GoalDistanceConfig().pose_parts:
        raise ValueError(
            "objective.pose_parts weighs position, rotation and gripper of an end effector's pose, and this one has "
            f"{len(pose)} numbers of another kind: leave pose_parts out"
        )
    return torch.ones_like(pose)


def _direction(tokens: Float[Tensor, "S H n D"]) -> Float[Tensor, "S H n D"]:
    """Returns tokens of length 1; a token that is 0 stays so."""
    return tokens / torch.linalg.vector_norm(tokens, dim=-1, keepdim=True).clamp_min(_TINY)


class WeightedSum:
    """Several objectives as one, an `Objective`: cost_s = sum_i weight_i * objective_i(s)."""

    def __init__(self, terms: Sequence[tuple[float, Objective]]) -> None:
        """Takes (weight, objective) pairs.

        Raises:
            ValueError: If there is none or a weight is not finite.
        """
        weights = [weight for weight, _ in terms]
        if not terms or not all(isfinite(weight) for weight in weights):
            raise ValueError(f"a weighted sum needs at least one objective, and finite weights, got {weights}")
        self.terms = tuple(terms)

    def __call__(self, predicted: LatentState, actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S"]:
        """Returns the weighted sum of the objectives' costs of each of S rollouts."""
        costs = [weight * objective(predicted, actions) for weight, objective in self.terms]
        return torch.stack(costs).sum(dim=0)


def make_objective(goal: LatentGoal, config: ObjectiveSettings, spec: ActionSpec, model: WorldModel) -> Objective:
    """Returns the objective that settings describe.

    Raises:
        ValueError: If the goal or a mask doesn't fit, see `GoalDistance`, or goal or model lacks what is asked.
    """
    return Choice("kind", OBJECTIVES).make(config, goal, spec, model)


def make_goal_distance(config: ObjectiveConfig, goal: LatentGoal, spec: ActionSpec, model: WorldModel) -> Objective:
    """Returns a goal distance, with the actions' cost where there is one.

    Raises:
        ValueError: If positions are to stay in a workspace and the model knows joints alone, see also `GoalDistance`.
    """
    if config.workspace_low is not None and spec.frame == "joints":
        raise ValueError(
            "the plan's workspace is in metres, and the poses of a checkpoint in joint space are joint angles: leave "
            "workspace_low and workspace_high out of the objective; the limits in the arm's file keep the hand in a box"
        )
    distance = GoalDistance(goal, config, motion_of(spec))
    if config.actions == ActionCostConfig():
        return distance
    return WeightedSum([(1.0, distance), (1.0, ActionCost(config.actions, spec))])


def make_sum(config: SumConfig, goal: LatentGoal, spec: ActionSpec, model: WorldModel) -> Objective:
    """Returns a weighted sum of objectives."""
    return WeightedSum([(term.weight, make_objective(goal, term.objective, spec, model)) for term in config.terms])


def rollout_score(model: WorldModel, cost: Objective, state: LatentState) -> Score:
    """Returns the function that a planner minimises: predict what actions lead to from a state, then judge it."""
    return lambda actions: cost(replace(model.rollout(state, actions), start=state), actions)
