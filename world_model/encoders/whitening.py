"""Whitening of tokens: what differs between the images of one camera, every direction of it counting alike.

Before a camera that stands still most of a token is the same in all images, and of the rest most is whether the arm is
there. Where a small object lies is in the tokens of a masked encoder as well, but in directions with a thousandth of
the variance: a loss, an energy or a critic on the tokens as they are hardly sees them.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Whitening(nn.Module):
    """Takes each patch's mean from its tokens and turns and scales the rest, to unit variance in each of K directions.

        y = (x - mean) V / sqrt(lambda)

    V and lambda are the K first principal directions, over images and patches, of what is left without the means, and
    their variances. A patch that never changes is 0.

    Attributes:
        mean: Of each patch (N, D).
        matrix: V / sqrt(lambda) (D, K).
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, tokens: int, width: int, components: int) -> None:
        """Makes one that keeps the first components as they are, until `fit`.

        Args:
            tokens: N.
            width: D.
            components: K, at most D.
        """
        super().__init__()
        self.register_buffer("mean", torch.zeros(tokens, width))
        self.register_buffer("matrix", torch.eye(width, components))

    def forward(self, tokens: Float[Tensor, "*B N D"]) -> Float[Tensor, "*B N K"]:
        """Returns the whitened tokens."""
        return (tokens - self.mean) @ self.matrix

    @torch.no_grad()
    def fit(self, tokens: Float[Tensor, "B N D"]) -> float:
        """Takes mean, directions and variances from some images' tokens; returns the share of variance in K directions.

        Raises:
            ValueError: If the tokens differ in fewer directions than are to be kept.
        """
        components = self.matrix.shape[1]
        mean, variances, directions = principal_directions(tokens.double())
        if not variances[-components] > 1e-10 * variances[-1]:
            known = int((variances > 1e-10 * variances[-1]).sum())
            raise ValueError(f"tokens of these images differ in {known} directions, {components} were to be kept")
        kept, directions = variances[-components:].flip(0), directions[:, -components:].flip(1)
        self.mean.copy_(mean)
        self.matrix.copy_(directions * kept.rsqrt())
        return (kept.sum() / variances.sum()).item()


@torch.no_grad()
def whiten(tokens: Float[Tensor, "B N D"], floor: float) -> Float[Tensor, "B N D"]:
    """Returns what differs between images in each patch's tokens, with about unit covariance over batch and patches.

    All directions are kept, turned back to the tokens' own; those with under `floor` of the largest variance stay
    small: they are noise.
    """
    tokens = tokens.float()
    mean, variances, directions = principal_directions(tokens)
    scale = (variances + floor * variances.max().clamp_min(1e-12)).rsqrt()
    return (tokens - mean) @ (directions * scale) @ directions.T


def principal_directions(
    tokens: Float[Tensor, "B N D"],
) -> tuple[Float[Tensor, "N D"], Float[Tensor, " D"], Float[Tensor, "D D"]]:
    """Returns each patch's mean, and of the rest the variances, rising, along its principal directions, the columns."""
    mean = tokens.mean(0)
    flat = (tokens - mean).flatten(0, 1)
    variances, directions = torch.linalg.eigh(flat.T @ flat / len(flat))
    return mean, variances.clamp_min(0.0), directions
