"""How likely recordings go from one frame to the next on a way of so many actions to a goal: an energy."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from world_model.checkpoints.checkpoint import Head, StoredModel
from world_model.heads.ways import POSE_WEIGHT, Judge, Looked
from world_model.heads.ways_config import TransitionEnergyConfig

TRANSITION_ENERGY = "transition_energy"
"""Its name among a model's heads."""

_COUNT_WEIGHT = 0.5


class TransitionErrors(NamedTuple):
    """How wrong a `TransitionEnergy` is, each a scalar.

    Attributes:
        contrast: Cross-entropy of which frame the recorded action leads to, of all that are compared.
        told: Share of the pairs in which that is the likeliest.
        count: Cross-entropy of the number of actions from there on.
        pose: Mean absolute error of the poses that are read from frames and goals, in standard deviations.
    """

    contrast: Float[Tensor, ""]
    told: Float[Tensor, ""]
    count: Float[Tensor, ""]
    pose: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """What is minimised."""
        return self.contrast + _COUNT_WEIGHT * self.count + POSE_WEIGHT * self.pose


class TransitionEnergy(Head):
    """Tells which of the frames that actions are predicted to lead to recordings would see next on a way to a goal.

    ::

        E(z, s, z', s', g, n)       n: actions that are left to the goal g from the next frame z' on

        p(a | z, s, g, n) ~ exp(-E(z, s, f(z, s, a), s + a, g, n - 1))

    It is learnt by contrast: from a frame, the recorded action and others are predicted by the dynamics, and the frame
    that the recorded one is predicted to lead to is to have the lowest energy. So what a search finds cheapest is what
    recordings did, as far as the dynamics tell one action from another, and what they predict wrongly is weighed as it
    is predicted. It knows no actions, only frames: which ones lead to good frames is searched for.

    Source: implicit behavioural cloning (arXiv 2109.00137), here through a world model; contrast with others around the
    recorded one: conditional noise-contrastive estimation (arXiv 1806.03664).

    Attributes:
        config: Its shape.
        judge: Compares the next frame with the goal.
        before: Adds in what it differs from the frame before.
    """

    Config = TransitionEnergyConfig

    def __init__(self, config: TransitionEnergyConfig) -> None:
        super().__init__()
        self.config, shape = config, config.shape.judge
        self.judge = Judge(config.size, config.pose_size, shape)
        self.before = nn.Linear(shape.code + config.pose_size + self.judge.magnified, shape.width)
        nn.init.zeros_(self.before.weight)  # it begins as the judge of next frames alone
        nn.init.zeros_(self.before.bias)

    def check_fits(self, model: StoredModel) -> None:
        """See `Head.check_fits`."""
        self.config.check_poses("the transition energy", len(model.statistics.pose_mean))

    def likelihoods(self, before: Looked, after: Looked, goal: Looked) -> Float[Tensor, "*B K+1"]:
        """Returns -E up to a constant, for 0 .. K actions from the next frame on to the goal.

        Args:
            before: Frames.
            after: Those that came next.
            goal: Goals.
        """
        changed = self.judge.magnify(self.judge.differences(before, after))
        x = self.judge.facing(after, goal) + self.before(torch.cat([before.code, before.pose, changed], dim=-1))
        return self.judge.count(self.judge.compare(x)).float()

    def errors(
        self,
        now: Float[Tensor, "B Z"],
        goal: Float[Tensor, "B Z"],
        poses: Float[Tensor, "2 B P"],
        counts: Int[Tensor, "B"],
        led: Float[Tensor, "B C Z"],
        led_poses: Float[Tensor, "B C P"],
    ) -> TransitionErrors:
        """Returns how wrong it is of recorded ways.

        Args:
            now: Latents of the frames.
            goal: Latents of the goals.
            poses: Of the frames and of the goals, normalised, see `Judge.errors`.
            counts: Actions to each goal, at least 1.
            led: Latents that C actions are predicted to lead to, the recorded one first.
            led_poses: The poses that they lead to, normalised.
        """
        batch, compared = led.shape[:2]
        looked = self.judge.look(torch.cat([led.flatten(0, 1), now, goal]))
        parts = zip(*(part.split((batch * compared, batch, batch)) for part in looked), strict=True)
        after, seen, goals = (Looked(*part) for part in parts)
        after = self.judge.told(Looked(*(part.unflatten(0, (batch, compared)) for part in after)), led_poses)
        before = self.judge.told(seen, poses[0])
        likely = self.likelihoods(_each(before, after), after, _each(goals, after))
        left = (counts - 1).clamp(max=self.judge.longest)
        energies, first = (
            likely.gather(2, left[:, None, None].expand(batch, compared, 1))[..., 0],
            torch.zeros_like(left),
        )
        return TransitionErrors(
            functional.cross_entropy(energies, first),
            (energies.argmax(1) == first).float().mean(),
            functional.cross_entropy(likely[:, 0], left),
            (torch.stack([seen.pose, goals.pose]) - poses * self.judge.used).abs().mean(),
        )


def _each(looked: Looked, beside: Looked) -> Looked:
    """Returns what was read of B frames for each of C others beside it, a view."""
    return Looked(*(part[:, None].expand(*beside.code.shape[:2], -1) for part in looked))
