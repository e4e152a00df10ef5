"""What recordings say of the way from one latent to another: how many actions it takes, and which come first."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from world_model.checkpoints.checkpoint import Head, StoredModel
from world_model.heads.action_modes import STILL, ActionModes
from world_model.heads.ways_config import InverseDynamicsConfig, JudgeShape, TemporalDistanceConfig

INVERSE_DYNAMICS, TEMPORAL_DISTANCE = "inverse_dynamics", "temporal_distance"
"""Their names among a model's heads."""

UNRELATED = 2**30
"""The number of actions to another episode's goal, which nobody counted: `APART` or more, and no first one is known."""

APART = 6
"""Another episode's goal is at least so many actions away: something else is where the hand must go to move it."""

_MAGNIFIED = (0.1, 0.2, 0.4, 1.0)
"""Scales that differences are told in; beyond each they saturate."""

_OFFSET_WEIGHT, POSE_WEIGHT = 4.0, 2.0

_FITTED = 20_000  # evenly chosen actions, at most, that typical ones are found in


class _Dropout(nn.Dropout):
    """Dropout of the same numbers in all that one row of a batch has: what is compared is told by the same network.

    Ways that differ by a centimetre would else differ by what each was told without, and a mask a row is soon drawn.
    """

    def forward(self, input: Float[Tensor, "B *N W"]) -> Float[Tensor, "B *N W"]:
        if not self.training:
            return input
        return input * super().forward(input.new_ones(len(input), *[1] * (input.ndim - 2), input.shape[-1]))


