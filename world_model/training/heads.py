"""Training of what recordings say of the way to a goal, on a finished world model's latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from world_model.checkpoints.checkpoint import Manifest, find_checkpoint, read_manifest, save_checkpoint
from world_model.compact import CompactModel
from world_model.data.batches import RecordedWindows
from world_model.data.clips import split_episodes
from world_model.data.gripper import told_poses
from world_model.finite import check_measured
from world_model.heads.ways import INVERSE_DYNAMICS, TEMPORAL_DISTANCE, TemporalDistance
from world_model.heads.ways_config import TemporalDistanceConfig
from world_model.training.compact import make_inverse_dynamics
from world_model.training.heads_config import SESSION_FIELDS, HeadsConfig
from world_model.training.loop import Report, clip_gradients, learning_rate_factor, make_adamw, set_learning_rate
from world_model.training.run import run_steps

JUDGED_PAIRS = 2048
_IMAGINED = 0.25
_THERE = 16  # of one pair in so many the distance is asked from a frame to itself


class Pairs(NamedTuple):
    """Frames and goals that were reached from them; latents as they are, the rest normalised.

    Attributes:
        now: Latents of the frames.
        goals: Latents of the goals.
        poses: Of the frames and of the goals.
        actions: The first of each.
        counts: Actions to each goal; 0 where it is the frame itself.
    """

    now: Float[Tensor, "B Z"]
    goals: Float[Tensor, "B Z"]
    poses: Float[Tensor, "2 B P"]
    actions: Float[Tensor, "B A"]
    counts: Int[Tensor, "B"]


class HindsightPairs:
    """Draws pairs of frames, the later of which is a goal that was reached.

    Args:
        model: Whose latents and statistics they are.
        latents: Of every episode's frames.
        recorded: Poses and actions of the episodes.
        episodes: To draw from.
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
        furthest: int,
    ) -> None:
        chosen = [episode for episode in episodes if len(latents[episode]) > 1]
        if not chosen:
            raise ValueError("no episode has two frames: there is no way to learn from")
        self.furthest = furthest
        self.latents = torch.cat([latents[episode] for episode in chosen])
        poses, gripper = [recorded.poses[episode] for episode in chosen], model.action_spec.gripper
        told = poses if gripper is None else [told_poses(each, gripper) for each in poses]
        self.poses, self.told = (
            model.normalise_poses(torch.from_numpy(np.concatenate(each))) for each in (poses, told)
        )
        actions = [torch.from_numpy(recorded.actions[episode]) for episode in chosen]
        padded = [torch.cat([each, torch.zeros_like(each[:1])]) for each in actions]  # none leads on from the last
        self.actions = model.normalise_actions(torch.cat(padded))
        self.left = np.concatenate([np.arange(len(latents[episode]) - 1, -1, -1) for episode in chosen])
        self.starts = np.flatnonzero(self.left)

    def draw(self, count: int, generator: np.random.Generator) -> Pairs:
        """Returns so many pairs: any frame that is not its episode's last, any goal after it; one in 16 is there.

        One pose in four has what a gripper was told, as imagined poses have it, and not where something stopped it.
        """
        frames = generator.choice(self.starts, count)
        counts = generator.integers(1, np.minimum(self.furthest, self.left[frames]) + 1)
        counts[: count // _THERE] = 0
        ends = frames + counts
        poses = self.poses[np.stack([frames, ends])]
        imagined = torch.from_numpy(generator.random(count) < _IMAGINED)
        poses[0, imagined] = self.told[frames][imagined]
        return Pairs(
            self.latents[frames],
            self.latents[ends],
            poses,
            self.actions[frames],
            torch.from_numpy(counts),
        )


class HeadsTrainer:
    """Goal-conditioned inverse dynamics and temporal distance in training.

    Of a frame t and a goal n >= 0 frames after it in the same episode::

        L = CE(n | z_t, s_t, z_{t+n}) + CE(mode of a_t | .., n) + 4 |a_t - its mode's| + sum_e CE_e(n | z_t, z_{t+n})

    Source: hindsight relabelling (arXiv 1707.01495). What happens in a step is fixed by the seed and its number.

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
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.inverse = make_inverse_dynamics(model, config.inverse_dynamics).to(self.device)
            distance = TemporalDistanceConfig(
                latents[0].shape[1], len(model.statistics.pose_mean), config.temporal_distance
            )
            self.distance = TemporalDistance(distance).to(self.device)
        split = split_episodes(len(latents), config.held_out, config.seed)
        self.training, self.held_out = (
            HindsightPairs(model, latents, recorded, part, config.furthest) for part in (split.training, split.held_out)
        )
        self.inverse.fit(self.training.actions, None, config.seed)
        self.distance.fit(self.training.actions, None)
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
        """Returns the parts of the loss, weighted, by name."""
        pairs = Pairs(*(each.to(self.device) for each in pairs))
        now, goals = (each + noise * torch.randn_like(each) for each in (pairs.now, pairs.goals))
        poses, counts, blur = pairs.poses, pairs.counts, self.config.blur
        return {
            "ways": self.inverse.errors(now, goals, poses, counts, pairs.actions, blur).total,
            "distance": self.distance.errors(now, goals, poses, counts, blur),
        }

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Returns errors on held-out pairs: see `WayErrors`, and of the distance [actions].

        "distance_middle" is that of the middle distance for all.
        """
        pairs = self.held_out.draw(JUDGED_PAIRS, np.random.default_rng(self.config.seed))
        pairs = Pairs(*(each.to(self.device) for each in pairs))
        for part in (self.inverse, self.distance):
            part.eval()
        errors = self.inverse.errors(pairs.now, pairs.goals, pairs.poses, pairs.counts, pairs.actions)
        expected = self.distance.actions(pairs.now, pairs.goals, pairs.poses[0])
        for part in (self.inverse, self.distance):
            part.train()
        counts = pairs.counts.clamp(max=self.config.temporal_distance.judge.longest).float()
        return {
            **{name: value.item() for name, value in errors._asdict().items()},
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
