"""The critic: how many actions lie between a frame and a goal image, and the first of them, learnt without rewards.

A distance of latents says how different two images look; that is no measure of what there is left to do where the arm
must first go away from the goal's pose, to fetch the object that is missing there. The critic answers the other
question. Its targets are free: between frames t and t + k of one episode there were k actions, action t the first.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from envs.ranges import check_range
from world_model.checkpoints.checkpoint import Head, StoredModel
from world_model.heads.action_modes import ActionModes
from world_model.heads.goal_policy.sight import Sight

_MAGNIFIED = (0.1, 0.2, 0.4, 1.0)
"""Scales that differences are told in, in the std of poses; beyond each they saturate."""

OPEN = 8.0
"""In a goal's normalised pose: whichever. No arm is that far from the mean."""


@dataclass(frozen=True)
class CriticConfig:
    """The shape of a `Critic`.

    Attributes:
        grid_height: Rows of patches.
        grid_width: Columns of patches.
        token_width: Width of the encoder's tokens, D.
        pose_size: Pose dimensions, P.
        action_size: Action dimensions, A.
        look_width: Of the networks that read images.
        width: Of the network that compares frame and goal, W.
        depth: Number of its blocks before the number of actions is told, and of those after it.
        most_actions: What is further counts as this many actions.
        modes: Typical actions that the first one is told by, see `ActionModes`.
        open_goals: Whether it has learnt goals whose pose is `OPEN`.

    Raises:
        ValueError: If a number is not positive.
    """

    grid_height: int
    grid_width: int
    token_width: int
    pose_size: int = 7
    action_size: int = 7
    look_width: int = 96
    width: int = 256
    depth: int = 2
    most_actions: int = 24
    modes: int = 96
    open_goals: bool = False

    def __post_init__(self) -> None:
        sizes = (field.name for field in fields(self) if field.name != "open_goals")
        check_range(self, "(0, inf)", *sizes, of="a critic's ")

    @property
    def tokens(self) -> int:
        """Tokens a frame, N."""
        return self.grid_height * self.grid_width

    @property
    def place_size(self) -> int:
        """Numbers of a place: those that a pose begins with."""
        return min(3, self.pose_size)