class _Block(nn.Module):
    """A residual block of two layers, normed before."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            _Dropout(dropout),
            nn.Linear(2 * width, width),
        )

    def forward(self, x: Float[Tensor, "*B W"]) -> Float[Tensor, "*B W"]:
        return x + self.layers(x)


def residual_blocks(width: int, depth: int, dropout: float) -> nn.Sequential:
    """Returns residual blocks of a multilayer perceptron, one after another."""
    return nn.Sequential(*(_Block(width, dropout) for _ in range(depth)))


class Looked(NamedTuple):
    """What a `Judge` reads from frames, or is told of them.

    Attributes:
        code: What it compares them by.
        pose: Of the arm, normalised.
    """

    code: Float[Tensor, "*B C"]
    pose: Float[Tensor, "*B P"]


class Judged(NamedTuple):
    """What a `Judge` says of frames and goals.

    Attributes:
        logits: Of 0 .. K actions between them.
        features: What it says that from.
        poses: That it reads from the frames, and from the goals, normalised.
    """

    logits: Float[Tensor, "B K+1"]
    features: Float[Tensor, "B W"]
    poses: Float[Tensor, "2 B P"]


class Judge(nn.Module):
    """Tells how many actions lie between a frame and a goal, from what it reads of either in the same way.

    What decides what to do next, whether the hand is over the object, is a centimetre in half a metre, and latents say
    where things are in no simple way. One network reads it from either image, so that what it learns of one it knows
    of the other, and learns the arm's pose as well, which recordings tell; differences go on magnified.

    Attributes:
        longest: Actions that are told apart at most, K.
        magnified: Numbers that tell a difference in all scales.
    """

    used: Tensor
    gripper: Tensor

    def __init__(self, size: int, pose_size: int, shape: JudgeShape) -> None:
        super().__init__()
        self.longest, near = shape.longest, shape.code // 2
        self.read = nn.Sequential(
            nn.Linear(size, shape.reader), residual_blocks(shape.reader, 2, shape.dropout), nn.LayerNorm(shape.reader)
        )
        self.code, self.pose = nn.Linear(shape.reader, shape.code), nn.Linear(shape.reader, pose_size)
        self.place = nn.Linear(pose_size, near)  # of a pose, among what a code tells
        self.magnified = len(_MAGNIFIED) * (shape.code + 2 * near + pose_size)
        self.meet = nn.Linear(2 * shape.code + 2 * pose_size + self.magnified, shape.width)
        self.compare = residual_blocks(shape.width, shape.depth, shape.dropout)
        self.count = nn.Sequential(nn.LayerNorm(shape.width), nn.Linear(shape.width, shape.longest + 1))
        self.register_buffer("used", torch.ones(pose_size))
        self.register_buffer("gripper", torch.zeros(pose_size))

    def forward(
        self, now: Float[Tensor, "B Z"], goal: Float[Tensor, "G Z"], poses: Float[Tensor, "B P"] | None
    ) -> Judged:
        """Returns what it says; poses are the frames', normalised, None for those that it reads from them.

        One goal may stand for all, G = 1, and is read once; else each frame has its own, G = B.
        """
        count = len(now)
        if len(goal) == count:  # either is read by the same network, see `_Dropout`
            code, pose = (part.unbind(1) for part in self.look(torch.stack([now, goal], dim=1)))
        else:
            code, pose = ((part[:count], part[count:].expand(count, -1)) for part in self.look(torch.cat([now, goal])))
        here, wanted = (Looked(*side) for side in zip(code, pose, strict=True))
        here = here if poses is None else self.told(here, poses)
        x = self.compare(self.facing(here, wanted))
        return Judged(self.count(x).float(), x, torch.stack(pose))

    def look(self, latents: Float[Tensor, "B Z"]) -> Looked:
        """Returns what is read from frames."""
        read = self.read(latents.to(self.code.weight.dtype))
        return Looked(self.code(read), self.pose(read) * self.used)

    def told(self, looked: Looked, poses: Float[Tensor, "*B P"]) -> Looked:
        """Returns what is read of frames with their poses, normalised, which are known; see `fit` of a gripper."""
        return Looked(looked.code, torch.where(self.gripper > 0, looked.pose, (poses * self.used).to(looked.code)))

    def facing(self, now: Looked, goal: Looked) -> Float[Tensor, "*B W"]:
        """Returns what `compare` begins with, of frames and goals side by side."""
        sides = [now.code, goal.code, now.pose, goal.pose]
        return self.meet(torch.cat([*sides, self.magnify(self.differences(now, goal))], dim=-1))

    def differences(self, one: Looked, other: Looked) -> Float[Tensor, "*B D"]:
        """Returns in what another frame differs: codes, either code from the other's place, and poses."""
        near = self.place.out_features
        return torch.cat(
            [
                other.code - one.code,
                self.place(one.pose) - one.code[..., :near],
                self.place(other.pose) - other.code[..., :near],
                other.pose - one.pose,
            ],
            dim=-1,
        )

    @staticmethod
    def magnify(differences: Float[Tensor, "*B D"]) -> Float[Tensor, "*B 4*D"]:
        """Returns differences in several scales, beyond each of which they saturate."""
        return torch.cat([torch.tanh(differences / scale) for scale in _MAGNIFIED], dim=-1)

    @property
    def apart(self) -> int:
        """Actions at least to another episode's goal, of those that are told apart."""
        return min(APART, self.longest)

    @torch.no_grad()
    def restrict(self, used: Float[Tensor, " P"], gripper: int | None = None) -> None:
        """Leaves out what of poses never moves, beside what is left out already.

        Args:
            used: 1 for what does, 0 for the rest, see `CompactModel.free`.
            gripper: Which number of a pose is a gripper's closedness that is to be read from frames alone, so that
                their latents learn to tell it; None if it is told as the rest of the pose is.
        """
        self.used.mul_(used)
        if gripper is not None:
            self.gripper[gripper] = 1.0

    def embed(self, latents: Float[Tensor, "B Z"]) -> Float[Tensor, "B C+P"]:
        """Returns what is read from frames, by which they can be told apart."""
        return torch.cat(self.look(latents), dim=-1)

    def errors(
        self,
        now: Float[Tensor, "B Z"],
        goal: Float[Tensor, "B Z"],
        poses: Float[Tensor, "2 B P"],
        counts: Int[Tensor, "B"],
        blur: float = 0.0,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, "B W"]]:
        """Returns how unlikely the numbers are, the mean absolute error of the poses that are read, and features.

        The first is the mean of -log P(n), and of -log P(n >= `apart`) where a goal is `UNRELATED`: which number it has
        is left to what recorded ways say of the like.

        Args:
            now: Latents of the frames.
            goal: Latents of the goals.
            poses: Of the frames and of the goals, normalised; a goal's is only learnt to be read.
            counts: Actions to each goal, or `UNRELATED`; more than K count as K.
            blur: Std of noise on the frames' poses: what they tell of the past tells what comes next without looking.
        """
        judged = self(now, goal, poses[0] + blur * torch.randn_like(poses[0]))
        likely, known = judged.logits.log_softmax(dim=1), counts.clamp(max=self.longest)[:, None]
        counted, apart = likely.gather(1, known)[:, 0], likely[:, self.apart :].logsumexp(dim=1)
        count = -torch.where(counts < UNRELATED, counted, apart).mean()
        return count, (judged.poses - poses * self.used).abs().mean(), judged.features


