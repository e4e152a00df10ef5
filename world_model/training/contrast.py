"""Actions that recorded ones are told from by what they are predicted to lead to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_BLUR = 0.25  # std of the noise on the recorded ones, in standard deviations
_NEAR = (0.1, 1.0)  # std of the noise on an action's neighbours, in standard deviations, log-uniform
_TOUCHED = (0.6, 0.5)  # share of the numbers that differ, of neighbours and of what is anywhere
_DIFFERING = 0.7  # share of the actions of a sequence that differ
_GRASPING = 0.3  # share of them whose gripper is drawn anew


@dataclass(frozen=True)
class Others:
    """Draws other sequences of actions than recorded ones, all normalised and within the bounds.

    Attributes:
        moved: 1 for what recordings ever move; the rest is as recorded.
        low: Bounds.
        high: Bounds.
        rest: The action that moves nothing.
        gripper: Which number of an action has values of its own, and which: recorded ones have no others.
    """

    moved: Float[Tensor, "A"]
    low: Float[Tensor, "A"]
    high: Float[Tensor, "A"]
    rest: Float[Tensor, "A"]
    gripper: tuple[int, Float[Tensor, "K"]] | None = None

    def beside(
        self, recorded: Float[Tensor, "B H A"], alike: Float[Tensor, "B S H A"], count: int
    ) -> Float[Tensor, "B 1+M H A"]:
        """Returns recorded sequences and, after each, so many others, M.

        Half of them are its neighbours, a quarter at most was done in like poses, the rest are drawn evenly within the
        bounds, in some of their numbers: so that a search finds nothing where nothing was ever told apart. Drawing is
        as likely there as back, and what is learnt is the density of recorded actions (arXiv 1806.03664). The last one
        stays, which a search always tries. Of more than one action some are as recorded.

        The recorded ones are blurred: recordings repeat some actions exactly, such as straight down, where their
        density has needles. What is wanted is the likeliest thing to do, not the most exact one.

        Args:
            recorded: What was done.
            alike: What was done elsewhere in like poses: a search that begins with recorded ways begins with such.
            count: M.
        """
        recorded, near = self._blurred(recorded)[:, None], (count + 1) // 2
        alike = self._blurred(alike)[:, : count // 4]
        kept = recorded.expand(-1, count - near - alike.shape[1], -1, -1)
        drawn = self.low + (self.high - self.low) * torch.rand_like(kept)
        anywhere = self._as_in(kept, torch.lerp(kept, drawn, _some(kept, _TOUCHED[1])))
        further = self._gripping(torch.cat([alike, anywhere], dim=1))
        further[:, -1:] = self.rest
        neighbours = self._near(recorded.expand(-1, near, -1, -1))
        return torch.cat([recorded, neighbours, self._differing(recorded.expand_as(further), further)], dim=1)

    def _near(self, actions: Float[Tensor, "B M H A"]) -> Float[Tensor, "B M H A"]:
        """Returns a neighbour of each sequence."""
        least, most = (math.log(scale) for scale in _NEAR)
        scale = torch.exp(least + (most - least) * torch.rand_like(actions[:, :, :1, :1]))
        noise = scale * torch.randn_like(actions) * _some(actions, _TOUCHED[0])
        found = self._as_in(actions, (actions + noise).clamp(self.low, self.high))
        return self._differing(actions, self._gripping(found))

    def _blurred(self, actions: Float[Tensor, "*B H A"]) -> Float[Tensor, "*B H A"]:
        """Returns recorded actions with noise, but for the gripper."""
        noise = _BLUR * self.moved * torch.randn_like(actions)
        return self._as_in(actions, (actions + noise).clamp(self.low, self.high))

    def _as_in(self, actions: Float[Tensor, "*B A"], found: Float[Tensor, "*B A"]) -> Float[Tensor, "*B A"]:
        """Returns what was found with the gripper of the actions."""
        if self.gripper is not None:
            found[..., self.gripper[0]] = actions[..., self.gripper[0]]
        return found

    def _gripping(self, found: Float[Tensor, "B M H A"]) -> Float[Tensor, "B M H A"]:
        """Returns what was found with some of the grippers drawn anew."""
        if self.gripper is not None:
            index, values = self.gripper
            drawn = values[torch.randint(len(values), found.shape[:3], device=found.device)]
            anew = torch.rand(found.shape[:3], device=found.device) < _GRASPING
            found[..., index] = torch.where(anew, drawn, found[..., index])
        return found

    def _differing(
        self, actions: Float[Tensor, "B M H A"], found: Float[Tensor, "B M H A"]
    ) -> Float[Tensor, "B M H A"]:
        """Returns what was found, in some of its actions, at least one; the others are as given."""
        differ = _some(actions[..., :1], _DIFFERING)
        one = torch.randint(actions.shape[2], (*actions.shape[:2], 1, 1), device=actions.device)
        return torch.lerp(actions, found, self.moved * differ.scatter(2, one, 1.0))


def _some(like: Float[Tensor, "*B A"], share: float) -> Float[Tensor, "*B A"]:
    """Returns 1 for such a share of the numbers, at random, else 0."""
    return (torch.rand_like(like) < share).to(like)
