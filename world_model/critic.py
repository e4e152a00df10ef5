"""The critic: how many actions lie between a frame and a goal image, and the first of them, learnt without rewards.

A distance of latents says how different two images look; that is no measure of what there is left to do where the arm
must first go away from the goal's pose, to fetch the object that is missing there. The critic answers the other
question. Its targets are free: between frames t and t + k of one episode there were k actions, action t the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class CriticConfig:
    """The shape of a `Critic`.

    Attributes:
        tokens: Tokens a frame, N.
        token_width: Width of the encoder's tokens, D.
        pose_size: Pose dimensions, P.
        action_size: Action dimensions, A.
        width: Of the critic.
        depth: Number of blocks.
        heads: Attention heads.
        most_actions: What is further counts as this many actions.

    Raises:
        ValueError: If a number is not positive or the heads do not divide the width.
    """

    tokens: int
    token_width: int
    pose_size: int = 7
    action_size: int = 7
    width: int = 128
    depth: int = 3
    heads: int = 4
    most_actions: int = 24

    def __post_init__(self) -> None:
        for name in ("tokens", "token_width", "pose_size", "action_size", "width", "depth", "heads", "most_actions"):
            if getattr(self, name) < 1:
                raise ValueError(f"a critic's {name} must be positive, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"a critic's heads must divide its width: {self.heads} heads, width {self.width}")


class Critic(nn.Module):
    """Predicts, from a frame and a goal image, how many actions lie between them and the first of these.

    The number is a distribution over 0 .. `most_actions`, because recordings dawdle: how soon a goal can be reached is
    at its lower end. The action is a proposal, to be looked at through a world model before it is done.

    Each token meets the goal's token at the same place, so that what differs is seen before anything is attended to.
    The frame's pose is known and goes in; the goal's is not.

    Attributes:
        config: Its shape.
    """

    counts: Tensor

    def __init__(self, config: CriticConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_frame = nn.Linear(config.token_width, config.width)
        self.embed_goal = nn.Linear(config.token_width, config.width)
        self.meet = nn.Sequential(nn.GELU(), nn.Linear(config.width, config.width))
        self.embed_pose = nn.Linear(config.pose_size, config.width)
        self.places = nn.Parameter(0.02 * torch.randn(config.tokens + 1, config.width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.width, config.heads, 4 * config.width, dropout=0.0, activation="gelu", batch_first=True,
                norm_first=True,
            )
            for _ in range(config.depth)
        )  # fmt: skip
        self.norm = nn.LayerNorm(config.width)
        self.count_head = nn.Linear(config.width, config.most_actions + 1)
        self.action_head = nn.Linear(config.width, config.action_size)
        self.register_buffer("counts", torch.arange(config.most_actions + 1.0, device="cpu"), persistent=False)

    def forward(
        self, tokens: Float[Tensor, "B N D"], poses: Float[Tensor, "B P"], goal: Float[Tensor, "b N D"]
    ) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B A"]]:
        """Returns the logits of the numbers of actions, K = `most_actions` + 1, and the first actions, normalised.

        Args:
            tokens: Of the frames.
            poses: Of the frames, normalised.
            goal: Tokens of the goals; one (b = 1) is shared by all frames.
        """
        dtype = self.places.dtype
        pairs = self.meet(self.embed_frame(tokens.to(dtype)) + self.embed_goal(goal.to(dtype)))
        x = torch.cat([self.embed_pose(poses.to(dtype))[:, None], pairs], dim=1) + self.places  # (B, 1 + N, width)
        for block in self.blocks:
            x = block(x)
        summary = self.norm(x[:, 0])
        return self.count_head(summary).float(), self.action_head(summary).float()

    def mean_count(self, logits: Float[Tensor, "*B K"], share: float = 1.0) -> Float[Tensor, "*B"]:
        """Returns the mean number of actions over the lowest `share` of the distribution; 1 for all of it."""
        shares = logits.softmax(dim=-1)
        before = shares.cumsum(dim=-1) - shares
        shares = torch.minimum(shares, (share - before).clamp_min(0.0))
        return (shares * self.counts).sum(dim=-1) / share
