"""What recordings looked like next on their way to a goal: a flow over latents, which proposes subgoals."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from world_model.checkpoints.checkpoint import Head, StoredModel
from world_model.heads.ways import POSE_WEIGHT, Judge, Judged, residual_blocks
from world_model.heads.ways_config import SubgoalGeneratorConfig

SUBGOAL_GENERATOR = "subgoal_generator"
"""Its name among a model's heads."""

_WAVES = (1.0, 2.0, 4.0, 8.0)
"""Half periods, over the flow's time, of the waves that it is told its time by."""

_STEPS = 10  # in which a flow is followed
_FLOW_WEIGHT = 2.0


class SubgoalErrors(NamedTuple):
    """How wrong a `SubgoalGenerator` is, each a scalar.

    Attributes:
        count: Cross-entropy of the number of actions.
        flow: Mean squared error of the flow's velocity, in standard deviations of what changes.
        pose: Mean absolute error of the poses that are read from frames and goals, in standard deviations.
    """

    count: Float[Tensor, ""]
    flow: Float[Tensor, ""]
    pose: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """What is minimised."""
        return self.count + _FLOW_WEIGHT * self.flow + POSE_WEIGHT * self.pose


class SubgoalGenerator(Head):
    """Generates the next frames on a way of so many actions to a goal, as latents; no action is told.

    ::

        x_0 ~ N(0, 1)       dx/dt = v(x_t, t | z, s, g, n)       z_{t+1 .. t+K} = z + sigma x_1

    Frames beyond the goal are the goal's. What is done about them is the low level's to search for.

    Source: subgoals as latents from an action-free model (HIQL, arXiv 2307.11949; latent diffusion planning, arXiv
    2504.16925); flow matching (arXiv 2210.02747); several levels of prediction in LeCun, A Path Towards Autonomous
    Machine Intelligence (2022), section 4.6.

    Attributes:
        config: Its shape.
    """

    Config = SubgoalGeneratorConfig
    scale: Tensor
    waves: Tensor

    def __init__(self, config: SubgoalGeneratorConfig) -> None:
        super().__init__()
        self.config, shape = config, config.shape
        width, told = shape.width, shape.judge.width
        self.judge = Judge(config.size, config.pose_size, shape.judge)
        self.given = nn.Embedding(self.judge.longest + 1, told)
        self.after = nn.Sequential(residual_blocks(told, 1, shape.judge.dropout), nn.LayerNorm(told))
        self.enter = nn.Linear(config.size * (shape.ahead + 1) + 2 * len(_WAVES), width)
        self.blocks = nn.ModuleList(_Modulated(width, told) for _ in range(shape.depth))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.size * shape.ahead))
        self.register_buffer("scale", torch.ones(shape.ahead, config.size))
        self.register_buffer("waves", torch.pi * torch.tensor(_WAVES))

    def check_fits(self, model: StoredModel) -> None:
        """See `Head.check_fits`."""
        self.config.check_poses("the subgoal generator", model.pose_numbers)

    @torch.no_grad()
    def fit(self, now: Float[Tensor, "F Z"], frames: Float[Tensor, "F K Z"]) -> None:
        """Takes how much frames change."""
        self.scale.copy_((frames - now[:, None]).std(0).clamp_min(1e-3))

    def errors(
        self,
        now: Float[Tensor, "B Z"],
        goal: Float[Tensor, "B Z"],
        poses: Float[Tensor, "2 B P"],
        counts: Int[Tensor, "B"],
        frames: Float[Tensor, "W K Z"],
        blur: float = 0.0,
    ) -> SubgoalErrors:
        """Returns how wrong it is of numbers of actions, and of recorded ways.

        Args:
            now: Latents of the frames.
            goal: Latents of the goals.
            poses: Of the frames and of the goals, normalised, see `Judge.errors`.
            counts: Actions to each goal.
            frames: Latents after 1 .. K actions, of the goal from there on; of the first of the frames alone (fewer
                rows), if no way to the goals of the others is known.
            blur: See `Judge.errors`.
        """
        count, pose, features = self.judge.errors(now, goal, poses, counts, blur)
        now, features, counts = (each[: len(frames)] for each in (now, features, counts))
        draws = self.config.shape.draws
        told = self._told(features, counts.clamp(max=self.judge.longest))
        modulations = [block.modulate(told).repeat(draws, 1) for block in self._blocks]
        end = ((frames - now[:, None]) / self.scale).flatten(1).repeat(draws, 1)
        start = torch.randn_like(end)
        time = torch.rand(len(end), 1, device=end.device)
        velocity = self._velocity(start + time * (end - start), time, now.repeat(draws, 1), modulations)
        return SubgoalErrors(count, (velocity.float() - (end - start)).square().mean(), pose)

    @torch.no_grad()
    def generate(
        self,
        now: Float[Tensor, "S Z"],
        judged: Judged,
        counts: Int[Tensor, "S"],
        temperature: float,
        generator: torch.Generator,
    ) -> Float[Tensor, "S K Z"]:
        """Returns the latents of the next frames, of each way its own.

        Args:
            now: Latents of the frames.
            judged: What `judge` says of these and of the goals.
            counts: Actions that the ways are to have.
            temperature: Of the noise that a flow begins with: at 0 it follows the mean, at 1 ways differ as recorded
                ones do.
            generator: Source of the noise.
        """
        told = self._told(judged.features, counts)
        modulations = [block.modulate(told) for block in self._blocks]
        x = torch.randn(len(now), self.scale.numel(), generator=generator, device=generator.device)
        x = temperature * x.to(now)
        for step in range(_STEPS):
            time = torch.full_like(x[:, :1], step / _STEPS)
            x = x + self._velocity(x, time, now, modulations).float() / _STEPS
        return now[:, None] + self.scale * x.unflatten(1, self.scale.shape)

    @property
    def _blocks(self) -> list[_Modulated]:
        return [block for block in self.blocks if isinstance(block, _Modulated)]

    def _told(self, features: Float[Tensor, "B W"], counts: Int[Tensor, "B"]) -> Float[Tensor, "B W"]:
        """Returns what the flow is told of frame, goal and number of actions."""
        return self.after(features + self.given(counts))

    def _velocity(
        self,
        x: Float[Tensor, "B K*Z"],
        time: Float[Tensor, "B 1"],
        now: Float[Tensor, "B Z"],
        modulations: list[Float[Tensor, "B 2*C"]],
    ) -> Float[Tensor, "B K*Z"]:
        """Returns where the flow goes."""
        phases = time * self.waves
        h = self.enter(torch.cat([x, now, phases.sin(), phases.cos()], dim=-1).to(self.enter.weight.dtype))
        for block, modulation in zip(self._blocks, modulations, strict=True):
            h = block(h, modulation)
        return self.leave(h)


class _Modulated(nn.Module):
    """A residual block that is scaled and shifted by what it is told (FiLM, arXiv 1709.07871)."""

    def __init__(self, width: int, told: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.modulate = nn.Linear(told, 2 * width)
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Float[Tensor, "B C"], modulation: Float[Tensor, "B 2*C"]) -> Float[Tensor, "B C"]:
        scale, shift = modulation.chunk(2, dim=-1)
        return x + self.layers(self.norm(x) * (1 + scale) + shift)
