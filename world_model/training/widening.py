"""Wider latents for a trained compact world model, which go on from what it has learnt."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor, nn

from world_model.compact import CompactModel
from world_model.encoders.readout import Readout
from world_model.predictors.compact import CompactDynamics


@torch.no_grad()
def widen(model: CompactModel, width: int) -> CompactModel:
    """Returns a model with latents of more numbers, of which the first are the given model's, and predicted alike.

    The readout reads the new numbers at random, and the dynamics copy them and do not look at them, until they learn.
    What small latents hold is so kept, where wide ones that begin at random may not find it: see docs/log.md.

    Args:
        model: Is left as it is; the encoder is shared.
        width: Of each latent, D.

    Raises:
        ValueError: If the model's are wider.
    """
    shape = model.readout.config
    if width < shape.width:
        raise ValueError(f"latents of width {shape.width} can be widened, not narrowed to {width}")
    device = model.action_mean.device
    readout = Readout(replace(shape, width=width)).to(device)
    dynamics = CompactDynamics(replace(model.dynamics.config, size=shape.latents * width)).to(device)
    kept = torch.arange(width, device=device) < shape.width  # (D,)
    numbers = kept.repeat(shape.latents).nonzero().flatten()  # places of the old numbers among all K * D
    _fill(readout, model.readout, "head.3", numbers if shape.pooling == "grid" else numbers[: shape.width])
    _fill(dynamics, model.dynamics, "leave.1", numbers)
    given = torch.arange(dynamics.config.size, dynamics.enter.in_features, device=device)  # of poses and actions
    dynamics.enter.weight.zero_()
    dynamics.enter.weight[:, torch.cat([numbers, given])] = model.dynamics.enter.weight
    return CompactModel(model.encoder, readout, dynamics, model.action_spec, model.statistics)


def _fill(wide: nn.Module, narrow: nn.Module, last: str, rows: Int[Tensor, " old"]) -> None:
    """Copies what has the same shape, and into some rows of the last layer all rows of the narrow one's."""
    weights = narrow.state_dict()
    for name, value in wide.state_dict().items():
        if name.startswith(last):
            value[rows] = weights[name]
        elif value.shape == weights[name].shape:
            value.copy_(weights[name])
