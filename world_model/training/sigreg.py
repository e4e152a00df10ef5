"""SIGReg: latents are held to an isotropic Gaussian, so that they can't collapse and no direction hides."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_LAST = 3.0  # where the characteristic functions are compared up to


def sigreg(
    latents: Float[Tensor, "B Z"], generator: torch.Generator | None = None, slices: int = 256, knots: int = 17
) -> Float[Tensor, ""]:
    """Returns how far a batch of latents is from N(0, I): the Epps-Pulley statistic along random directions, the mean.

    With x = Z a for a unit direction a, phi the characteristic function of N(0, 1) and phi_B the batch's::

        T(a) = B * integral |phi_B(t) - phi(t)|^2 phi(t) dt        phi(t) = exp(-t^2 / 2)

    by the trapezoid rule over t in [0, 3], both sides. Differentiable, linear in B and in the latents' size.

    Source: LeJEPA (arXiv 2511.08544), section 4; the weights of LeWM (arXiv 2603.19312).

    Args:
        latents: One row a frame; of a window's frames take each time by itself.
        generator: Of the directions, on the CPU; None for torch's own.
        slices: Directions.
        knots: Of the integral.
    """
    directions = torch.randn(latents.shape[1], slices, generator=generator).to(latents)
    points = torch.linspace(0.0, _LAST, knots, dtype=latents.dtype, device=latents.device)
    gaussian = torch.exp(-points.square() / 2)
    weights = torch.full_like(points, 2 * _LAST / (knots - 1))  # both sides of 0
    weights[0] = weights[-1] = _LAST / (knots - 1)
    angles = (latents @ functional.normalize(directions, dim=0))[..., None] * points  # (B, slices, knots)
    error = (angles.cos().mean(0) - gaussian).square() + angles.sin().mean(0).square()
    return (error @ (weights * gaussian)).mean() * len(latents)
