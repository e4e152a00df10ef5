"""Masked latent prediction: block masks, a pass over visible patches alone, targets, the predictor of hidden ones."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2Layer, VJEPA2RopeAttention

from world_model.encoders.vjepa2 import Encoder
from world_model.rope import halves_order, rotate_halves
from world_model.training.pretrain_config import MaskConfig, MaskedPredictorConfig


def draw_masks(
    config: MaskConfig, grid: int, generator: torch.Generator
) -> tuple[Int[Tensor, " V"], Int[Tensor, " M"]]:
    """Returns the row-major indices of the visible and of the hidden patches of a grid x grid image.

    The hidden ones are a union of random blocks; a block that would leave nothing visible is not placed.
    """
    hidden = torch.zeros(grid, grid, dtype=torch.bool)
    for _ in range(100):
        if hidden.sum() >= config.hidden_fraction * grid * grid:
            break
        rows, columns = _draw_block(config, grid, generator)
        tried = hidden.clone()
        tried[rows, columns] = True
        hidden = hidden if tried.all() else tried
    flat = hidden.flatten()
    return torch.nonzero(~flat).flatten(), torch.nonzero(flat).flatten()


def _draw_block(config: MaskConfig, grid: int, generator: torch.Generator) -> tuple[slice, slice]:
    """Returns the rows and columns of a random block of patches."""
    fraction, shape, top, left = torch.rand(4, generator=generator).tolist()
    area = grid * grid * (config.block_fraction[0] + fraction * (config.block_fraction[1] - config.block_fraction[0]))
    aspect = config.aspect[0] * (config.aspect[1] / config.aspect[0]) ** shape
    height = min(grid, max(1, round(math.sqrt(area * aspect))))
    width = min(grid, max(1, round(math.sqrt(area / aspect))))
    row, column = int(top * (grid - height + 1)), int(left * (grid - width + 1))
    return slice(row, row + height), slice(column, column + width)


def halves_tables(encoder: Encoder) -> Float[Tensor, "2 N R"]:
    """Returns the rotary tables of an encoder's patches in `rope.halves_order`, for `encode_patches`."""
    head = encoder.config.width // encoder.config.heads
    return encoder.rotary.tables[..., halves_order(head).to(encoder.rotary.tables.device)]


def jitter(pixels: Float[Tensor, "B 3 S S"], strength: float, generator: torch.Generator) -> Float[Tensor, "B 3 S S"]:
    """Returns normalised images with randomly changed contrast and brightness, each by at most `strength`."""
    if strength == 0:
        return pixels
    contrast, brightness = 2 * torch.rand(2, len(pixels), 1, 1, 1, generator=generator).to(pixels.device) - 1
    return pixels * (1 + strength * contrast) + strength * brightness


def patchify(pixels: Float[Tensor, "B 3 S S"], patch: int) -> Float[Tensor, "B N K"]:
    """Returns the patches of images, row-major, each flattened from (3, patch, patch): K = 3 patch^2."""
    grid = pixels.shape[-1] // patch
    x = pixels.unflatten(-1, (grid, patch)).unflatten(-3, (grid, patch))  # (B, 3, rows, patch, columns, patch)
    return x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (B, N, 3 patch^2)


def encode_patches(
    encoder: Encoder, patches: Float[Tensor, "B N K"], tables: Float[Tensor, "2 N R"]
) -> Float[Tensor, "B N D"]:
    """Returns what the encoder's transformers layers make of the given patches of single frames, each frame alone.

    The same numbers as calling transformers' layers with `position_mask`, up to rounding, in a fraction of the time:
    the kernel over a frame repeated in time is summed, a layer's projections are one product and pairs to rotate are
    halves apart. Only the patches given are embedded and attended to, so what is left out can't leak. The final layer
    norm is the module's own; `encoder.layer_norm` is up to the caller.

    Args:
        encoder: Its own parameters are used, and get gradients.
        patches: Visible patches, see `patchify`.
        tables: Rows of `halves_tables` for these patches.
    """
    module = encoder.model.encoder
    kernel = module.embeddings.patch_embeddings.proj
    x = functional.linear(patches, kernel.weight.sum(2).flatten(1), kernel.bias)  # (B, N, D)
    order = _projection_order(encoder)
    for layer in cast("Iterable[VJEPA2Layer]", module.layer):
        x = x + _attend(layer.attention, layer.norm1(x), tables, order)
        x = x + layer.mlp(layer.norm2(x))
    return module.layernorm(x)