class WayErrors(NamedTuple):
    """How wrong `InverseDynamics` is, each a scalar.

    Attributes:
        count: Of the number of actions, see `Judge.errors`.
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
        return self.count + self.mode + _OFFSET_WEIGHT * self.offset + POSE_WEIGHT * self.pose


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
        self.config, width = config, config.shape.judge.width
        self.judge = Judge(config.size, config.pose_size, config.shape.judge)
        self.given = nn.Embedding(self.judge.longest + 1, width)
        self.after = nn.Sequential(residual_blocks(width, 2, config.shape.judge.dropout), nn.LayerNorm(width))
        self.first = ActionModes(width, config.action_size, config.shape.modes)
        self.register_buffer("free", torch.ones(config.action_size))

    @torch.no_grad()
    def restrict(self, free: Float[Tensor, " A"], used: Float[Tensor, " P"], gripper: int | None = None) -> None:
        """Leaves out what of actions and poses never moves, beside what is left out already; see `Judge.restrict`.

        What is held fixed varies by little else than what came before, which tells a network what comes next without
        looking.
        """
        self.free.mul_(free)
        self.first.centres.mul_(self.free)
        self.judge.restrict(used, gripper)

    def fit(self, actions: Float[Tensor, "B A"], seed: int) -> None:
        """Takes the typical actions from recorded ones, normalised, in the numbers that are free."""
        self.first.fit((actions * self.free)[:: -(-len(actions) // _FITTED)], seed)

    def check_fits(self, model: StoredModel) -> None:
        """See `Head.check_fits`."""
        self.config.check_poses("the inverse dynamics", model.pose_numbers)
        self.config.check_actions("the inverse dynamics", model.action_spec.size)

    def act(self, features: Float[Tensor, "B W"], counts: Int[Tensor, "B"]) -> Float[Tensor, "B W"]:
        """Returns what `first` tells the first of so many actions from."""
        return self.after(features + self.given(counts))

    def errors(
        self,
        now: Float[Tensor, "B Z"],
        goal: Float[Tensor, "B Z"],
        poses: Float[Tensor, "2 B P"],
        counts: Int[Tensor, "B"],
        actions: Float[Tensor, "B A"],
        rest: Float[Tensor, " A"],
        blur: float = 0.0,
    ) -> WayErrors:
        """Returns how wrong it is of recorded ways.

        Args:
            now: Latents of the frames.
            goal: Latents of the goals.
            poses: Of the frames and of the goals, normalised, see `Judge.errors`.
            counts: Actions to each goal, or `UNRELATED`.
            actions: The first of each, normalised. Where it moves nothing, or the goal is here or `UNRELATED`, nothing
                is asked of it.
            rest: The action that moves nothing, normalised.
            blur: See `Judge.errors`.
        """
        actions, rest = actions * self.free, rest * self.free
        count, pose, features = self.judge.errors(now, goal, poses, counts, blur)
        moving = (counts > 0) & (counts < UNRELATED) & ((actions - rest).abs() >= STILL).any(dim=-1)
        told = self.act(features, counts.clamp(max=self.judge.longest))
        mode, offset = self.first.errors(told, actions, moving)
        return WayErrors(count, mode, offset, pose)


class TemporalDistance(Head):
    """How many actions recordings took from a frame to a goal: an ensemble's distributions over 0 .. K.

    Source: temporal distances from hindsight goals (Eysenbach et al., arXiv 1907.02057); the pessimistic ensemble of
    MRS.Q (arXiv 2601.21306).

    Attributes:
        config: Its shape.
    """

    Config = TemporalDistanceConfig

    def __init__(self, config: TemporalDistanceConfig) -> None:
        super().__init__()
        self.config, shape = config, config.shape
        self.members = nn.ModuleList(Judge(config.size, config.pose_size, shape.judge) for _ in range(shape.members))

    def restrict(self, used: Float[Tensor, " P"]) -> None:
        """See `Judge.restrict`."""
        for member in self.judges:
            member.restrict(used)

    @property
    def judges(self) -> list[Judge]:
        """Its members."""
        return [member for member in self.members if isinstance(member, Judge)]

    def check_fits(self, model: StoredModel) -> None:
        """See `Head.check_fits`."""
        self.config.check_poses("the temporal distance", model.pose_numbers)

    def errors(
        self,
        now: Float[Tensor, "B Z"],
        goal: Float[Tensor, "B Z"],
        poses: Float[Tensor, "2 B P"],
        counts: Int[Tensor, "B"],
        blur: float = 0.0,
    ) -> Float[Tensor, ""]:
        """Returns what is minimised, the mean over the members; see `Judge.errors`."""
        parts = [member.errors(now, goal, poses, counts, blur) for member in self.judges]
        return torch.stack([count + POSE_WEIGHT * pose for count, pose, _ in parts]).mean()

    def actions(
        self,
        now: Float[Tensor, "B Z"],
        goal: Float[Tensor, "G Z"],
        poses: Float[Tensor, "B P"] | None,
        quickest_of: int = 1,
    ) -> Float[Tensor, "B"]:
        """Returns the expected number of actions of the member that expects the most.

        Args:
            now: Latents of the frames.
            goal: Latents of the goals, or of one for all.
            poses: Of the frames, normalised; None for those that it reads from them.
            quickest_of: Of so many recorded ways the quickest is expected: sum over k of P(n > k) to this power.
        """
        shares = torch.stack([m(now, goal, poses).logits.softmax(-1) for m in self.judges])
        longer = (1.0 - shares.cumsum(-1)[..., :-1]).clamp_min(0.0)
        return (longer**quickest_of).sum(-1).amax(0)

    def longest(
        self, now: Float[Tensor, "B Z"], goal: Float[Tensor, "B Z"], poses: Float[Tensor, "B P"] | None
    ) -> tuple[Float[Tensor, "B K+1"], Float[Tensor, "B"]]:
        """Returns the logits of the member that expects the most, and how many actions it expects; see `actions`."""
        logits = torch.stack([m(now, goal, poses).logits for m in self.judges])  # (M, B, K + 1)
        most, member = expected(logits).max(0)
        return logits[member, torch.arange(len(member), device=member.device)], most


def expected(logits: Float[Tensor, "*B K+1"]) -> Float[Tensor, "*B"]:
    """Returns how many actions a way is expected to have."""
    return (logits.softmax(dim=-1) * torch.arange(logits.shape[-1], device=logits.device)).sum(dim=-1)


def quick(logits: Float[Tensor, "B K+1"], pace: float) -> Int[Tensor, "B"]:
    """Returns how many actions a quick way has: 0 where being there is likelier than not, or else the quantile."""
    shares = logits.softmax(dim=-1)
    under_way = shares[:, 1:] / (1.0 - shares[:, :1]).clamp_min(1e-6)
    counts = 1 + (under_way.cumsum(dim=-1) < pace).sum(dim=-1).clamp_max(logits.shape[-1] - 2)
    return counts * (shares[:, 0] < 0.5)
