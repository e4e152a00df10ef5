"""Actions that recorded ones are told from by what they are predicted to lead to."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

_BLUR = 0.25  # std of the noise on the recorded ones, in standard deviations
_NEAR = (0.1, 1.0)  # std of the noise on an action's neighbours, in standard deviations, log-uniform
_TOUCHED = (0.6, 0.5)  # share of the numbers that differ, of neighbours and of what is anywhere
_DIFFERING = 0.7  # share of the actions of a sequence that differ
_GRASPING = 0.3  # share of them whose gripper is drawn anew


def with_others(
    actions: Float[Tensor, "B H A"],
    moved: Float[Tensor, "A"],
    low: Float[Tensor, "A"],
    high: Float[Tensor, "A"],
    others: int,
    staying: Float[Tensor, "A"],
    gripper: tuple[int, Float[Tensor, "K"]] | None = None,
    alike: Float[Tensor, "B S H A"] | None = None,
) -> Float[Tensor, "B 1+M H A"]:
    """Returns recorded sequences of actions and, after each, so many others within the bounds; all normalised.

    Half of them are its neighbours, a quarter other recorded ones of the batch, the rest are drawn evenly within the
    bounds, in some of their numbers: so that a search finds nothing where nothing was ever told apart. Drawing is as
    likely there as back, and what is learnt is the density of recorded actions (arXiv 1806.03664). The last one stays,
    which a search always tries. Of more than one action some are as recorded.

    The recorded ones are blurred: recordings repeat some actions exactly, such as straight down, where their density
    has needles. What is wanted is the likeliest thing to do, not the most exact one.

    Args:
        actions: The recorded ones.
        moved: 1 for what recordings ever move; the rest is as recorded.
        low: Bounds.
        high: Bounds.
        others: M.
        staying: The action that moves nothing.
        gripper: Which number of an action has values of its own, and which: recorded ones have no others.
    """
    batch, steps, size = actions.shape
    actions = blurred(actions, moved, low, high, gripper)
    near, swapped = (others + 1) // 2, others // 4
    least, most = (math.log(scale) for scale in _NEAR)
    noise = torch.exp(least + (most - least) * actions.new_empty(batch, near, 1, 1).uniform_())
    noise = noise * actions.new_empty(batch, near, steps, size).normal_() * _some(actions, near, _TOUCHED[0])
    if alike is None:
        elsewhere = actions[torch.rand(swapped, batch, device=actions.device).argsort(dim=1)].transpose(0, 1)
    else:
        elsewhere = blurred(alike, moved, low, high, gripper)
        swapped = elsewhere.shape[1]
    drawn = low + (high - low) * actions.new_empty(batch, others - near - swapped, steps, size).uniform_()
    recorded = actions[:, None]
    anywhere = torch.lerp(recorded, drawn, _some(actions, drawn.shape[1], _TOUCHED[1]))
    found = torch.cat([recorded + noise, elsewhere, anywhere], dim=1).clamp(low, high)
    if gripper is not None:
        index, values = gripper
        drawn = values[torch.randint(len(values), found.shape[:3], device=found.device)]
        kept = torch.cat([recorded.expand(-1, near, -1, -1), elsewhere, recorded.expand_as(anywhere)], dim=1)
        anew = torch.rand(found.shape[:3], device=found.device) < _GRASPING
        found[..., index] = torch.where(anew, drawn, kept[..., index])
    found[:, near + swapped :][:, -1:] = staying
    return torch.cat([recorded, torch.lerp(recorded, found, moved * _differing(actions, others))], dim=1)


def blurred(actions, moved, low, high, gripper):
    found = (actions + _BLUR * moved * torch.randn_like(actions)).clamp(low, high)
    if gripper is not None:
        found[..., gripper[0]] = actions[..., gripper[0]]
    return found


def neighbours(actions, moved, low, high, gripper):
    """(B M H A) -> same shape."""
    batch, count, steps, size = actions.shape
    least, most = (math.log(scale) for scale in _NEAR)
    noise = torch.exp(least + (most - least) * actions.new_empty(batch, count, 1, 1).uniform_())
    noise = noise * torch.randn_like(actions) * (torch.rand_like(actions) < _TOUCHED[0])
    found = (actions + noise).clamp(low, high)
    if gripper is not None:
        index, values = gripper
        drawn = values[torch.randint(len(values), found.shape[:3], device=found.device)]
        anew = torch.rand(found.shape[:3], device=found.device) < 0.5 * _GRASPING
        found[..., index] = torch.where(anew, drawn, actions[..., index])
    return torch.lerp(actions, found, moved * _differing(actions[:, 0], count))


def _some(like: Float[Tensor, "B H A"], count: int, share: float) -> Float[Tensor, "B M H A"]:
    """Returns 1 for such a share of the numbers, at random, else 0."""
    return (like.new_empty(len(like), count, *like.shape[1:]).uniform_() < share).to(like)


def _differing(like: Float[Tensor, "B H A"], count: int) -> Float[Tensor, "B M H 1"]:
    """Returns 1 for the actions of each sequence that differ, at random, at least one."""
    batch, steps = like.shape[:2]
    differ = like.new_empty(batch, count, steps).uniform_() < _DIFFERING
    one = torch.randint(steps, (batch, count, 1), device=like.device)
    return differ.scatter(2, one, True)[..., None].to(like)
