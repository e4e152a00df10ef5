"""What a world model is, to everyone who plans with one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from jaxtyping import Float, UInt8
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


class Encoder(Protocol):
    """Turns images into tokens, frozen: the same image always gives the same.

    Attributes:
        tokens: Tokens of an image, N.
        width: Of a token, D.
        grid: Patches along a side: N = grid * grid, row by row.
        image_size: Side of the square images that it looks at [pixels].
        fingerprint: Hash of its shape, its weights and the version of its code: what makes the same tokens.
        device: Where it is, and pixels must be.
    """

    @property
    def tokens(self) -> int: ...  # noqa: D102

    @property
    def width(self) -> int: ...  # noqa: D102

    @property
    def grid(self) -> int: ...  # noqa: D102

    @property
    def image_size(self) -> int: ...  # noqa: D102

    @property
    def fingerprint(self) -> str: ...  # noqa: D102

    @property
    def device(self) -> torch.device: ...  # noqa: D102

    def to(self, device: torch.device | str, /) -> Self:
        """Returns itself on a device."""
        ...

    def preprocess(self, images: UInt8[Tensor, "B h w 3"]) -> Float[Tensor, "B 3 S S"]:
        """Returns camera images as the encoder takes them.

        Raises:
            ValueError: If they are not (B, h, w, 3) uint8.
        """
        ...

    def __call__(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B N D"]:
        """Returns the tokens of what `preprocess` returned.

        Raises:
            ValueError: If that is of another size.
        """
        ...

    def restore(self, predicted: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Returns predicted tokens normed as its own are."""
        ...


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
