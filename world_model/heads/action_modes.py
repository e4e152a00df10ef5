"""An action head that takes sides: where recordings go one of several ways, the mean of them is none."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn
from torch.nn import functional

STILL = 0.1
"""Of the std of actions: an action moves nothing that moves less in every dimension."""


class ActionModes(nn.Module):
    """Tells which of M typical actions comes next, and by how much the action differs from it.

    With the hand a centimetre beside a thing, recordings go up to come again, or close the gripper. Their mean, and
    their median, is to stay, and there a policy that is fitted to either stays for ever. Source: arXiv 2206.11251,
    k-means modes with an offset each.

    Attributes:
        centres: The typical actions (M, A), normalised; zero until `fit`.
        logits: Tells the mode.
        offsets: Tells the difference from each mode.
    """

    centres: Tensor

    def __init__(self, width: int, action_size: int, modes: int) -> None:
        """Takes W, A and M."""
        super().__init__()
        self.register_buffer("centres", torch.zeros(modes, action_size))
        self.logits, self.offsets = nn.Linear(width, modes), nn.Linear(width, modes * action_size)

    def fit(self, actions: Float[Tensor, "B A"], seed: int) -> None:
        """Takes the modes of recorded actions, normalised, by k-means from a seed.

        Raises:
            ValueError: If there are fewer different actions than modes.
        """
        different, modes = np.unique(actions.double().cpu().numpy(), axis=0), len(self.centres)
        if len(different) < modes:
            raise ValueError(
                f"{len(different)} different recorded actions have no {modes} modes: set inverse_dynamics.modes lower, "
                "or look with dataset.py inspect whether the arm moves at all"
            )
        first = np.random.default_rng(seed).choice(different, modes, replace=False)
        found, _ = kmeans2(actions.double().cpu().numpy(), first, iter=25, minit="matrix")
        self.centres.copy_(torch.from_numpy(found.astype(np.float32)))

    def forward(self, x: Float[Tensor, "B W"], rest: Float[Tensor, " A"]) -> Float[Tensor, "B A"]:
        """Returns the action of the likeliest mode that moves anything, normalised, other than the one of rest.

        A mode that hardly moves gathers what recordings hesitate in. Where many ways are as good it is the likeliest
        single one, and an arm that follows it stays for ever.
        """
        return self._at(x, self._moving(self.logits(x), rest).argmax(dim=-1)).float()

    def draw(
        self, x: Float[Tensor, "B W"], rest: Float[Tensor, " A"], temperature: float, generator: torch.Generator
    ) -> Float[Tensor, "B A"]:
        """Returns actions, normalised, of modes drawn by their probabilities; the temperature divides the logits."""
        shares = (self._moving(self.logits(x), rest).float() / temperature).softmax(dim=-1)
        modes = torch.multinomial(shares.to(generator.device), 1, generator=generator)[:, 0]
        return self._at(x, modes.to(x.device)).float()

    def _moving(self, logits: Float[Tensor, "B M"], rest: Float[Tensor, " A"]) -> Float[Tensor, "B M"]:
        """Returns logits that leave out the modes that hardly differ from the action of rest."""
        return logits.masked_fill(((self.centres - rest).abs() < STILL).all(dim=-1), -torch.inf)

    def errors(
        self, x: Float[Tensor, "B W"], actions: Float[Tensor, "B A"], asked: Bool[Tensor, "B"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Returns the cross-entropy of the modes nearest to actions, and the mean absolute error given these.

        Both are means over the rows that are asked for, 0 of none. All of them are told, since layers are compiled anew
        for each number of rows (oneDNN).
        """
        modes, among = torch.cdist(actions, self.centres).argmin(dim=-1), asked.sum().clamp_min(1)
        chosen = functional.cross_entropy(self.logits(x), modes, reduction="none")
        missed = (self._at(x, modes) - actions).abs().mean(dim=-1)
        return (chosen * asked).sum() / among, (missed * asked).sum() / among

    def _at(self, x: Float[Tensor, "B W"], modes: Int[Tensor, " B"]) -> Float[Tensor, "B A"]:
        """Returns the action if it is of a mode."""
        offsets = self.offsets(x).unflatten(-1, self.centres.shape)
        return self.centres[modes] + offsets[torch.arange(len(modes), device=x.device), modes]
