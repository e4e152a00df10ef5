"""How likely recordings go from one frame to the next on a way of so many actions to a goal: an energy."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from world_model.checkpoints.checkpoint import Head, StoredModel
from world_model.heads.ways import POSE_WEIGHT, Judge, Looked
from world_model.heads.ways_config import TransitionEnergyConfig

TRANSITION_ENERGY = "transition_energy"
"""Its name among a model's heads."""

_COUNT_WEIGHT = 0.5


class TransitionErrors(NamedTuple):
    """How wrong a `TransitionEnergy` is, each a scalar.

    Attributes:
        contrast: Cross-entropy of which of the ways that are compared was recorded, the mean over their lengths.
        told: Share of the pairs in which that is the likeliest by its first frame.
        count: Cross-entropy of the number of actions between frames and goals.
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


class ComparedWays(NamedTuple):
    """Recorded ways and others beside them, as they are predicted to go: C of each of B, the recorded one first.

    Attributes:
        start: Latents of the frames that they begin at.
        start_poses: Of these frames, normalised.
        goal: Latents of the goals.
        counts: Actions from each start to its goal, at least 1.
        led: Latents after each of H actions.
        led_poses: The poses that they lead to, normalised.
        compared: Whether a way is compared once it has so many actions; of the recorded ones, whether anything is
            learnt there. Recordings pause exactly, and what holds a pause for the likeliest next thing never ends it.
    """

    start: Float[Tensor, "B Z"]
    start_poses: Float[Tensor, "B P"]
    goal: Float[Tensor, "B Z"]
    counts: Int[Tensor, "B"]
    led: Float[Tensor, "B C H Z"]
    led_poses: Float[Tensor, "B C H P"]
    compared: Bool[Tensor, "B C H"]


class TransitionEnergy(Head):
    """Tells which of the frames that actions are predicted to lead to recordings would see next on a way to a goal.

    ::

        E(z, s, z', s', g, n)       n: actions that are left to the goal g from the next frame z' on

        p(a_1 .. a_h | z_0, s_0, g, n) ~ exp(-sum_i E(z_i-1, s_i-1, z_i, s_i, g, n - i))      z_i = f(z_i-1, s_i-1, a_i)

    It is learnt by contrast: from a frame, the recorded actions and others are rolled out by the dynamics, and the way
    that the recorded ones are predicted to go is to have the lowest energy, after the first action and after each
    further one. So what a search finds cheapest is what recordings did, as far as the dynamics tell one action from
    another, and what they predict wrongly is weighed as it is predicted. It knows no actions, only frames: which ones
    lead to good frames is searched for. Ways of several actions are compared whole, because a sum of energies that were
    each learnt alone would not say which frame is the better one to go on from.

    How many actions there are to a goal it tells as well.

    Source: implicit behavioural cloning (arXiv 2109.00137), here through a world model; contrast with others around the
    recorded one: conditional noise-contrastive estimation (arXiv 1806.03664).

    Attributes:
        config: Its shape.
        judge: Compares a frame with the goal.
        before: Adds in what a next frame differs from the frame before.
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
        self.config.check_poses("the transition energy", model.pose_numbers)

    def energies(
        self,
        start: Looked,
        way: Looked,
        goal: Looked,
        counts: Int[Tensor, "B"],
    ) -> Float[Tensor, "B C H"]:
        """Returns the energy of each step of C ways, up to a constant; none once the goal is to be reached.

        Args:
            start: B frames that the ways begin at.
            way: Those that come next, (B, C, H, ..).
            goal: B goals.
            counts: Actions from each start to its goal; more than are told apart count as so many.
        """
        shape = way.code.shape[:3]
        before = Looked(
            *(
                torch.cat([was[:, None, None].expand(-1, shape[1], 1, -1), then[:, :, :-1]], dim=2)
                for was, then in zip(start, way, strict=True)
            )
        )
        goals = Looked(*(part[:, None, None].expand(*shape, -1) for part in goal))
        changed = self.judge.magnify(self.judge.differences(before, way))
        x = self.judge.facing(way, goals) + self.before(torch.cat([before.code, before.pose, changed], dim=-1))
        likely = self.judge.count(self.judge.compare(x)).float()
        steps = torch.arange(1, shape[2] + 1, device=counts.device)
        left = counts.clamp(max=self.judge.longest)[:, None] - steps  # (B, H)
        chosen = left.clamp_min(0)[:, None, :, None].expand(*shape, 1)
        return -likely.gather(3, chosen)[..., 0] * (left >= 0)[:, None]

    def errors(
        self,
        now: Float[Tensor, "B Z"],
        goal: Float[Tensor, "B Z"],
        poses: Float[Tensor, "2 B P"],
        counts: Int[Tensor, "B"],
        ways: ComparedWays,
        blur: float = 0.0,
    ) -> TransitionErrors:
        """Returns how wrong it is of numbers of actions, and of ways.

        Args:
            now: Latents of the frames.
            goal: Latents of the goals.
            poses: Of the frames and of the goals, normalised, see `Judge.errors`.
            counts: Actions to each goal.
            ways: What is compared.
            blur: See `Judge.errors`.
        """
        count, pose, _ = self.judge.errors(now, goal, poses, counts, blur)
        return TransitionErrors(*self._contrast(ways), count, pose)

    def _contrast(self, ways: ComparedWays) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Returns "contrast" and "told" of `TransitionErrors`."""
        shape = ways.led.shape[:3]
        looked = self.judge.look(torch.cat([ways.led.flatten(1, 2), ways.start[:, None], ways.goal[:, None]], dim=1))
        led, start, goal = (Looked(*(part[:, of] for part in looked)) for of in (slice(-2), -2, -1))
        led = self.judge.told(Looked(*(part.unflatten(1, shape[1:]) for part in led)), ways.led_poses)
        energies = self.energies(self.judge.told(start, ways.start_poses), led, goal, ways.counts).cumsum(dim=2)
        asked = ways.compared[:, 0] & (torch.arange(shape[2], device=energies.device) < ways.counts[:, None])
        others = energies[:, 1:].masked_fill(~ways.compared[:, 1:], torch.inf)
        likely = -torch.cat([energies[:, :1], others], dim=1)
        contrast = (likely.logsumexp(dim=1) - likely[:, 0])[asked]
        told = (likely.argmax(dim=1) == 0)[asked[:, 0], 0]
        return contrast.sum() / max(1, len(contrast)), told.float().sum() / max(1, len(told))
