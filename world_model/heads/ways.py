"""What recordings say of the way from one latent to another: how many actions it takes, and which come first."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from world_model.checkpoints.checkpoint import Head, StoredModel

INVERSE_DYNAMICS, TEMPORAL_DISTANCE = "inverse_dynamics", "temporal_distance"
"""Their names among a model's heads."""


@dataclass(frozen=True)
class InverseDynamicsConfig:
    """The shape of `InverseDynamics`.

    Attributes:
        size: Numbers of a frame's latents, Z = N * D.
        pose_size: Numbers of a pose, P.
        action_size: Numbers of an action, A.
        hypotheses: Ways that are given side by side, M.
        horizon: Actions of each, H.
        width: Of the residual stream.
        depth: Blocks.
        dropout: In the blocks, while training.

    Raises:
        ValueError: If a number is out of its range.
    """

    size: int
    pose_size: int
    action_size: int
    hypotheses: int = 8
    horizon: int = 12
    width: int = 512
    depth: int = 3
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _check_sizes(self, "size", "pose_size", "action_size", "hypotheses", "horizon", "width", "depth")


@dataclass(frozen=True)
class TemporalDistanceConfig:
    """The shape of `TemporalDistance`.

    Attributes:
        size: Numbers of a frame's latents, Z = N * D.
        longest: Actions that are told apart at most; what takes longer counts as that many.
        members: Networks of the ensemble.
        width: Of the residual stream.
        depth: Blocks.
        dropout: In the blocks, while training.

    Raises:
        ValueError: If a number is out of its range.
    """

    size: int
    longest: int = 20
    members: int = 3
    width: int = 256
    depth: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _check_sizes(self, "size", "longest", "members", "width", "depth")


class ResidualMLP(nn.Module):
    """A multilayer perceptron of residual blocks, normed before each."""

    def __init__(self, given: int, made: int, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Linear(given, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 2 * width),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(2 * width, width),
            )
            for _ in range(depth)
        )
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, made))

    def forward(self, x: Float[Tensor, "*B given"]) -> Float[Tensor, "*B made"]:
        """Returns the outputs."""
        x = self.enter(x)
        for block in self.blocks:
            x = x + block(x)
        return self.leave(x)


class InverseDynamics(Head):
    """Goal-conditioned inverse dynamics: M hypotheses of the actions that lead from here to a goal, and how likely.

    Source: GC-IDM (arXiv 2605.08732); hypotheses as in multiple choice learning (Guzman-Rivera et al., 2012): to one
    goal recordings go by different ways, whose mean is none.

    Attributes:
        config: Its shape.
    """

    Config = InverseDynamicsConfig

    def __init__(self, config: InverseDynamicsConfig) -> None:
        super().__init__()
        self.config = config
        made = config.hypotheses * (config.horizon * config.action_size + 1)
        self.network = ResidualMLP(3 * config.size + config.pose_size, made, config.width, config.depth, config.dropout)

    def check_fits(self, model: StoredModel) -> None:
        """See `Head.check_fits`."""
        sizes = self.config.pose_size, self.config.action_size
        theirs = len(model.statistics.pose_mean), model.action_spec.size
        if sizes != theirs:
            raise ValueError(f"the inverse dynamics take poses and actions of {sizes} numbers, the model {theirs}")

    def forward(
        self, now: Float[Tensor, "B Z"], goal: Float[Tensor, "B Z"], poses: Float[Tensor, "B P"]
    ) -> tuple[Float[Tensor, "B M H A"], Float[Tensor, "B M"]]:
        """Returns the hypotheses, normalised, and the logits of their probabilities; poses are normalised."""
        config, dtype = self.config, next(self.parameters()).dtype
        given = torch.cat([now, goal, goal - now, poses], dim=-1).to(dtype)
        ways, logits = self.network(given).split(
            [config.hypotheses * config.horizon * config.action_size, config.hypotheses], dim=-1
        )
        return ways.unflatten(-1, (config.hypotheses, config.horizon, config.action_size)), logits


class TemporalDistance(Head):
    """How many actions recordings took from one latent to another: an ensemble's distributions over 1 .. longest.

    Source: temporal distances from hindsight goals (Eysenbach et al., arXiv 1907.02057); the pessimistic ensemble of
    MRS.Q (arXiv 2601.21306).

    Attributes:
        config: Its shape.
    """

    Config = TemporalDistanceConfig

    def __init__(self, config: TemporalDistanceConfig) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(
            ResidualMLP(3 * config.size, config.longest + 1, config.width, config.depth, config.dropout)
            for _ in range(config.members)
        )

    def check_fits(self, model: StoredModel) -> None:
        """See `Head.check_fits`."""

    def forward(self, now: Float[Tensor, "B Z"], goal: Float[Tensor, "B Z"]) -> Float[Tensor, "E B counts"]:
        """Returns each member's logits of 0, 1, .. longest actions."""
        given = torch.cat([now, goal, goal - now], dim=-1).to(next(self.parameters()).dtype)
        return torch.stack([member(given) for member in self.members])

    def actions(self, now: Float[Tensor, "B Z"], goal: Float[Tensor, "B Z"]) -> Float[Tensor, "B"]:
        """Returns the expected number of actions of the member that expects the most."""
        counts = torch.arange(self.config.longest + 1, device=now.device, dtype=torch.float32)
        return (self(now, goal).float().softmax(-1) @ counts).amax(0)


def _check_sizes(config: object, *names: str) -> None:
    """Returns if the named numbers are positive and the dropout is in its range."""
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
    dropout: float = getattr(config, "dropout")  # noqa: B009
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")
