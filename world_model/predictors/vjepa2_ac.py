"""The action-conditioned predictor of V-JEPA 2-AC: one class for every size, with a key/value cache over past frames.

A frame t is the tokens ``[action_t, pose_t, (extrinsics_t,) patches_t]``; the outputs at its patches predict the
patches of frame t+1. A token sees its own frame and all earlier ones. Source: arXiv 2506.09985, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from envs.ranges import check_range
from world_model.rope import frame_positions, halves_order, rotary_tables, rotate_halves

EXTRINSICS_SIZE = 6


@dataclass(frozen=True)
class PredictorConfig:
    """The shape of a `Predictor`.

    Attributes:
        token_width: Width of the encoder's tokens, D.
        width: Width of the predictor.
        depth: Number of blocks.
        heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over `width`.
        grid_height: Rows of patches in a frame.
        grid_width: Columns of patches in a frame.
        action_size: Action dimensions, A.
        pose_size: Pose dimensions, P; 0 for a predictor without pose tokens.
        max_frames: The most frames, past and predicted from, in one sequence.
        extrinsics: Whether each frame carries a camera extrinsics token (6 numbers).
        residual: Whether the output is added to the input tokens. Off in the released weights.

    Raises:
        ValueError: If a number is out of range or the heads do not divide the width.
    """

    token_width: int
    width: int
    depth: int
    heads: int
    mlp_ratio: float
    grid_height: int
    grid_width: int
    action_size: int = 7
    pose_size: int = 7
    max_frames: int = 32
    extrinsics: bool = False
    residual: bool = False

    def __post_init__(self) -> None:
        names = ("token_width", "width", "depth", "heads", "mlp_ratio", "grid_height", "grid_width")
        check_range(self, "(0, inf)", *names, "action_size", "max_frames", of="a predictor's ")
        if self.pose_size < 0:
            raise ValueError(f"a predictor's pose_size must be 0 (no pose token) or more, got {self.pose_size}")
        if self.width % self.heads or self.width // self.heads < 6:
            raise ValueError(
                f"a predictor's heads must divide its width into heads of 6 or more: {self.heads} heads, "
                f"width {self.width}"
            )

    @property
    def tokens(self) -> int:
        """Patches a frame, N."""
        return self.grid_height * self.grid_width

    @property
    def conditions(self) -> int:
        """Conditioning tokens in front of a frame's patches."""
        return 1 + (self.pose_size > 0) + self.extrinsics

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


@dataclass(frozen=True)
class Cache:
    """Keys and values of the frames so far: a tuple a block of one tensor (B, heads, M, head) a frame.

    A frame with B = 1 is shared by all samples. Nothing is written in place: extending makes a new cache that refers
    to the old one's tensors, so that gradients flow through it and several rollouts may start from one cache.
    """

    keys: tuple[tuple[Tensor, ...], ...]
    values: tuple[tuple[Tensor, ...], ...]

    @property
    def frames(self) -> int:
        """How many frames it holds."""
        return len(self.keys[0]) if self.keys else 0

    def first(self, frames: int) -> Cache:
        """Returns the cache of the first frames alone; later ones never influenced them."""
        return Cache(tuple(k[:frames] for k in self.keys), tuple(v[:frames] for v in self.values))

    def detach(self) -> Cache:
        """Returns the same cache, with no gradient flowing back through it."""
        keys, values = (tuple(tuple(t.detach() for t in ts) for ts in kind) for kind in (self.keys, self.values))
        return Cache(keys, values)


def join(parts: Sequence[Float[Tensor, "b T m ..."]]) -> Float[Tensor, "B T M ..."]:
    """Returns the parts of the frames' tokens as one tensor; parts with a batch of 1 are copied to all samples."""
    if len(parts) == 1:
        return parts[0]
    batch = max(part.shape[0] for part in parts)
    return torch.cat([part.expand(batch, *part.shape[1:]) for part in parts], dim=2)


