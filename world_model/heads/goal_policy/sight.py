"""What an image shows of a task with an object: where the thing lies, whether it is held, the arm's pose."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Sight(nn.Module):
    """Reads an image's tokens into a few numbers, all of which recordings label for free, see `grips`.

    Each of its parts is a network of its own that sees the tokens: sharing one, each learnt less.

    Attributes:
        place_size: Numbers of a place, S.
        pose_size: Of a pose, P.
    """

    def __init__(self, grid: tuple[int, int], token_width: int, place_size: int, pose_size: int, inner: int) -> None:
        """Takes the rows and columns of patches (N = rows x columns), D, S, P and the width of the networks."""
        super().__init__()
        self.place_size, self.pose_size = place_size, pose_size
        self.place_points = Keypoints(grid, token_width, inner, points=1, values=place_size, depth=2)
        self.held_points = Keypoints(grid, token_width, inner, points=4, values=16, depth=1)
        self.held_head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 16, 64), nn.GELU(), nn.Linear(64, 1))
        self.pose_points = Keypoints(grid, token_width, inner, points=16, values=8, depth=1)
        self.pose_head = nn.Sequential(nn.Flatten(), nn.Linear(16 * 8, inner), nn.GELU(), nn.Linear(inner, pose_size))

    @property
    def size(self) -> int:
        """Numbers that an image is read into, V: place, held, pose."""
        return self.place_size + 1 + self.pose_size

    def place(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B S"]:
        """Returns where the thing lies that the gripper can take, normalised as positions of the arm are."""
        return self.place_points(tokens)[:, 0]

    def held(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B"]:
        """Returns the logit of its being held."""
        return self.held_head(self.held_points(tokens))[:, 0]

    def pose(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B P"]:
        """Returns the arm's pose, normalised."""
        return self.pose_head(self.pose_points(tokens))

    def thing(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B S+1"]:
        """Returns place and held (a soft sign, -1 .. 1)."""
        return torch.cat([self.place(tokens), torch.tanh(self.held(tokens) / 3.0)[:, None]], dim=1)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B V"]:
        """Returns all of it: place, held and pose."""
        return torch.cat([self.thing(tokens), self.pose(tokens)], dim=1)


class Keypoints(nn.Module):
    """Looks for K things in an image: a mean over the patches of what they say, each weighted by its likeness to it.

        y_k = sum_n softmax_n(3 s_k(z_n) + b_nk) (v_k(z_n) + c_nk)

    (s, v) is the same network for every patch; it sees the patch, where it is, and what is `depth` patches around it: a
    thing on the border of two shows half of itself in each.

    Source: soft keypoints, arXiv 1504.00702.

    Args:
        grid: Rows and columns of patches; N of them.
        token_width: Width of the encoder's tokens, D.
        inner: Of the network.
        points: Things that are looked for, K.
        values: Numbers that are told of each, V.
        depth: Layers in which patches see their neighbours.
    """

    def __init__(
        self, grid: tuple[int, int], token_width: int, inner: int, points: int, values: int, depth: int
    ) -> None:
        super().__init__()
        tokens = grid[0] * grid[1]
        self.grid, self.points = grid, points
        self.embed = nn.Linear(token_width, inner)
        self.where = nn.Parameter(torch.zeros(tokens, inner))
        self.around = nn.ModuleList(_Neighbours(inner) for _ in range(depth))
        self.read = nn.Sequential(
            nn.LayerNorm(inner), nn.Linear(inner, inner), nn.GELU(), nn.Linear(inner, points * (1 + values))
        )
        self.salience = nn.Parameter(torch.zeros(tokens, points))
        self.places = nn.Parameter(torch.zeros(tokens, points, values))

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B K V"]:
        """Returns what is told of each thing."""
        x = self.embed(tokens.to(self.places.dtype)) + self.where
        x = x.transpose(1, 2).unflatten(2, self.grid)
        for layer in self.around:
            x = layer(x)
        x = x.flatten(2).transpose(1, 2)
        read = self.read(x).to(self.places.dtype).unflatten(-1, (self.points, -1))  # (B, N, K, 1 + V)
        weights = (3.0 * read[..., 0] + self.salience).softmax(dim=1)
        return (weights[..., None] * (read[..., 1:] + self.places)).sum(dim=1)


class _Neighbours(nn.Module):
    """A residual block in which every patch sees the eight around it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(1, width), nn.Conv2d(width, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, width, 1)
        )

    def forward(self, x: Float[Tensor, "B W rows columns"]) -> Float[Tensor, "B W rows columns"]:
        return x + self.layers(x)
