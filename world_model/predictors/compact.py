"""Dynamics of compact latents: a residual MLP that action and pose modulate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from envs.ranges import check_range


@dataclass(frozen=True)
class DynamicsConfig:
    """The shape of `CompactDynamics`.

    Attributes:
        size: Numbers of a frame, K * D.
        pose_size: Numbers that a pose is given as, P.
        action_size: Numbers of an action, A.
        width: Of the residual stream.
        depth: Blocks.
        expansion: Hidden width of a block over `width`.
        dropout: In the blocks, while training.

    Raises:
        ValueError: If a number is out of its range.
    """

    size: int
    pose_size: int = 7
    action_size: int = 7
    width: int = 384
    depth: int = 3
    expansion: int = 2
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "size", "action_size", "width", "depth", "expansion", of="the dynamics' ")
        check_range(self, "[0, inf)", "pose_size", of="the dynamics' ")
        check_range(self, "[0, 1)", "dropout", of="the dynamics' ")


class CompactDynamics(nn.Module):
    """Predicts the next frame's latents from this one's, its pose and the action.

    ::

        x_0 = W [z; s; a]
        x_{i+1} = x_i + MLP_i(LN(x_i) (1 + gamma_i(s, a)) + beta_i(s, a))
        z' = z + V LN(x_n)

    V begins at zero, so that learning begins at copying. All inputs are normalised.

    Source: FiLM (arXiv 1709.07871); action-modulated predictors as in LeWM (arXiv 2603.19312).

    Attributes:
        config: Its shape.
    """

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.config = config
        given, width = config.pose_size + config.action_size, config.width
        self.enter = nn.Linear(config.size + given, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(config.depth))
        self.modulations = nn.ModuleList(nn.Linear(given, 2 * width) for _ in range(config.depth))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, config.expansion * width),
                nn.GELU(),
                nn.Dropout(config.dropout),
                nn.Linear(config.expansion * width, width),
            )
            for _ in range(config.depth)
        )
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.size))
        for parameter in self.leave[1].parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, latents: Float[Tensor, "B Z"], poses: Float[Tensor, "B P"], actions: Float[Tensor, "B A"]
    ) -> Float[Tensor, "B Z"]:
        """Returns the next latents, in the type of these.

        Args:
            latents: Of a frame, all side by side: Z = K * D.
            poses: Normalised.
            actions: Normalised.
        """
        dtype = self.enter.weight.dtype
        given = torch.cat([poses, actions], dim=-1).to(dtype)
        x = self.enter(torch.cat([latents.to(dtype), given], dim=-1))
        for norm, modulation, block in zip(self.norms, self.modulations, self.blocks, strict=True):
            scale, shift = modulation(given).chunk(2, dim=-1)
            x = x + block(norm(x) * (1 + scale) + shift)
        return latents + self.leave(x).to(latents.dtype)