def add_linear(x: Float[Tensor, "B T M W"], y: Float[Tensor, "B T M V"], linear: nn.Module) -> Float[Tensor, "B T M W"]:
    """Returns x + linear(y). Without a graph to record, x is overwritten: the product is added as it is computed."""
    if torch.is_grad_enabled() or not isinstance(linear, nn.Linear) or not x.dtype == y.dtype == linear.weight.dtype:
        return x + linear(y)
    x.add_(linear.bias).view(-1, x.shape[-1]).addmm_(y.reshape(-1, y.shape[-1]), linear.weight.T)
    return x


class Attention(nn.Module):
    """Rotary self-attention in which a frame sees itself and the frames before it."""

    halves: Tensor

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        head = width // heads
        rows = torch.arange(3 * width, device="cpu").unflatten(0, (-1, head))  # queries, keys, values, by head
        order = torch.cat((rows[: 2 * heads, halves_order(head)], rows[2 * heads :])).flatten()
        self.register_buffer("halves", order, persistent=False)
        self._frozen: tuple[tuple[int, ...], Tensor, Tensor] | None = None

    def forward(
        self,
        parts: Sequence[Float[Tensor, "b T m W"]],
        tables: Float[Tensor, "2 T M 1 1 d"],
        past_keys: tuple[Tensor, ...],
        past_values: tuple[Tensor, ...],
    ) -> tuple[Float[Tensor, "B T M W"], tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Returns what the tokens attend to, before `proj`, and the keys and values of the new frames, one a frame.

        A frame's tokens come in parts: what has a batch of 1 is the same for all samples and is projected once.
        """
        queries, keys, values = self._project(parts, tables)  # (B, heads, T*M, head)
        frames, tokens = parts[0].shape[1], tables.shape[2]
        new_keys, new_values = keys.split(tokens, dim=2), values.split(tokens, dim=2)
        if past_keys:
            batch = len(queries)
            keys = torch.cat([*(key.expand(batch, -1, -1, -1) for key in past_keys), keys], dim=2)
            values = torch.cat([*(value.expand(batch, -1, -1, -1) for value in past_values), values], dim=2)
        attended = []
        for frame in range(frames):
            seen = (len(past_keys) + frame + 1) * tokens
            own = queries[:, :, frame * tokens : (frame + 1) * tokens]
            attended.append(functional.scaled_dot_product_attention(own, keys[:, :, :seen], values[:, :, :seen]))
        mixed = attended[0] if frames == 1 else torch.cat(attended, dim=2)
        return mixed.transpose(1, 2).flatten(2).unflatten(1, (frames, tokens)), new_keys, new_values

    def _project(
        self, parts: Sequence[Float[Tensor, "b T m W"]], tables: Float[Tensor, "2 T M 1 1 d"]
    ) -> tuple[Float[Tensor, "B h L d"], ...]:
        """Returns queries and keys, rotated, and values."""
        kinds: tuple[list[Tensor], ...] = ([], [], [])
        for part, table in zip(parts, tables.split([part.shape[2] for part in parts], dim=2), strict=True):
            qkv = self._queries_keys_values(part).unflatten(-1, (3, self.heads, -1))  # (b, T, m, 3, heads, head)
            rotated = rotate_halves(qkv[:, :, :, :2], table)
            for kind, projected in zip(kinds, (rotated[:, :, :, 0], rotated[:, :, :, 1], qkv[:, :, :, 2]), strict=True):
                kind.append(projected)
        return tuple(join(kind).flatten(1, 2).transpose(1, 2) for kind in kinds)

    def _queries_keys_values(self, tokens: Float[Tensor, "b T m W"]) -> Float[Tensor, "b T m V"]:
        """Returns `qkv` of the tokens with heads in `halves_order`; an adapter around `qkv` is called as it is."""
        if isinstance(self.qkv, nn.Linear):
            return functional.linear(tokens, *self._ordered())
        return self.qkv(tokens)[..., self.halves]

    def _ordered(self) -> tuple[Tensor, Tensor]:
        """Returns weight and bias of queries, keys and values with heads in `halves_order`; frozen ones are kept."""
        weight, bias = self.qkv.weight, self.qkv.bias
        if weight.requires_grad:
            return weight[self.halves], bias[self.halves]
        version = (weight.data_ptr(), weight._version, bias._version)  # moved or changed in place
        if self._frozen is None or self._frozen[0] != version:
            self._frozen = (version, weight[self.halves], bias[self.halves])
        return self._frozen[1:]


class MLP(nn.Module):
    """Two linear layers with an exact GELU between; the second is applied by `Block`."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def hidden(self, x: Float[Tensor, "*B W"]) -> Float[Tensor, "*B V"]:
        """Returns the tokens between the two layers."""
        return functional.gelu(self.fc1(x))


class Block(nn.Module):
    """x += attention(norm1 x); x += mlp(norm2 x)."""

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = Attention(config.width, config.heads)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = MLP(config.width, round(config.width * config.mlp_ratio))

    def forward(
        self,
        parts: Sequence[Tensor],
        tables: Tensor,
        past_keys: tuple[Tensor, ...],
        past_values: tuple[Tensor, ...],
    ) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Returns the transformed tokens, keys and values; see `Attention.forward`. May overwrite a single part."""
        normed = [self.norm1(part) for part in parts]
        attended, keys, values = self.attn(normed, tables, past_keys, past_values)
        x = add_linear(join(parts), attended, self.attn.proj)
        return add_linear(x, self.mlp.hidden(self.norm2(x)), self.mlp.fc2), keys, values


class Predictor(nn.Module):
    """Predicts the next frame's tokens from frames, their actions and their poses.

    Parameter names and layout are the official ones; so is the initialisation: normal 0.02 truncated at 2, with
    attn.proj and mlp.fc2 of block i (from 1) divided by sqrt(2 i). A residual predictor starts as the identity.

    Attributes:
        config: Its shape.
        recompute: Whether, in training, each block's activations are computed again for the backward pass rather than
            kept: less memory, a third more time.
    """

    tables: Tensor

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute = False
        self.predictor_embed = nn.Linear(config.token_width, config.width)
        self.action_encoder = nn.Linear(config.action_size, config.width)
        self.state_encoder = nn.Linear(config.pose_size, config.width) if config.pose_size else None
        self.extrinsics_encoder = nn.Linear(EXTRINSICS_SIZE, config.width)
        self.predictor_blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.predictor_norm = nn.LayerNorm(config.width, eps=1e-6)
        self.predictor_proj = nn.Linear(config.width, config.token_width)
        self.register_buffer("tables", _tables(config), persistent=False)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        for number, block in enumerate(self.predictor_blocks, start=1):
            assert isinstance(block, Block)
            block.attn.proj.weight.div_(math.sqrt(2.0 * number))
            block.mlp.fc2.weight.div_(math.sqrt(2.0 * number))
        if self.config.residual:
            nn.init.zeros_(self.predictor_proj.weight)

    def forward(
        self,
        tokens: Float[Tensor, "B T N D"],
        actions: Float[Tensor, "B T A"],
        poses: Float[Tensor, "B T P"],
        extrinsics: Float[Tensor, "B T 6"] | None = None,
    ) -> Float[Tensor, "B T N D"]:
        """Returns the prediction of frame t+1 at every frame t, before the output layer norm. See `extend`."""
        return self.extend(tokens, actions, poses, extrinsics=extrinsics)[0]

    def extend(
        self,
        tokens: Float[Tensor, "b T N D"],
        actions: Float[Tensor, "B T A"],
        poses: Float[Tensor, "b T P"],
        cache: Cache | None = None,
        extrinsics: Float[Tensor, "b T 6"] | None = None,
        keep: bool = True,
    ) -> tuple[Float[Tensor, "B T N D"], Cache]:
        """Returns the predictions for T frames that follow the cached ones, and the cache with them added.

        A batch of 1 among the arguments (b) and the cached frames is shared by all B samples. Equal to one pass over
        all frames, at the cost of the new ones alone. Where nothing follows, `keep` False saves the memory of the
        cache and returns an empty one.

        Raises:
            ValueError: If the shapes are not the config's or the frames exceed `max_frames`.
        """
        past = cache.frames if cache else 0
        self._check(tokens, actions, poses, extrinsics, past)
        parts = self._embed(tokens, actions, poses, extrinsics)
        tables = self.tables[:, past : past + tokens.shape[1]]
        keys, values = [], []
        for index, block in enumerate(self.predictor_blocks):
            past_keys, past_values = (cache.keys[index], cache.values[index]) if cache else ((), ())
            arguments = (parts, tables, past_keys, past_values)
            if self.recompute and torch.is_grad_enabled():
                x, new_keys, new_values = checkpoint(block, *arguments, use_reentrant=False)
            else:
                x, new_keys, new_values = block(*arguments)
            parts = [x]
            if keep:
                keys.append((*past_keys, *new_keys))
                values.append((*past_values, *new_values))
        predicted = self.predictor_proj(self.predictor_norm(parts[0][:, :, self.config.conditions :]))
        if self.config.residual:
            predicted = tokens + predicted
        return predicted, Cache(tuple(keys), tuple(values))

    def _embed(
        self, tokens: Tensor, actions: Tensor, poses: Tensor, extrinsics: Tensor | None
    ) -> list[Float[Tensor, "b T m W"]]:
        """Returns the frames' tokens in as few parts, each of one batch size, as their order allows."""
        dtype = self.predictor_embed.weight.dtype
        embedded = [self.action_encoder(actions.to(dtype))[:, :, None]]
        if self.state_encoder is not None:
            embedded.append(self.state_encoder(poses.to(dtype))[:, :, None])
        if extrinsics is not None:
            embedded.append(self.extrinsics_encoder(extrinsics.to(dtype))[:, :, None])
        embedded.append(self.predictor_embed(tokens.to(dtype)))
        return [join(list(part)) for _, part in groupby(embedded, key=len)]

    def _check(self, tokens: Tensor, actions: Tensor, poses: Tensor, extrinsics: Tensor | None, past: int) -> None:
        config, frames = self.config, tokens.shape[1]
        expected = {"tokens": (frames, config.tokens, config.token_width), "actions": (frames, config.action_size)}
        if config.pose_size:
            expected["poses"] = (frames, config.pose_size)
        if config.extrinsics:
            expected["extrinsics"] = (frames, EXTRINSICS_SIZE)
        elif extrinsics is not None:
            raise ValueError("this predictor takes no extrinsics (its config says extrinsics=False)")
        given = {"tokens": tokens, "actions": actions, "poses": poses, "extrinsics": extrinsics}
        for name, shape in expected.items():
            value = given[name]
            if value is None or tuple(value.shape[1:]) != shape:
                got = None if value is None else tuple(value.shape)
                raise ValueError(f"{name} must be (batch, {', '.join(map(str, shape))}), got {got}")
        if past + frames > config.max_frames:
            raise ValueError(f"the predictor takes {config.max_frames} frames at most, got {past} + {frames}")


def _tables(config: PredictorConfig) -> Float[Tensor, "2 T M 1 1 d"]:
    """Returns the rotary tables of every frame, in `halves_order`; conditioning tokens rotate by depth alone.

    Columns are stretched to the number of rows, as the official code does where a grid is not square.
    """
    patches = frame_positions(config.grid_height, config.grid_width).double()
    patches[:, 2] *= config.grid_height / config.grid_width
    frame = torch.cat((patches.new_zeros(config.conditions, 3), patches))  # (M, 3)
    positions = frame.repeat(config.max_frames, 1, 1)  # (T, M, 3)
    positions[..., 0] = torch.arange(config.max_frames, dtype=positions.dtype, device="cpu")[:, None]
    tables = rotary_tables(positions, config.head_size)[..., halves_order(config.head_size)]
    return tables[:, :, :, None, None]
