"""Training of what recordings say of the way to a goal, on a finished world model's latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from world_model.checkpoints.checkpoint import Manifest, find_checkpoint, read_manifest, save_checkpoint
from world_model.compact import CompactModel
from world_model.data.batches import RecordedWindows
from world_model.data.clips import split_episodes
from world_model.finite import check_measured
from world_model.heads.ways import (
    INVERSE_DYNAMICS,
    TEMPORAL_DISTANCE,
    InverseDynamics,
    InverseDynamicsConfig,
    TemporalDistance,
    TemporalDistanceConfig,
)
from world_model.training.heads_config import SESSION_FIELDS, HeadsConfig
from world_model.training.loop import Report, clip_gradients, learning_rate_factor, make_adamw, set_learning_rate
from world_model.training.run import run_steps

JUDGED_PAIRS = 2048
_THERE = 16  # of one pair in so many the distance is asked from a frame to itself


class Pairs(NamedTuple):
    """Frames and goals later in their episodes; latents as they are, the rest normalised.

    Attributes:
        now: Latents of the frames.
        goals: Latents of the goals.
        poses: Of the frames.
        ways: The actions from each frame on; 0 after the goal.
        counts: Actions to each goal.
    """

    now: Float[Tensor, "B Z"]
    goals: Float[Tensor, "B Z"]
    poses: Float[Tensor, "B P"]
    ways: Float[Tensor, "B H A"]
    counts: Int[Tensor, "B"]


class HindsightPairs:
    """Draws pairs of frames, the later of which is a goal that was reached.

    Args:
        model: Whose latents and statistics they are.
        latents: Of every episode's frames.
        recorded: Poses and actions of the episodes.
        episodes: To draw from.
        horizon: Actions of a way, H.
        furthest: Actions to a goal at most.

    Raises:
        ValueError: If no episode has an action.
    """

    def __init__(
        self,
        model: CompactModel,
        latents: Sequence[Float[Tensor, "T Z"]],
        recorded: RecordedWindows,
        episodes: Sequence[int],
        horizon: int,
        furthest: int,
    ) -> None:
        chosen = [episode for episode in episodes if len(latents[episode]) > 1]
        if not chosen:
            raise ValueError("no episode has two frames: there is no way to learn from")
        self.horizon, self.furthest = horizon, furthest
        self.latents = torch.cat([latents[episode] for episode in chosen])
        self.poses = model.normalise_poses(torch.cat([torch.from_numpy(recorded.poses[e]) for e in chosen]))
        actions = [torch.from_numpy(recorded.actions[episode]) for episode in chosen]
        padded = [torch.cat([each, torch.zeros_like(each[:1])]) for each in actions]  # none leads on from the last
        self.actions = model.normalise_actions(torch.cat(padded))
        self.left = np.concatenate([np.arange(len(latents[episode]) - 1, -1, -1) for episode in chosen])
        self.starts = np.flatnonzero(self.left)

    def draw(self, count: int, generator: np.random.Generator) -> Pairs:
        """Returns so many pairs: any frame that is not its episode's last, any goal after it."""
        frames = generator.choice(self.starts, count)
        counts = generator.integers(1, np.minimum(self.furthest, self.left[frames]) + 1)
        steps = np.arange(self.horizon)
        inside = torch.from_numpy(steps < counts[:, None])
        places = np.minimum(frames[:, None] + steps, len(self.left) - 1)
        ways = self.actions[places] * inside[..., None]
        return Pairs(
            self.latents[frames],
            self.latents[frames + counts],
            self.poses[frames],
            ways,
            torch.from_numpy(counts),
        )


