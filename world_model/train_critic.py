"""Training of the critic of a finished world model, on the same cached latents."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from envs.config import dump_config
from world_model.batches import Batch, WindowBatches
from world_model.checkpoint import Manifest, find_checkpoint, read_manifest, save_checkpoint
from world_model.clips import Shuffle, Windows, split_episodes
from world_model.critic import Critic, CriticConfig
from world_model.loop import Report, learning_rate_factor, make_adamw, run_steps, set_learning_rate, update_average
from world_model.vjepa2_ac import VJEPA2AC

SESSION_FIELDS = ("data", "output", "cache", "checkpoint", "save_every")


@dataclass(frozen=True)
class TrainCriticConfig:
    """One training run of a critic.

    Attributes:
        data: Folder of recordings.
        parent: The checkpoint whose critic it becomes, by name or path. Its encoder and predictor stay as they are.
        output: Run directory: resolved config, log, state to resume from.
        checkpoint: Where the checkpoint with the critic goes; None for checkpoint/ in the run directory.
        cache: Where latents are kept; None for data + "-cache".
        width: Of the critic.
        depth: Number of its blocks.
        heads: Its attention heads.
        most_actions: What is further counts as this many actions.
        imagined: Frames in a row that the world model imagines from a recorded one; the critic learns to judge these
            as it does recorded ones, because a planner shows it nothing else.
        action_weight: Of the error of the first action in the loss.
        steps: Optimiser steps.
        batch: Windows a step; each gives 2 + `imagined` frames to judge.
        learning_rate: At its peak.
        warmup: Steps of linear rise; a cosine falls after them.
        weight_decay: AdamW's, not on biases and norms.
        clip: Largest gradient norm; 0 for none.
        average: Momentum of the averaged weights that are judged and saved.
        held_out: Share of episodes that is judged by and never trained on.
        evaluate_every: Steps between evaluations.
        evaluate_windows: Held-out windows an evaluation takes.
        save_every: Steps between saved states.
        seed: Of everything random; the same as the predictor's gives the same held-out episodes.

    Raises:
        ValueError: If a number is out of its range.
    """

    data: Path
    parent: str
    output: Path
    checkpoint: Path | None = None
    cache: Path | None = None
    width: int = 128
    depth: int = 3
    heads: int = 4
    most_actions: int = 24
    imagined: int = 2
    action_weight: float = 1.0
    steps: int = 3000
    batch: int = 64
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.04
    clip: float = 1.0
    average: float = 0.995
    held_out: float = 0.05
    evaluate_every: int = 500
    evaluate_windows: int = 512
    save_every: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "learning_rate", "evaluate_every", "evaluate_windows", "save_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.imagined < 1 or self.action_weight < 0 or not 0 <= self.average < 1:
            raise ValueError(
                "imagined must be at least 1, action_weight at least 0 and average in 0 .. 1, got "
                f"{self.imagined}, {self.action_weight} and {self.average}"
            )

    @property
    def cache_directory(self) -> Path:
        """Where latents are kept."""
        return self.cache or self.data.with_name(f"{self.data.name}-cache")

    @property
    def checkpoint_directory(self) -> Path:
        """Where the finished checkpoint goes."""
        return self.checkpoint or self.output / "checkpoint"


@dataclass(frozen=True)
class Pairs:
    """Frames with goals from the same episodes.

    Attributes:
        tokens: Of the frames, recorded and imagined.
        poses: Of the frames, normalised.
        goals: Tokens of the goals.
        counts: Actions from frame to goal.
        actions: The first of them, normalised; of no meaning where there are none.
    """

    tokens: Float[Tensor, "B N D"]
    poses: Float[Tensor, "B P"]
    goals: Float[Tensor, "B N D"]
    counts: Int[Tensor, "B"]
    actions: Float[Tensor, "B A"]


class CriticTrainer:
    """A critic in training, its average and the optimiser.

    Of a window of m + 2 frames (m imagined), the last action included, and a goal k >= 0 frames after frame m::

        loss = - log p(k - j + m | z_j, g)  +  w |a(z_j, g) - a_j|        over j = 0 .. m

    with z_0 recorded, z_1 .. z_m imagined from it with the recorded actions, and z_m recorded once more. k is uniform
    up to what the episode and `most_actions` leave. Source: hindsight relabelling (arXiv 1707.01495) with the number of
    steps as the label, as in arXiv 1912.06088.

    Args:
        config: The run's.
        model: The world model, frozen.
        batches: Gives frames, actions and poses.
    """

    def __init__(self, config: TrainCriticConfig, model: VJEPA2AC, batches: WindowBatches) -> None:
        self.config, self.model, self.batches = config, model, batches
        encoder, spec = model.encoder, model.action_spec
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            shape = CriticConfig(
                encoder.tokens, encoder.width, len(model.statistics.pose_mean), spec.size, config.width, config.depth,
                config.heads, config.most_actions,
            )  # fmt: skip
            self.critic = Critic(shape)
        self.average = copy.deepcopy(self.critic)
        self.optimizer = make_adamw((self.critic,), config.learning_rate, config.weight_decay)
        split = split_episodes(len(batches.lengths), config.held_out, config.seed)
        frames = config.imagined + 2
        self.windows, self.held_out = (batches.windows(part, frames) for part in (split.training, split.held_out))
        self.shuffle = Shuffle(len(self.windows), config.seed)

    def step(self, step: int) -> dict[str, float]:
        """Takes one optimiser step; returns its losses, and when due the held-out errors."""
        config = self.config
        share = learning_rate_factor(step, config.steps, config.warmup, "cosine", 0.01)
        set_learning_rate(self.optimizer, config.learning_rate * share)
        pairs = self.pairs(self.windows, self.shuffle.batch(step, config.batch), (config.seed, step))
        count_loss, action_loss = self.losses(self.critic, pairs)
        self.optimizer.zero_grad(set_to_none=True)
        (count_loss + config.action_weight * action_loss).backward()
        if config.clip:
            nn.utils.clip_grad_norm_(self.critic.parameters(), config.clip)
        self.optimizer.step()
        update_average(self.average, self.critic, min(config.average, (1 + step) / (10 + step)))
        measured = {"count": count_loss.item(), "action": action_loss.item()}
        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
            measured |= {f"held_out/{name}": value for name, value in self.evaluate().items()}
        return measured

    def losses(self, critic: Critic, pairs: Pairs) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Returns the mean cross-entropy of the counts and the mean absolute error of the first actions."""
        logits, actions = critic(pairs.tokens, pairs.poses, pairs.goals)
        counted = functional.cross_entropy(logits, pairs.counts)
        under_way = (pairs.counts > 0).to(actions)[:, None]
        missed = ((actions - pairs.actions).abs() * under_way).sum() / (under_way.sum() * actions.shape[1])
        return counted, missed

    @torch.no_grad()
    def pairs(self, windows: Windows, numbers: Int[np.ndarray, " B"], seed: tuple[int, ...]) -> Pairs:
        """Returns frames and goals of numbered windows; what is random comes from the seed."""
        last = self.config.imagined
        batch = self.batches.gather(windows, numbers)
        episodes, starts = windows.locate(numbers)
        left = np.array([self.batches.lengths[episode] for episode in episodes]) - 1 - starts - last * windows.stride
        most = np.minimum(left // windows.stride, self.config.most_actions)
        ahead = np.random.default_rng(seed).integers(0, most + 1)
        goals = self.batches.latents.windows(episodes, starts + (last + ahead) * windows.stride, 1)[:, 0].float()
        tokens = torch.cat([self._imagine(batch), batch.tokens[:, last : last + 1].float()], dim=1)  # (B, m + 2, N, D)
        places = torch.tensor([*range(last + 1), last])
        counts = torch.from_numpy(ahead)[:, None] + last - places
        poses = self.model.normalise_poses(batch.poses[:, places])
        actions = self.model.normalise_actions(batch.actions[:, places])
        judged = len(places)
        return Pairs(
            tokens.flatten(0, 1),
            poses.flatten(0, 1),
            goals.repeat_interleave(judged, dim=0),
            counts.clamp_max(self.config.most_actions).flatten(),
            actions.flatten(0, 1),
        )

    def _imagine(self, batch: Batch) -> Float[Tensor, "B m+1 N D"]:
        """Returns each window's first frame and what the world model imagines after it."""
        recorded = batch.tokens[:, :1].float()
        imagined = self.model.follow(recorded, batch.actions[:, : self.config.imagined], batch.poses)
        return torch.cat([recorded, imagined], dim=1)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Returns the errors of the averaged critic on held-out windows, and those of always guessing the mean."""
        total = min(self.config.evaluate_windows, len(self.held_out))
        numbers = np.linspace(0, len(self.held_out) - 1, total).round().astype(np.int64)
        parts = []
        for first in range(0, total, 64):
            pairs = self.pairs(self.held_out, numbers[first : first + 64], (self.config.seed, first))
            logits, actions = self.average(pairs.tokens, pairs.poses, pairs.goals)
            guessed, true = self.average.mean_count(logits), pairs.counts.float()
            missed = (actions - pairs.actions).abs().mean(dim=1)[pairs.counts > 0].mean()
            still = pairs.actions.abs().mean(dim=1)[pairs.counts > 0].mean()
            values = functional.cross_entropy(logits, pairs.counts), (guessed - true).abs().mean()
            parts.append(torch.stack([*values, (true - true.mean()).abs().mean(), missed, still]))
        names = ("cross_entropy", "count_error", "count_error_of_the_mean", "action_error", "action_error_of_the_mean")
        return dict(zip(names, torch.stack(parts).mean(dim=0).tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Returns all that a resumed run needs."""
        parts = {"critic": self.critic, "average": self.average, "optimizer": self.optimizer}
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        for name in ("critic", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])


def train_critic(
    config: TrainCriticConfig, model: VJEPA2AC, batches: WindowBatches, report: Report, provenance: Mapping[str, Any]
) -> Manifest | None:
    """Trains, or goes on training, saves the checkpoint with its critic and returns its manifest; None if interrupted.

    Args:
        config: The run's.
        model: Of the parent, frozen.
        batches: Gives the windows.
        report: Gets every step's measurements.
        provenance: How the critic was made, plain values.

    Raises:
        StateError: If the output directory holds the state of another run.
    """
    trainer = CriticTrainer(config, model, batches)
    if not run_steps(trainer, config, SESSION_FIELDS, batches.latents.key, report):
        return None
    parent = read_manifest(find_checkpoint(config.parent))
    model.critic = trainer.average.requires_grad_(False).eval()
    made = {**provenance, "config": dump_config(config), "metrics": trainer.evaluate()}
    training = {**parent.training, "critic": made}
    return save_checkpoint(
        config.checkpoint_directory, model, training=training, fps=parent.fps, licence=parent.licence,
        parent=parent.parent,
    )  # fmt: skip
