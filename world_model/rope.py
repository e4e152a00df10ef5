"""Rotary position tables in V-JEPA 2's own convention, built once.

A head is split into depth | height | width, each ``d = 2 * (head_size // 3 // 2)`` dimensions; what is left over stays
as it is. With ``omega_i = 10000 ** (-i / (d / 2))`` the angle of dimension j of an axis is ``position * omega_(j mod
d/2)`` (tiled), while dimensions 2i and 2i+1 form a pair (adjacent)::

    out[2i] = x[2i] cos(angle[2i]) - x[2i+1] sin(angle[2i])
    out[2i+1] = x[2i+1] cos(angle[2i+1]) + x[2i] sin(angle[2i+1])

That is no rotation, since the two angles of a pair differ. It is what the released weights were trained with.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

BASE = 10000.0


def frame_positions(height: int, width: int, frame: int = 0) -> Int[Tensor, "N 3"]:
    """Returns (depth, row, column) of a frame's patches, row by row.

    On the CPU whatever the default device is, as all tables here, so that a network can be built on "meta".
    """
    axes = (torch.tensor([frame], device="cpu"), torch.arange(height, device="cpu"), torch.arange(width, device="cpu"))
    return torch.cartesian_prod(*axes)


def rotary_tables(positions: Num[Tensor, "*L 3"], head_size: int) -> Float[Tensor, "2 *L d"]:
    """Returns the cosines and the signed sines (minus on even dimensions) of tokens at (depth, row, column).

    Position 0 on an axis leaves that axis as it is. Computed in float64, returned in float32.
    """
    size = 2 * (head_size // 3 // 2)
    omega = BASE ** -(torch.arange(size // 2, dtype=torch.float64, device="cpu") / (size / 2))
    angles = positions.double()[..., None] * omega.repeat(2)  # (*L, 3, size)
    angles = torch.nn.functional.pad(angles.flatten(-2), (0, head_size - 3 * size))  # (*L, head_size)
    sign = torch.ones(head_size, dtype=torch.float64, device="cpu")
    sign[0::2] = -1.0
    return torch.stack((angles.cos(), angles.sin() * sign)).float()


def rotate_adjacent(x: Float[Tensor, "*B d"], tables: Float[Tensor, "2 *L d"]) -> Float[Tensor, "*B d"]:
    """Returns queries or keys rotated, pairs at (2i, 2i+1). The tables broadcast against x."""
    cosine, sine = tables.to(x.dtype)
    paired = x.shape[-1] - x.shape[-1] % 2
    partner = x[..., :paired].unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    if paired < x.shape[-1]:
        partner = torch.cat((partner, x[..., paired:]), dim=-1)
    return torch.addcmul(x * cosine, partner, sine)


def halves_order(head_size: int) -> Int[Tensor, "d"]:
    """Returns the order of a head's dimensions that puts the pair (2i, 2i+1) half a head apart.

    Dot products do not change when queries and keys are reordered alike, and swapping halves is much cheaper than
    swapping neighbours.
    """
    paired = head_size - head_size % 2
    return torch.tensor([*range(0, paired, 2), *range(1, paired, 2), *range(paired, head_size)], device="cpu")


def rotate_halves(x: Float[Tensor, "*B d"], tables: Float[Tensor, "2 *L d"]) -> Float[Tensor, "*B d"]:
    """Returns queries or keys rotated, both x and the tables in `halves_order`."""
    cosine, sine = tables.to(x.dtype)
    half = x.shape[-1] // 2
    first, second = slice(0, half), slice(half, 2 * half)
    rotated = x * cosine
    rotated[..., first].addcmul_(x[..., second], sine[..., first])
    rotated[..., second].addcmul_(x[..., first], sine[..., second])
    return rotated
