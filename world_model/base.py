"""What a world model is, to everyone who plans with one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
from jaxtyping import Float, Num, UInt8
from torch import Tensor

from envs.spec import ActionSpec, Goal, Observation


@dataclass(frozen=True)
class LatentState:
    """Latents of consecutive frames and the poses they were seen (or are predicted) at.

    Attributes:
        tokens: (B, T, N, D), N tokens a frame of width D.
        poses: (B, T, P) in physical units, see `envs.spec.Observation.pose`.
        start: What predicted frames go on from, as a controller tells the objective; None for frames that were seen.
    """

    tokens: Float[Tensor, "B T N D"]
    poses: Float[Tensor, "B T P"]
    start: LatentState | None = None

    def last(self) -> LatentState:
        """Returns the last frame."""
        return LatentState(self.tokens[:, -1:], self.poses[:, -1:])

    def as_goal(self) -> LatentGoal:
        """Returns a single frame as what is wanted, with its pose.

        Raises:
            ValueError: If there are several.
        """
        if self.tokens.ndim != 4 or tuple(self.tokens.shape[:2]) != (1, 1):
            raise ValueError(f"a goal is the latent of one frame, (1, 1, N, D), got {tuple(self.tokens.shape)}")
        return LatentGoal(self.tokens[0, 0], self.poses[0, 0])


@dataclass(frozen=True)
class LatentGoal:
    """What is wanted, as a world model sees it: a `Goal` that was encoded, or one that nobody has seen.

    Nothing stands for what is open: who needs a pose and finds None says so.

    Attributes:
        tokens: (N, D), of one frame.
        pose: (P,) in physical units; None where it is open.
        mask: How much each token counts, (N,), numbers from 0 up of which only the ratios matter; None for all alike.
        image: Its picture for people, (h, w, 3) uint8; None where there is none. Nothing plans with it.
        way: Frames after 1 .. K actions that lead towards it, (K, N, D), the goal's own where it is no further than
            that; None where any will do.

    Raises:
        ValueError: If the tokens are not one frame's, the way's frames are not like it, or the mask is not one number
            from 0 up a token, any above 0.
    """

    tokens: Float[Tensor, "N D"]
    pose: Float[Tensor, "P"] | None = None
    mask: Num[Tensor, "N"] | None = None
    image: UInt8[np.ndarray, "h w 3"] | None = None
    way: Float[Tensor, "K N D"] | None = None

    def __post_init__(self) -> None:
        if self.tokens.ndim != 2:
            raise ValueError(f"a goal is the latent of one frame, (N, D), got {tuple(self.tokens.shape)}")
        if self.way is not None and self.way.shape != (max(1, len(self.way)), *self.tokens.shape):
            raise ValueError(
                f"the way to a goal is the latents of frames like it, (K, {', '.join(map(str, self.tokens.shape))}), "
                f"got {tuple(self.way.shape)}"
            )
        if self.mask is None:
            return
        if self.mask.shape != self.tokens.shape[:1]:
            raise ValueError(
                f"a mask of this goal's tokens must be ({len(self.tokens)},), got {tuple(self.mask.shape)}"
            )
        if not bool((self.mask.isfinite() & (self.mask >= 0)).all()) or not bool((self.mask > 0).any()):
            raise ValueError("a mask of tokens must be finite numbers from 0 up, and not all of them 0")


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
        context: How many past frames are made use of at most, by `rollout` or by what was learnt on its latents.
    """

    action_spec: ActionSpec
    context: int

    def encode(self, observations: Sequence[Observation]) -> LatentState:
        """Returns the latents of consecutive observations, oldest first: B = 1, T = len(observations), no gradient."""
        ...

    def encode_goal(self, goal: Goal) -> LatentGoal:
        """Returns the latent of a goal, no gradient; what is open in it stays open.

        Raises:
            ValueError: If it has a mask and tokens are not places in the image.
        """
        ...

    def rollout(self, state: LatentState, actions: Float[Tensor, "S H A"]) -> LatentState:
        """Returns the H frames after the state's last one under each of S action sequences: B = S, T = H.

        Differentiable with respect to the actions, which are in physical units. The context (B = 1) is shared by
        the samples, not copied.
        """
        ...
