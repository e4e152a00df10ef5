"""What recordings say of the way from one latent to another: how many actions it takes, and which come first."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from world_model.checkpoints.checkpoint import Head, StoredModel
from world_model.heads.action_modes import STILL, ActionModes
from world_model.heads.ways_config import InverseDynamicsConfig, ReaderShape, TemporalDistanceConfig

INVERSE_DYNAMICS, TEMPORAL_DISTANCE = "inverse_dynamics", "temporal_distance"
"""Their names among a model's heads."""

_FIXED = 0.5
"""A dimension that recorded actions hold fixed varies by less, in the normalised units whose std has a floor."""

_MAGNIFIED = (0.1, 0.2, 0.4, 1.0)
"""Scales that differences are told in; beyond each they saturate."""

_OFFSET_WEIGHT = 4.0

_FITTED = 20_000  # evenly chosen actions, at most, that typical ones are found in


class _Block(nn.Module):
    """A residual block of two layers, normed before."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )

    def forward(self, x: Float[Tensor, "*B W"]) -> Float[Tensor, "*B W"]:
        return x + self.layers(x)


def residual_blocks(width: int, depth: int, dropout: float) -> nn.Sequential:
    """Returns residual blocks of a multilayer perceptron, one after another."""
    return nn.Sequential(*(_Block(width, dropout) for _ in range(depth)))


class Comparison(nn.Module):
    """Reads frame and goal in the same way, and tells their differences magnified.

    What decides what to do next, whether the hand is over the object, is a centimetre in half a metre, and latents say
    where things are in no simple way. One network reads it from either image, so that what it learns of one it knows
    of the other, and learns the arm's pose as well, which the recordings tell.

    Attributes:
        size: Numbers of a comparison.
    """

    def __init__(self, size: int, pose_size: int, shape: ReaderShape) -> None:
        super().__init__()
        self.read = nn.Sequential(
            nn.Linear(size, shape.width), residual_blocks(shape.width, 2, shape.dropout), nn.LayerNorm(shape.width)
        )
        self.code, self.pose = nn.Linear(shape.width, shape.code), nn.Linear(shape.width, pose_size)
        self.place = nn.Linear(pose_size, shape.code // 2)  # of a pose, among what a code tells
        differences = shape.code + 2 * (shape.code // 2) + pose_size
        self.size = 2 * shape.code + 2 * pose_size + len(_MAGNIFIED) * differences

    def forward(
        self, now: Float[Tensor, "B Z"], goal: Float[Tensor, "B Z"], poses: Float[Tensor, "B P"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "2 B P"]]:
        """Returns the comparisons, and the poses that were read from the frames and from the goals."""
        read = self.read(torch.stack([now, goal]).to(self.code.weight.dtype))
        (code, wanted), seen = self.code(read), self.pose(read)
        near = wanted.shape[1] // 2
        differences = torch.cat(
            [
                wanted - code,
                self.place(poses.to(code)) - code[:, :near],
                self.place(seen[1]) - wanted[:, :near],
                seen[1] - poses.to(code),
            ],
            dim=1,
        )
        magnified = [torch.tanh(differences / scale) for scale in _MAGNIFIED]
        return torch.cat([code, wanted, poses.to(code), seen[1], *magnified], dim=1), seen


class WayErrors(NamedTuple):
    """How wrong `InverseDynamics` is, each a scalar.

    Attributes:
        count: Cross-entropy of the number of actions.
        mode: Cross-entropy of the first action's mode, given the number.
        offset: Mean absolute error of the first action given its mode, in standard deviations.
        pose: Mean absolute error of the poses that are read from frames and goals, in standard deviations.
    """

    count: Float[Tensor, ""]
    mode: Float[Tensor, ""]
    offset: Float[Tensor, ""]
    pose: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """What is minimised."""
        return self.count + self.mode + _OFFSET_WEIGHT * self.offset + 2 * self.pose


class InverseDynamics(Head):
    """Multi-step inverse dynamics: how many actions lie between here and a goal, and which is the first of so many.

    Recordings dawdle, so the mean of what was done first on the way to a goal is nearly nothing; asked for a quick way
    among theirs, the same network heads for the goal. Two ways to one goal have no mean either, so the first action is
    one of M typical ones and an offset.

    Source: multi-step inverse models (AC-State, arXiv 2207.08229); hindsight goals and a given number of actions
    (GCSL, arXiv 1912.06088); GC-IDM (arXiv 2605.08732).

    Attributes:
        config: Its shape.
    """

    Config = InverseDynamicsConfig
    free: Tensor

    def __init__(self, config: InverseDynamicsConfig) -> None:
        super().__init__()
        self.config, shape = config, config.shape
        width, ways = shape.width, shape.longest + 1
        self.read = Comparison(config.size, config.pose_size, shape.reader)
        self.meet = nn.Linear(self.read.size, width)
        self.before = residual_blocks(width, shape.depth, shape.dropout)
        self.count = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, ways))
        self.given = nn.Embedding(ways, width)
        self.after = residual_blocks(width, 2, shape.dropout)
        self.norm = nn.LayerNorm(width)
        self.first = ActionModes(width, config.action_size, shape.modes)
        self.register_buffer("free", torch.ones(config.action_size))

    @torch.no_grad()
    def fit(self, actions: Float[Tensor, "B A"], seed: int) -> None:
        """Takes the typical actions from recorded ones, normalised, and which dimensions they ever move.

        What is held fixed varies by little else than what came before, which tells a network what comes next without
        looking: such dimensions, and the pose's same ones, are left out.
        """
        self.free.copy_((actions.std(0) > _FIXED).float())
        self.first.fit((actions * self.free)[:: -(-len(actions) // _FITTED)], seed)

    def check_fits(self, model: StoredModel) -> None:
        """See `Head.check_fits`."""
        sizes = self.config.pose_size, self.config.action_size
        theirs = len(model.statistics.pose_mean), model.action_spec.size
        if sizes != theirs:
            raise ValueError(f"the inverse dynamics take poses and actions of {sizes} numbers, the model {theirs}")

    def compare(
        self, now: Float[Tensor, "B Z"], goal: Float[Tensor, "B Z"], poses: Float[Tensor, "B P"]
    ) -> tuple[Float[Tensor, "B K+1"], Float[Tensor, "B W"]]:
        """Returns the logits of 0 .. K actions, and what `act` goes on from; poses are normalised."""
        return self._judge(self.read(now, goal, self._used(poses))[0])

    def _judge(self, read: Float[Tensor, "B C"]) -> tuple[Float[Tensor, "B K+1"], Float[Tensor, "B W"]]:
        x = self.before(self.meet(read))
        return self.count(x).float(), x

    def _used(self, poses: Float[Tensor, "*B P"]) -> Float[Tensor, "*B P"]:
        """Returns poses without what the actions hold fixed."""
        return poses * self.free if poses.shape[-1] == len(self.free) else poses

    def act(self, compared: Float[Tensor, "B W"], counts: Int[Tensor, "B"]) -> Float[Tensor, "B W"]:
        """Returns what `first` tells the first of so many actions from."""
        return self.norm(self.after(compared + self.given(counts)))

    def quick(self, logits: Float[Tensor, "B K+1"], pace: float) -> Int[Tensor, "B"]:
        """Returns how many actions a quick way has: 0 where being there is likelier than not, or else the quantile."""
        shares = logits.softmax(dim=-1)
        under_way = shares[:, 1:] / (1.0 - shares[:, :1]).clamp_min(1e-6)
        counts = 1 + (under_way.cumsum(dim=-1) < pace).sum(dim=-1).clamp_max(self.config.shape.longest - 1)
        return counts * (shares[:, 0] < 0.5)

    def errors(
        self,
        now: Float[Tensor, "B Z"],
        goal: Float[Tensor, "B Z"],
        poses: Float[Tensor, "2 B P"],
        counts: Int[Tensor, "B"],
        actions: Float[Tensor, "B A"],
        blur: float = 0.0,
    ) -> WayErrors:
        """Returns how wrong it is of recorded ways.

        Args:
            now: Latents of the frames.
            goal: Latents of the goals.
            poses: Of the frames and of the goals, normalised; a goal's is only learnt to be read.
            counts: Actions to each goal; more than K count as K.
            actions: The first of each, normalised. Where it moves nothing, or the goal is here, nothing is asked of it.
            blur: Std of noise on the frames' poses: what they tell of the past tells what comes next without looking.
        """
        counts, actions, poses = counts.clamp(max=self.config.shape.longest), actions * self.free, self._used(poses)
        given = self._used(poses[0] + blur * torch.randn_like(poses[0]))
        read, seen = self.read(now, goal, given)
        logits, compared = self._judge(read)
        count, pose = functional.cross_entropy(logits, counts), (self._used(seen) - poses).abs().mean()
        moving = (counts > 0) & (actions.abs() >= STILL).any(dim=-1)
        if not moving.any():
            return WayErrors(count, count.new_zeros(()), count.new_zeros(()), pose)
        mode, offset = self.first.errors(self.act(compared[moving], counts[moving]), actions[moving])
        return WayErrors(count, mode, offset, pose)


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
        self.config, shape = config, config.shape
        self.members = nn.ModuleList(
            nn.Sequential(
                nn.Linear(3 * config.size, shape.width),
                residual_blocks(shape.width, shape.depth, shape.dropout),
                nn.LayerNorm(shape.width),
                nn.Linear(shape.width, shape.longest + 1),
            )
            for _ in range(shape.members)
        )

    def check_fits(self, model: StoredModel) -> None:
        """See `Head.check_fits`."""

    def forward(self, now: Float[Tensor, "B Z"], goal: Float[Tensor, "B Z"]) -> Float[Tensor, "E B counts"]:
        """Returns each member's logits of 0, 1, .. longest actions."""
        given = torch.cat([now, goal, goal - now], dim=-1).to(next(self.parameters()).dtype)
        return torch.stack([member(given) for member in self.members])

    def actions(self, now: Float[Tensor, "B Z"], goal: Float[Tensor, "B Z"]) -> Float[Tensor, "B"]:
        """Returns the expected number of actions of the member that expects the most."""
        counts = torch.arange(self.config.shape.longest + 1, device=now.device, dtype=torch.float32)
        return (self(now, goal).float().softmax(-1) @ counts).amax(0)