class HeadsTrainer:
    """Goal-conditioned inverse dynamics and temporal distance in training.

    Of a frame t and a goal k >= 1 frames after it in the same episode, with hypotheses w_m of the actions::

        L = min_m d(w_m, a) + spread mean_m d(w_m, a) + CE(m, the nearest) + CE_e(k)

    d is the smooth L1 distance of the first min(H, k) actions. Source: hindsight relabelling (arXiv 1707.01495). What
    happens in a step is fixed by the seed and its number.

    Args:
        config: The run's.
        model: Frozen.
        latents: Of every episode's frames.
        recorded: Poses and actions of the episodes.
    """

    def __init__(
        self,
        config: HeadsConfig,
        model: CompactModel,
        latents: Sequence[Float[Tensor, "T Z"]],
        recorded: RecordedWindows,
    ) -> None:
        self.config, self.device = config, model.action_mean.device
        size, spec = latents[0].shape[1], model.action_spec
        shape, distance = config.inverse_dynamics, config.temporal_distance
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.inverse = InverseDynamics(
                InverseDynamicsConfig(size, len(model.statistics.pose_mean), spec.size, **vars(shape))
            ).to(self.device)
            self.distance = TemporalDistance(TemporalDistanceConfig(size, **vars(distance))).to(self.device)
        fixed = torch.tensor(spec.low) == torch.tensor(spec.high)
        self.free = (~fixed).float().to(self.device)
        split = split_episodes(len(latents), config.held_out, config.seed)
        self.training, self.held_out = (
            HindsightPairs(model, latents, recorded, part, shape.horizon, config.furthest)
            for part in (split.training, split.held_out)
        )
        self.optimizer = make_adamw((self.inverse, self.distance), config.learning_rate, config.weight_decay)

    def step(self, step: int) -> dict[str, float]:
        """Takes one optimiser step; returns its losses, and when due those of held-out pairs. See `Trainer.step`."""
        config = self.config
        share = learning_rate_factor(step, config.steps, config.warmup, "cosine", config.final_learning_rate)
        set_learning_rate(self.optimizer, config.learning_rate * share)
        pairs = self.training.draw(config.batch, np.random.default_rng((config.seed, step)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed * 1_000_003 + step)  # of noise and dropout
            losses = self.losses(pairs, config.noise)
            self.optimizer.zero_grad(set_to_none=True)
            sum(losses.values(), torch.zeros((), device=self.device)).backward()
        norm = clip_gradients([*self.inverse.parameters(), *self.distance.parameters()], config.clip)
        measured = {name: loss.item() for name, loss in losses.items()}
        check_measured({**measured, "the gradient's norm": norm.item()})  # before the weights change
        self.optimizer.step()
        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
            measured |= {f"held_out/{name}": value for name, value in self.evaluate().items()}
        return measured

    def losses(self, pairs: Pairs, noise: float) -> dict[str, Float[Tensor, ""]]:
        """Returns the parts of the loss."""
        pairs = Pairs(*(each.to(self.device) for each in pairs))
        now, goals = (each + noise * torch.randn_like(each) for each in (pairs.now, pairs.goals))
        errors, logits = self._errors(pairs, now, goals)
        best = errors.min(dim=1)
        counts = pairs.counts.clamp(max=self.config.temporal_distance.longest)
        there = slice(0, len(counts) // _THERE)
        counts[there] = 0
        members = self.distance(now, torch.cat([pairs.now[there], goals[there.stop :]]))
        return {
            "actions": best.values.mean(),
            "spread": self.config.spread * errors.mean(),
            "choice": functional.cross_entropy(logits, best.indices),
            "distance": functional.cross_entropy(members.flatten(0, 1), counts.repeat(len(members))),
        }

    def _errors(
        self, pairs: Pairs, now: Float[Tensor, "B Z"], goals: Float[Tensor, "B Z"]
    ) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B M"]]:
        """Returns each hypothesis' distance from what was done, and the logits of their probabilities."""
        ways, logits = self.inverse(now, goals, pairs.poses)
        each = functional.smooth_l1_loss(ways, pairs.ways[:, None].expand_as(ways), reduction="none")
        by_step = (each * self.free).sum(-1) / self.free.sum()  # (B, M, H)
        counted = (torch.arange(by_step.shape[2], device=self.device) < pairs.counts[:, None]).float()
        return (by_step * counted[:, None]).sum(2) / counted.sum(1, keepdim=True), logits

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Returns errors on held-out pairs: of the best and of the likeliest hypothesis, and of the distance [actions].

        "likeliest_zero" is that of staying, and "distance_middle" that of the middle distance for all.
        """
        pairs = self.held_out.draw(JUDGED_PAIRS, np.random.default_rng(self.config.seed))
        pairs = Pairs(*(each.to(self.device) for each in pairs))
        for part in (self.inverse, self.distance):
            part.eval()
        errors, logits = self._errors(pairs, pairs.now, pairs.goals)
        expected = self.distance.actions(pairs.now, pairs.goals)
        for part in (self.inverse, self.distance):
            part.train()
        counts = pairs.counts.clamp(max=self.config.temporal_distance.longest).float()
        return {
            "best": errors.amin(1).mean().item(),
            "likeliest": errors.gather(1, logits.argmax(1, keepdim=True)).mean().item(),
            "distance": (expected - counts).abs().mean().item(),
            "distance_middle": (counts.median() - counts).abs().mean().item(),
        }

    def state_dict(self) -> dict[str, Any]:
        """Returns all that a resumed run needs."""
        return {name: getattr(self, name).state_dict() for name in ("inverse", "distance", "optimizer")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        for name in ("inverse", "distance", "optimizer"):
            getattr(self, name).load_state_dict(state[name])


def train_heads(
    config: HeadsConfig,
    model: CompactModel,
    latents: Sequence[Float[Tensor, "T Z"]],
    recorded: RecordedWindows,
    fingerprint: str,
    report: Report,
    provenance: Mapping[str, Any],
) -> Manifest | None:
    """Trains, or goes on training, saves the parent with its heads and returns the manifest; None if interrupted.

    Args:
        config: The run's.
        model: The parent.
        latents: Of every episode's frames.
        recorded: Poses and actions of the episodes.
        fingerprint: Of parent and data.
        report: Gets every step's measurements.
        provenance: Of the checkpoint, plain values.

    Raises:
        ValueError: If parent, data and settings do not fit together.
        StateError: If the output directory holds the state of another run.
        DivergedError: If something is not finite, see `run_steps`.
    """
    trainer = HeadsTrainer(config, model, latents, recorded)
    if not run_steps(trainer, config, SESSION_FIELDS, fingerprint, report):
        return None
    metrics = trainer.evaluate()
    model.add_head(INVERSE_DYNAMICS, trainer.inverse.eval().requires_grad_(False))
    model.add_head(TEMPORAL_DISTANCE, trainer.distance.eval().requires_grad_(False))
    parent = read_manifest(find_checkpoint(config.parent))
    training = {**parent.training, "heads": {**provenance, "metrics": metrics, "parent_files": parent.files}}
    save_checkpoint(config.checkpoint_directory, model, training=training, parent=config.parent)
    return read_manifest(config.checkpoint_directory)
