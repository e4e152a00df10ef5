"""Dynamics at a slower clock: what comes of several actions at once, which a few numbers tell."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from world_model.checkpoints.checkpoint import Head, StoredModel
from world_model.heads.ways_config import MacroDynamicsConfig
from world_model.predictors.compact import CompactDynamics, DynamicsConfig

MACRO_DYNAMICS = "macro_dynamics"
"""Its name among a model's heads."""

_ENCODER_HEADS, _ENCODER_LAYERS = 4, 2
_FOLLOWED = 0.1  # how fast the macros' mean and deviation follow those of batches


class MacroErrors(NamedTuple):
    """How wrong `MacroDynamics` are, each a scalar.

    Attributes:
        total: Mean squared error of latents and poses after each macro: what is minimised.
        last: Of the latents after the last.
        copied: Of the first latents, taken for those after the last.
    """

    total: Float[Tensor, ""]
    last: Float[Tensor, ""]
    copied: Float[Tensor, ""]


class MacroDynamics(Head):
    """Predicts latents and pose after K actions from a macro, the M numbers that these are told in.

    ::

        m = norm(transformer(a_1 .. a_K))            [z; s]_{t+K} = [z; s]_t + g([z; s]_t, m)

    Macros have mean 0 and deviation 1 in each number. They are learnt by what comes of them alone, so that they say
    where actions lead rather than how they go.

    Source: HWM (arXiv 2604.03208), a macro of 4 to 8 numbers from a transformer over a chunk's actions and a second
    predictor at a slower clock; LeCun, A Path Towards Autonomous Machine Intelligence (2022), section 4.6.

    Attributes:
        config: Its shape.
    """

    Config = MacroDynamicsConfig

    def __init__(self, config: MacroDynamicsConfig) -> None:
        super().__init__()
        self.config, shape = config, config.shape
        self.enter = nn.Linear(config.action_size, shape.encoder)
        self.places = nn.Parameter(0.02 * torch.randn(shape.actions + 1, shape.encoder))  # the first is the macro's
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                shape.encoder, _ENCODER_HEADS, 2 * shape.encoder, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(_ENCODER_LAYERS)
        )
        self.leave = nn.Sequential(nn.LayerNorm(shape.encoder), nn.Linear(shape.encoder, shape.numbers))
        self.norm = nn.BatchNorm1d(shape.numbers, affine=False, momentum=_FOLLOWED)
        self.dynamics = CompactDynamics(
            DynamicsConfig(config.size + config.pose_size, 0, shape.numbers, shape.width, shape.depth)
        )

    def check_fits(self, model: StoredModel) -> None:
        """See `Head.check_fits`."""
        self.config.check_poses("the macro dynamics", model.pose_numbers)
        self.config.check_actions("the macro dynamics", model.action_spec.size)

    def encode(self, actions: Float[Tensor, "B K A"]) -> Float[Tensor, "B M"]:
        """Returns the macros of actions, normalised."""
        x = self.enter(actions.to(self.enter.weight.dtype))
        x = torch.cat([torch.zeros_like(x[:, :1]), x], dim=1) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.norm(self.leave(x[:, 0]))

    def forward(
        self, latents: Float[Tensor, "B Z"], poses: Float[Tensor, "B P"], macros: Float[Tensor, "B M"]
    ) -> tuple[Float[Tensor, "B Z"], Float[Tensor, "B P"]]:
        """Returns latents and poses after a macro; poses are normalised."""
        state = torch.cat([latents, poses.to(latents)], dim=-1)
        after = self.dynamics(state, state[:, :0], macros)
        return after[:, : latents.shape[1]], after[:, latents.shape[1] :]

    def unroll(
        self, latents: Float[Tensor, "B Z"], poses: Float[Tensor, "B P"], macros: Float[Tensor, "B H M"]
    ) -> tuple[Float[Tensor, "B H Z"], Float[Tensor, "B H P"]]:
        """Returns latents and poses after each macro, predictions fed back; poses are normalised."""
        frames, led = [], []
        for macro in macros.unbind(dim=1):
            latents, poses = self(latents, poses, macro)
            frames.append(latents)
            led.append(poses)
        return torch.stack(frames, dim=1), torch.stack(led, dim=1)

    def errors(
        self, latents: Float[Tensor, "B H+1 Z"], poses: Float[Tensor, "B H+1 P"], actions: Float[Tensor, "B H*K A"]
    ) -> MacroErrors:
        """Returns how wrong it is of recorded ways.

        Args:
            latents: Of the frames before and after each macro.
            poses: Of these, normalised.
            actions: All, normalised.
        """
        length = self.config.shape.actions
        macros = self.encode(actions.unflatten(1, (-1, length)).flatten(0, 1)).unflatten(0, (len(actions), -1))
        frames, led = self.unroll(latents[:, 0], poses[:, 0], macros)
        wrong = (frames - latents[:, 1:]).square()
        astray = (led - poses[:, 1:]).square().mean()
        return MacroErrors(wrong.mean() + astray, wrong[:, -1].mean(), (latents[:, 0] - latents[:, -1]).square().mean())