def _projection_order(encoder: Encoder) -> Int[Tensor, " D"]:
    """Returns the order of a projection's rows that puts each head in `rope.halves_order`."""
    width, head = encoder.config.width, encoder.config.width // encoder.config.heads
    order = torch.arange(0, width, head)[:, None] + halves_order(head)
    return order.flatten().to(encoder.rotary.tables.device)


def _attend(attention: VJEPA2RopeAttention, x: Tensor, tables: Tensor, order: Tensor) -> Float[Tensor, "B N D"]:
    """Returns the attention of a VJEPA2 layer, its queries and keys in halves order."""
    query, key, value = attention.query, attention.key, attention.value
    weight = torch.cat((query.weight[order], key.weight[order], value.weight))
    bias = torch.cat((query.bias[order], key.bias[order], value.bias))
    projected = functional.linear(x, weight, bias).unflatten(-1, (3, attention.num_attention_heads, -1))
    projected = projected.permute(2, 0, 3, 1, 4)  # (3, B, heads, N, K)
    queries, keys = rotate_halves(projected[:2], tables[:, None, None, None])
    mixed = functional.scaled_dot_product_attention(queries, keys, projected[2])  # (B, heads, N, K)
    return attention.proj(mixed.transpose(1, 2).flatten(2))


@torch.no_grad()
def whiten(tokens: Float[Tensor, "B N D"], floor: float) -> Float[Tensor, "B N D"]:
    """Returns what differs between images in each patch's tokens, with about unit covariance over batch and patches.

    Before a camera that stands still most of a token is the same in all images, and of the rest most is whether the
    arm is there; where a small object lies is in directions with a thousandth of the variance, which a loss on the
    tokens as they are hardly sees. All directions are kept, turned back to the tokens' own; those with under `floor`
    of the largest variance stay small: they are noise.
    """
    rest = tokens.float() - tokens.float().mean(0)
    flat = rest.flatten(0, 1)
    variances, directions = torch.linalg.eigh(flat.T @ flat / len(flat))
    variances = variances.clamp_min(0.0)
    scale = (variances + floor * variances.max().clamp_min(1e-12)).rsqrt()
    return rest @ (directions * scale) @ directions.T


class MaskedPredictor(nn.Module):
    """Guesses the target latents of visible and of hidden patches from the encoder's latents of visible ones.

    Visible latents and one learned mask token a hidden patch, each with its place's sine-cosine code, go through a
    few pre-norm transformer layers; the outputs are the guesses.

    Args:
        config: Its size.
        token_width: Width of the latents, D.
        grid: Patches along a side.
    """

    positions: Tensor

    def __init__(self, config: MaskedPredictorConfig, token_width: int, grid: int) -> None:
        super().__init__()
        self.embed = nn.Linear(token_width, config.width)
        self.mask_token = nn.Parameter(torch.zeros(config.width))
        self.register_buffer("positions", position_codes(config.width, grid), persistent=False)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.width, config.heads, 4 * config.width, dropout=0.0, activation="gelu", batch_first=True,
                norm_first=True,
            )
            for _ in range(config.depth)
        )  # fmt: skip
        self.norm = nn.LayerNorm(config.width)
        self.project = nn.Linear(config.width, token_width)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(
        self, tokens: Float[Tensor, "B V D"], visible: Int[Tensor, " V"], hidden: Int[Tensor, " M"]
    ) -> tuple[Float[Tensor, "B V D"], Float[Tensor, "B M D"]]:
        """Returns the guessed latents of the visible and of the hidden patches.

        Args:
            tokens: Latents of the visible patches.
            visible: Their indices.
            hidden: Indices of the hidden patches.
        """
        seen = self.embed(tokens) + self.positions[visible]
        asked = (self.mask_token + self.positions[hidden]).expand(len(tokens), -1, -1)
        x = torch.cat([seen, asked], dim=1)  # (B, V + M, width)
        for layer in self.layers:
            x = layer(x)
        guessed = self.project(self.norm(x))
        return guessed[:, : len(visible)], guessed[:, len(visible) :]


def position_codes(width: int, grid: int) -> Float[Tensor, "N W"]:
    """Returns sines and cosines of each patch's row and column at width / 4 geometric frequencies, row-major."""
    frequencies = 100.0 ** (-torch.arange(width // 4) / (width / 4))
    angles = torch.arange(grid)[:, None] * frequencies  # (grid, width / 4)
    codes = torch.cat([angles.sin(), angles.cos()], dim=-1)  # (grid, width / 2)
    rows, columns = codes[:, None].expand(grid, grid, -1), codes[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)  # (N, width)