class Critic(Head):
    """Predicts, from a frame and a goal image, how many actions lie between them and the first of these.

    Frame and goal are read in the same way, see `Sight`, and then compared; the frame's pose is known and goes in, the
    goal's is not. What decides next, whether the hand is over the thing, is a difference of a centimetre in half a
    metre: differences go in magnified.

    The number is a distribution over 0 .. `most_actions`, because recordings dawdle: how soon a goal can be reached is
    at its lower end. The action is told for a given number of actions, as in arXiv 1912.06088: recordings of moves
    that took long say little about the first of them, asked for a short way they say where to go. It is a proposal, to
    be looked at through a world model before it is done.

    Attributes:
        config: Its shape.
        sight: Reads images.
    """

    Config = CriticConfig
    counts: Tensor

    def __init__(self, config: CriticConfig) -> None:
        super().__init__()
        self.config = config
        place, pose = config.place_size, config.pose_size
        grid = (config.grid_height, config.grid_width)
        self.sight = Sight(grid, config.token_width, place, pose, config.look_width)
        differences = len(_MAGNIFIED) * (2 * place + pose)
        self.meet = nn.Linear((place + 1) + pose + self.sight.size + differences, config.width)
        self.before, self.after = (
            nn.ModuleList(_Block(config.width) for _ in range(config.depth)) for _ in ("before", "after")
        )
        self.count_head = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, config.most_actions + 1))
        self.given = nn.Embedding(config.most_actions + 1, config.width)
        self.action_norm = nn.LayerNorm(config.width)
        self.action_head = ActionModes(config.width, config.action_size, config.modes)
        self.register_buffer("counts", torch.arange(config.most_actions + 1.0, device="cpu"), persistent=False)

    def check_fits(self, model: StoredModel) -> None:
        """See `Head.check_fits`."""
        shapes, config = model.parts(), self.config
        grid = int(shapes["predictor"]["grid_height"]), int(shapes["predictor"]["grid_width"])
        sizes = {
            "tokens a frame of encoder and critic": (grid[0] * grid[1], config.tokens),
            "token width of encoder and critic": (shapes["predictor"]["token_width"], config.token_width),
            "action dimensions of spec and critic": (model.action_spec.size, config.action_size),
            "pose dimensions of statistics and critic": (len(model.statistics.pose_mean), config.pose_size),
        }
        for name, (one, other) in sizes.items():
            if one != other:
                raise ValueError(f"{name} differ: {one} and {other}")

    def compare(
        self, seen: Float[Tensor, "B S+1"], poses: Float[Tensor, "B P"], wanted: Float[Tensor, "b V"]
    ) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B W"]]:
        """Returns the logits of the numbers of actions, K = `most_actions` + 1, and what `pursue` goes on from.

        Args:
            seen: Of the thing in the frames, see `Sight.thing`.
            poses: Of the frames, normalised.
            wanted: All that is seen in the goals; one (b = 1) is shared by all frames.
        """
        place, pose = self.config.place_size, self.config.pose_size
        poses, wanted = poses.to(seen), wanted.to(seen).expand(len(seen), -1)
        differences = torch.cat(
            [
                seen[:, :place] - poses[:, :place],  # from the hand to the thing
                wanted[:, :place] - seen[:, :place],  # from the thing to where it is wanted
                wanted[:, -pose:] - poses,
            ],
            dim=1,
        )
        magnified = [torch.tanh(differences / scale) for scale in _MAGNIFIED]
        x = self.meet(torch.cat([seen, poses, wanted, *magnified], dim=1))
        for block in self.before:
            x = block(x)
        return self.count_head(x).float(), x

    def pursue(self, compared: Float[Tensor, "B W"], counts: Int[Tensor, "B"]) -> Float[Tensor, "B W"]:
        """Returns what `action_head` tells the first action from, if there are to be so many."""
        x = compared + self.given(counts)
        for block in self.after:
            x = block(x)
        return self.action_norm(x)

    def forward(
        self, tokens: Float[Tensor, "B N D"], poses: Float[Tensor, "B P"], wanted: Float[Tensor, "b V"], share: float
    ) -> tuple[Int[Tensor, "B"], Float[Tensor, "B A"]]:
        """Returns how many actions a quick way to the goal has and the first of them, normalised.

        Args:
            tokens: Of the frames.
            poses: Of the frames, normalised.
            wanted: All that is seen in the goals; one (b = 1) is shared by all frames.
            share: How quick, see `quick_count`.
        """
        logits, compared = self.compare(self.sight.thing(tokens), poses, wanted)
        counts = self.quick_count(logits, share)
        return counts, self.action_head(self.pursue(compared, counts))

    def quick_count(self, logits: Float[Tensor, "*B K"], share: float) -> Int[Tensor, "*B"]:
        """Returns 0 where being there already is likelier than not, or else the quantile of the other numbers.

        A small share asks for the quick way.
        """
        shares = logits.softmax(dim=-1)
        under_way = shares[..., 1:] / (1.0 - shares[..., :1]).clamp_min(1e-6)
        counts = 1 + (under_way.cumsum(dim=-1) < share).sum(dim=-1).clamp_max(self.config.most_actions - 1)
        return counts * (shares[..., 0] < 0.5)

    def mean_count(self, logits: Float[Tensor, "*B K"], share: float = 1.0) -> Float[Tensor, "*B"]:
        """Returns the mean number of actions over the lowest `share` of the distribution; 1 for all of it."""
        shares = logits.softmax(dim=-1)
        before = shares.cumsum(dim=-1) - shares
        shares = torch.minimum(shares, (share - before).clamp_min(0.0))
        return (shares * self.counts).sum(dim=-1) / share


class _Block(nn.Module):
    """A residual pre-norm block of two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Float[Tensor, "B W"]) -> Float[Tensor, "B W"]:
        return x + self.layers(x)
