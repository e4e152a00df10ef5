"""What a world model is, to everyone who plans with one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec, Observation


@dataclass(frozen=True)
class LatentState:
    """Latents of consecutive frames and the poses they were seen (or are predicted) at.

    Attributes:
        tokens: (B, T, N, D), N tokens a frame of width D.
        poses: (B, T, P) in physical units, see `envs.spec.Observation.pose`.
    """

    tokens: Float[Tensor, "B T N D"]
    poses: Float[Tensor, "B T P"]


class WorldModel(Protocol):
    """Predicts the latents of future frames under candidate actions.

    Attributes:
        action_spec: What its actions mean. A controller checks it against the arm's.
        context: How many past frames `rollout` makes use of at most.
    """

    action_spec: ActionSpec
    context: int

    def encode(self, observations: Sequence[Observation]) -> LatentState:
        """Returns the latents of consecutive observations, oldest first: B = 1, T = len(observations), no gradient."""
        ...

    def rollout(self, state: LatentState, actions: Float[Tensor, "S H A"]) -> LatentState:
        """Returns the H frames after the state's last one under each of S action sequences: B = S, T = H.

        Differentiable with respect to the actions, which are in physical units. The context (B = 1) is shared by
        the samples, not copied.
        """
        ...
