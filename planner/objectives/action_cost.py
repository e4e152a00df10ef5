"""What actions cost in themselves."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.objectives.objective_config import ActionCostConfig
from world_model.base import LatentState


class ActionCost:
    """Cost of the actions themselves, an `Objective`: small and smooth ones are cheap, wherever they lead.

    With b_i half of the range (high - low) of dimension i, over the dimensions that are not fixed::

        cost_s = action_weight * mean_{h,i} (a_{s,h,i} / b_i)^2
                 + smoothness_weight * mean_{h>0,i} ((a_{s,h,i} - a_{s,h-1,i}) / b_i)^2
    """

    def __init__(self, config: ActionCostConfig, spec: ActionSpec) -> None:
        """Takes the weights and the bounds."""
        self.config = config
        halves = (np.array(spec.high) - np.array(spec.low)) / 2
        free = halves > 0
        scale = np.divide(1.0, halves, out=np.zeros_like(halves), where=free)
        self._scale = scale / np.sqrt(max(1, free.sum()))  # so that the sum over dimensions is the mean over the free

    def __call__(self, predicted: LatentState, actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S"]:
        """Returns the cost of each of S action sequences; what is predicted does not matter here."""
        scaled = actions * actions.new_tensor(self._scale)
        cost = self.config.action_weight * scaled.square().sum(dim=-1).mean(dim=1)
        if self.config.smoothness_weight and actions.shape[1] > 1:
            cost = cost + self.config.smoothness_weight * scaled.diff(dim=1).square().sum(dim=-1).mean(dim=1)
        return cost
