"""From the tokens of an image to a few compact latents, which are quick to plan with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from envs.ranges import check_range


@dataclass(frozen=True)
class ReadoutConfig:
    """The shape of a `Readout`.

    Attributes:
        tokens: Of an image, N.
        token_width: Their width.
        latents: K, the tokens of a compact frame.
        width: Of each latent, D.
        pooling: "grid" narrows every token and reads all of them side by side, so that places keep their places;
            "attentive" asks the tokens with K learnt queries.
        narrow: What a token is narrowed to, by "grid".
        hidden: Width of the hidden layer; of each query's, by "attentive".
        heads: Of attention, by "attentive".

    Raises:
        ValueError: If a number is not positive or the heads do not divide the tokens' width.
    """

    tokens: int
    token_width: int
    latents: int = 1
    width: int = 128
    pooling: Literal["grid", "attentive"] = "grid"
    narrow: int = 32
    hidden: int = 512
    heads: int = 6

    def __post_init__(self) -> None:
        sizes = ("tokens", "token_width", "latents", "width", "narrow", "hidden", "heads")
        check_range(self, "[1, inf)", *sizes, of="a readout's ")
        if self.pooling == "attentive" and self.token_width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide tokens of width {self.token_width}")


class Readout(nn.Module):
    """Reads K latents of width D from an image's tokens.

    The last layers are an MLP with batch normalisation and no norm after it: what is trained with SIGReg must be free
    to take any scale.

    Source: the projection head of LeWM (arXiv 2603.19312); V-JEPA 2's attentive pooler (arXiv 2506.09985, section 4).

    Attributes:
        config: Its shape.
    """

    def __init__(self, config: ReadoutConfig) -> None:
        super().__init__()
        self.config = config
        grid = config.pooling == "grid"
        if grid:
            self.narrow = nn.Linear(config.token_width, config.narrow)
        else:
            self.queries = nn.Parameter(0.02 * torch.randn(1, config.latents, config.token_width))
            self.attention = nn.MultiheadAttention(config.token_width, config.heads, batch_first=True)
            self.norm = nn.LayerNorm(config.token_width)
        self.head = nn.Sequential(
            nn.Linear(config.tokens * config.narrow if grid else config.token_width, config.hidden),
            nn.BatchNorm1d(config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, config.latents * config.width if grid else config.width),
        )

    def forward(self, tokens: Float[Tensor, "B N W"]) -> Float[Tensor, "B K D"]:
        """Returns the latents, in float32 or better, computed in the type of the weights."""
        tokens = tokens.to(next(self.parameters()).dtype)
        if self.config.pooling == "grid":
            features = self.narrow(tokens).flatten(1)  # (B, N * narrow)
        else:
            queries = self.queries.expand(len(tokens), -1, -1)
            asked, _ = self.attention(queries, tokens, tokens, need_weights=False)
            features = self.norm(queries + asked).flatten(0, 1)  # (B * K, W)
        latents = self.head(features).view(len(tokens), self.config.latents, self.config.width)
        return latents.to(torch.promote_types(latents.dtype, torch.float32))
