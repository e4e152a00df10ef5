"""Scoring any number of action sequences in the memory there is."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from planner.base import Score
from world_model.memory import free_memory, is_out_of_memory, measure_peak

logger = logging.getLogger(__name__)

PROBE = 4
"""Sequences scored to learn what one takes."""
SHARE = 0.7
"""Of the free memory, what a chunk may take: allocators leave gaps."""
LARGEST = {"cpu": 64, "mps": 64}
"""Larger chunks gain no time on these devices; on CUDA memory alone limits them."""
SMALLEST_FAST = 4
"""From here on matrix products of a large model are about as fast as they get."""
FAST_MEMORY = 256e6
"""On a CPU, more than this at a time comes afresh from the system again and again, page by page [bytes]."""


class Chunks:
    """Splits sequences into parts that fit, and remembers how large they may be.

    Before sequences of some shape are scored for the first time, what a few of them take is measured; from that and
    the memory that is free comes the size of the parts. Where the system can't tell, and if memory should run out
    after all because something else took it, the size is halved until it fits. Gradients are taken part by part too,
    so that no more than one part's graph ever exists.
    """

    def __init__(self, size: int | None = None) -> None:
        """Takes a fixed size, or None for the largest that fits."""
        self._fixed = size
        self._sizes: dict[tuple[object, ...], int] = {}

    def score(self, score: Score, actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S"]:
        """Returns the costs of all sequences, differentiable if the actions ask for gradients (once, not twice).

        Raises:
            MemoryError: If there is not enough memory for a single sequence.
        """
        if actions.requires_grad and torch.is_grad_enabled():
            return _ByParts.apply(actions, self, score)
        with torch.no_grad():
            return self._in_parts(score, actions, gradient=False)[0]

    def _in_parts(self, score: Score, actions: Tensor, gradient: bool) -> tuple[Float[Tensor, "S"], Tensor | None]:
        """Returns the costs and, where asked for, each one's gradient with respect to its own sequence."""
        key = (actions.device, tuple(actions.shape[1:]), gradient)
        costs, gradients, done = [], [], 0
        while done < len(actions):
            try:
                if key not in self._sizes:
                    self._sizes[key] = self._fixed or self._measure(score, actions, gradient)
                part = actions[done : done + self._sizes[key]]
                cost, slope = _score_part(score, part, gradient)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink(key, len(actions))
                continue
            costs.append(cost)
            gradients.append(slope)
            done += len(part)
        return torch.cat(costs), torch.cat(gradients) if gradient else None

    def _measure(self, score: Score, actions: Tensor, gradient: bool) -> int:
        """Returns how many sequences fit, from what a few take; what they cost is not used."""
        probe = actions.detach()[torch.arange(PROBE, device=actions.device) % len(actions)]
        _score_part(score, probe[:1], gradient)  # what is allocated once and kept is not counted
        with measure_peak(actions.device) as peak:
            _score_part(score, probe, gradient)
        free, largest = free_memory(actions.device), LARGEST.get(actions.device.type)
        if free is None or peak.bytes is None:
            return largest or 2 * PROBE
        each = max(1.0, peak.bytes / PROBE)
        fitting = max(1, int(SHARE * free / each))
        logger.info("%.1f MB a sequence, %.1f GB free: %d fit", each / 1e6, free / 1e9, fitting)
        if largest is None:
            return fitting
        if actions.device.type == "cpu":  # a power of 2, so that what little the measurement varies changes nothing
            largest = min(largest, max(SMALLEST_FAST, 2 ** int(math.log2(max(1.0, FAST_MEMORY / each)))))
        return min(fitting, largest)

    def _shrink(self, key: tuple[object, ...], sequences: int) -> None:
        """Halves the size of the parts after memory ran out."""
        tried = min(self._sizes.get(key, PROBE), sequences)
        if tried <= 1:
            raise MemoryError(
                "there is not enough memory to predict one action sequence: use a shorter horizon, a smaller model, "
                "precision bf16 or a device with more memory"
            )
        logger.warning("out of memory with %d sequences at a time, going on with %d", tried, tried // 2)
        self._sizes[key] = tried // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class _ByParts(torch.autograd.Function):
    """The costs as a function of the actions whose gradients were computed with them, part by part."""

    @staticmethod
    def forward(ctx: Any, actions: Tensor, chunks: Chunks, score: Score) -> Tensor:
        costs, gradients = chunks._in_parts(score, actions, gradient=True)
        ctx.save_for_backward(gradients)
        return costs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (gradients,) = ctx.saved_tensors
        return grads[0][:, None, None] * gradients, None, None


def _score_part(score: Score, part: Tensor, gradient: bool) -> tuple[Tensor, Tensor]:
    """Returns a part's costs, and its gradients (empty where not asked for)."""
    if not gradient:
        return score(part), part[:0]
    with torch.enable_grad():
        part = part.detach().requires_grad_()
        costs = score(part)
        (slope,) = torch.autograd.grad(costs.sum(), part)
    return costs.detach(), slope
