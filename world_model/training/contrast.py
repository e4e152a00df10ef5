"""Actions that recorded ones are told from by what they are predicted to lead to."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

_NEAR = (0.1, 1.0)  # std of the noise on an action's neighbours, in standard deviations, log-uniform
_TOUCHED = (0.6, 0.5)  # share of the numbers that differ, of neighbours and of what is anywhere


def with_others(
    actions: Float[Tensor, "B A"],
    moved: Float[Tensor, "A"],
    low: Float[Tensor, "A"],
    high: Float[Tensor, "A"],
    others: int,
) -> Float[Tensor, "B 1+M A"]:
    """Returns recorded actions and, after each, so many others within the bounds; all normalised.

    Half of them are its neighbours, a quarter other recorded ones of the batch, the rest are drawn evenly within the
    bounds, in some of their numbers: so that a search finds nothing where nothing was ever told apart. Drawing is as
    likely there as back, and what is learnt is the density of recorded actions (arXiv 1806.03664).

    Args:
        actions: The recorded ones.
        moved: 1 for what recordings ever move; the rest is as recorded.
        low: Bounds.
        high: Bounds.
        others: M.
    """
    batch, size = actions.shape
    near, swapped = (others + 1) // 2, others // 4
    least, most = (math.log(scale) for scale in _NEAR)
    noise = torch.exp(least + (most - least) * actions.new_empty(batch, near, 1).uniform_())
    noise = noise * actions.new_empty(batch, near, size).normal_() * _some(actions, near, _TOUCHED[0])
    elsewhere = actions[torch.rand(swapped, batch, device=actions.device).argsort(dim=1)].transpose(0, 1)
    drawn = low + (high - low) * actions.new_empty(batch, others - near - swapped, size).uniform_()
    anywhere = torch.lerp(actions[:, None], drawn, _some(actions, drawn.shape[1], _TOUCHED[1]))
    found = torch.cat([actions[:, None] + noise, elsewhere, anywhere], dim=1).clamp(low, high)
    return torch.cat([actions[:, None], torch.lerp(actions[:, None], found, moved)], dim=1)


def _some(like: Float[Tensor, "B A"], count: int, share: float) -> Float[Tensor, "B M A"]:
    """Returns 1 for such a share of the numbers, at random, else 0."""
    return (like.new_empty(len(like), count, like.shape[1]).uniform_() < share).to(like)
