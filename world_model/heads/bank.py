"""Recorded ways from one latent to another: what was done when things looked like now and then like the goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from envs.ranges import check_range
from world_model.checkpoints.checkpoint import Head, StoredModel

HEAD = "bank"
"""Its name among a model's heads."""

_STEPS = 127.0  # of a byte, on either side of 0


@dataclass(frozen=True)
class BankConfig:
    """The shape of a `Bank`.

    Attributes:
        frames: Of all recordings together, F.
        size: Numbers of a frame's latents, Z = N * D.
        action_size: Numbers of an action, A.

    Raises:
        ValueError: If a number is not positive.
    """

    frames: int
    size: int
    action_size: int

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "frames", "size", "action_size", of="a bank's ")


class Leading(NamedTuple):
    """Recorded frames after which things soon looked like a goal, the nearest first.

    Attributes:
        frames: Their places in the bank.
        distances: Mean squared difference of the keys of where they led to and of the goal.
    """

    frames: Int[Tensor, "K"]
    distances: Float[Tensor, "K"]


class Bank(Head):
    """The latents of recorded frames, a byte a number, and the actions between them.

    Source: retrieved action sequences as a search's first population (IMWM, arXiv 2606.01626).

    Attributes:
        config: Its shape.
    """

    Config = BankConfig
    codes: Tensor
    scale: Tensor
    offset: Tensor
    actions: Tensor
    left: Tensor

    def __init__(self, config: BankConfig) -> None:
        super().__init__()
        self.config = config
        frames, size = config.frames, config.size
        self.register_buffer("codes", torch.zeros(frames, size, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("offset", torch.zeros(size))
        self.register_buffer("actions", torch.zeros(frames, config.action_size))  # that which leads on from a frame
        self.register_buffer("left", torch.zeros(frames, dtype=torch.int32))  # actions to its episode's end

    @classmethod
    def of(cls, latents: Sequence[Float[Tensor, "T Z"]], actions: Sequence[Float[Tensor, "T-1 A"]]) -> Bank:
        """Returns the bank of some episodes.

        Args:
            latents: Of each episode's frames.
            actions: Of each episode, physical units.

        Raises:
            ValueError: If there is no episode.
        """
        if not latents:
            raise ValueError("a bank needs at least one episode")
        joined = torch.cat(list(latents)).float().cpu()
        bank = cls(BankConfig(len(joined), joined.shape[1], actions[0].shape[1]))
        bank.offset = joined.mean(0)
        bank.scale = (joined - bank.offset).abs().amax(0).clamp_min(1e-6) / _STEPS
        bank.codes = ((joined - bank.offset) / bank.scale).round().to(torch.int8)
        bank.actions = torch.cat([functional.pad(each, (0, 0, 0, 1)) for each in actions]).float().cpu()
        bank.left = torch.cat([torch.arange(len(each) - 1, -1, -1) for each in latents]).to(torch.int32)
        return bank

    def check_fits(self, model: StoredModel) -> None:
        """See `Head.check_fits`."""
        if self.config.action_size != model.action_spec.size:
            raise ValueError(
                f"the bank's actions have {self.config.action_size} numbers, the model's {model.action_spec.size}"
            )

    @property
    def latents(self) -> Float[Tensor, "F Z"]:
        """The latents of all frames, as exactly as they are kept."""
        return self.codes.float() * self.scale + self.offset

    @torch.no_grad()
    def leading(self, keys: Float[Tensor, "F C"], goal: Float[Tensor, "C"], count: int, longest: int) -> Leading:
        """Returns the recorded frames that led nearest to a goal.

        Args:
            keys: What frames are compared by, of all of them in order: their latents, or what is read from these.
            goal: The same of what is wanted.
            count: Frames wanted at most.
            longest: Actions on the way at most; of each frame only its best number of them counts.

        Raises:
            ValueError: If the keys do not fit together.
        """
        if keys.shape != (self.config.frames, keys.shape[-1]) or goal.shape != keys.shape[1:]:
            raise ValueError(
                f"the bank's {self.config.frames} frames are compared by keys (F, C), goals by (C,), got "
                f"{tuple(keys.shape)} and {tuple(goal.shape)}"
            )
        ended = (keys - goal).square().mean(1)
        best = torch.full_like(ended, torch.inf)
        for length in range(1, min(longest, int(self.left.max())) + 1):
            after = torch.full_like(ended, torch.inf)
            after[:-length] = ended[length:]
            best = torch.where(self.left >= length, torch.minimum(after, best), best)
        chosen = best.topk(min(count, int(best.isfinite().sum())), largest=False)
        return Leading(chosen.indices, chosen.values)


def spread(lengths: Sequence[int], frames: int) -> list[int]:
    """Returns evenly chosen episodes, of such lengths, that have about so many frames together at most."""
    count = max(1, int(min(1.0, frames / sum(lengths)) * len(lengths)))
    return np.unique(np.linspace(0, len(lengths) - 1, count).round().astype(int)).tolist()
