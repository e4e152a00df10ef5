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
from world_model.batches import WindowBatches
from world_model.checkpoint import Manifest, find_checkpoint, read_manifest, save_checkpoint
from world_model.clips import Shuffle, split_episodes
from world_model.critic import Critic, CriticConfig
from world_model.goal_pairs import WAYPOINTS, Frames, GoalPairs
from world_model.loop import Report, learning_rate_factor, make_adamw, run_steps, set_learning_rate, update_average
from world_model.vjepa2_ac import VJEPA2AC

_FITTED = 30_000
"""Recorded actions whose modes are taken."""

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
        look_width: See `CriticConfig`, and so on to most_actions.
        slots: Things that the critic looks for in an image.
        slot_width: Numbers that it keeps of each.
        width: Of the network that compares frame and goal.
        depth: Number of its blocks before the number of actions is told, and of those after it.
        most_actions: Frames and goals are at most so far apart.
        modes: Typical actions that the first one is told by.
        imagined: The most frames in a row that the world model imagines from a recorded one; one frame of every other
            episode is replaced by such a one.
        frames: Frames that are drawn from each episode of a batch.
        pairs: Pairs of them that are judged.
        things: Frames a step from which it learns where things lie.
        steps: Optimiser steps.
        batch: Episodes a step.
        learning_rate: At its peak.
        warmup: Steps of linear rise; a cosine falls after them.
        weight_decay: AdamW's, not on biases and norms.
        clip: Largest gradient norm; 0 for none.
        average: Momentum of the averaged weights that are judged and saved.
        held_out: Share of episodes that is judged by and never trained on.
        evaluate_every: Steps between evaluations.
        evaluate_episodes: Held-out episodes an evaluation takes.
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
    look_width: int = 128
    slots: int = 16
    slot_width: int = 8
    width: int = 256
    depth: int = 2
    most_actions: int = 24
    modes: int = 96
    imagined: int = 2
    frames: int = 8
    pairs: int = 16
    things: int = 192
    steps: int = 3000
    batch: int = 64
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.04
    clip: float = 1.0
    average: float = 0.995
    held_out: float = 0.05
    evaluate_every: int = 500
    evaluate_episodes: int = 128
    save_every: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "learning_rate", "evaluate_every", "evaluate_episodes", "save_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if min(self.imagined, self.pairs, self.things) < 1 or self.frames < 2 or not 0 <= self.average < 1:
            raise ValueError(
                "imagined, pairs and things must be at least 1, frames at least 2 and average in 0 .. 1, got "
                f"{self.imagined}, {self.pairs}, {self.things}, {self.frames} and {self.average}"
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
class Errors:
    """What a critic is trained by, each a scalar.

    Attributes:
        count: Cross-entropy of the number of actions.
        mode: Cross-entropy of the first action's mode.
        action: Mean absolute error of the first action, given its mode, in its std.
        pose: Mean absolute error of the poses that frames alone are read to show, in their std.
        way: Mean absolute error of the poses some actions later, in their std.
    """

    count: Float[Tensor, ""]
    mode: Float[Tensor, ""]
    action: Float[Tensor, ""]
    pose: Float[Tensor, ""]
    way: Float[Tensor, ""]


class Student(nn.Module):
    """A critic and a head that is thrown away after training, which tells it sooner what to look for.

    Attributes:
        critic: What is kept.
        way_head: Where the arm will be some actions on, from what the first action is told from.
    """

    def __init__(self, config: CriticConfig) -> None:
        super().__init__()
        self.critic = Critic(config)
        self.way_head = nn.Linear(config.width, len(WAYPOINTS) * config.pose_size)


class CriticTrainer:
    """A critic in training, its average and the optimiser.

    Of a frame t and a goal k >= 0 frames after it in the same episode::

        loss = - log p(k | z_t, g)  -  log p(mode of a_t | z_t, g, k)  +  3 |a(z_t, g, k, mode) - a_t|
               + 2 |way(z_t, g, k) - way_t|  +  4 |pose(z_t) - pose_t|  +  4 |finder(z) - place|

    z_t is recorded, or imagined from the recorded frame and actions just before, because a planner shows nothing else
    to the critic. Each of an episode's frames is a frame in some pairs and a goal in others, so that looking at it pays
    several times. The places are those of `grips.lying_places`, in other frames z. Source: hindsight relabelling (arXiv
    1707.01495) with the number of steps as the label and given to the policy, as in arXiv 1912.06088.

    Args:
        config: The run's.
        model: The world model, frozen.
        batches: Gives frames, actions and poses.
    """

    def __init__(self, config: TrainCriticConfig, model: VJEPA2AC, batches: WindowBatches) -> None:
        self.config = config
        encoder, spec = model.encoder, model.action_spec
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            shape = CriticConfig(
                encoder.tokens, encoder.width, len(model.statistics.pose_mean), spec.size, config.look_width,
                config.slots, config.slot_width, config.width, config.depth, config.most_actions, config.modes,
            )  # fmt: skip
            self.student = Student(shape)
        split = split_episodes(len(batches.lengths), config.held_out, config.seed)
        recorded = np.concatenate([batches.actions[episode] for episode in split.training])
        chosen = np.random.default_rng(config.seed).permutation(len(recorded))[:_FITTED]
        actions = model.normalise_actions(torch.from_numpy(recorded[chosen]))
        self.student.critic.action_head.fit(actions, config.seed)
        self.average = copy.deepcopy(self.student)
        self.optimizer = make_adamw((self.student,), config.learning_rate, config.weight_decay)
        self.draws = GoalPairs(
            model, batches, frames=config.frames, pairs=config.pairs, imagined=config.imagined,
            most_actions=config.most_actions,
        )  # fmt: skip
        self.training, self.held_out = (self.draws.long_enough(part) for part in (split.training, split.held_out))
        self.training_things, self.held_out_things = map(self.draws.things, (split.training, split.held_out))
        self.shuffle = Shuffle(len(self.training), config.seed)

    def step(self, step: int) -> dict[str, float]:
        """Takes one optimiser step; returns its losses, and when due the held-out errors."""
        config = self.config
        share = learning_rate_factor(step, config.steps, config.warmup, "cosine", 0.01)
        set_learning_rate(self.optimizer, config.learning_rate * share)
        chosen = self.training[self.shuffle.batch(step, config.batch)]
        errors = self.errors(self.student, self.draws.draw(chosen, (config.seed, step)))
        loss = errors.count + errors.mode + 3.0 * errors.action + 4.0 * errors.pose + 2.0 * errors.way
        place = self.place_error(self.student.critic, self.training_things, (config.seed, step))
        loss = loss + 4.0 * place
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip:
            nn.utils.clip_grad_norm_(self.student.parameters(), config.clip)
        self.optimizer.step()
        update_average(self.average, self.student, min(config.average, (1 + step) / (10 + step)))
        measured = {name: getattr(errors, name).item() for name in ("count", "mode", "action", "pose", "way")}
        measured["place"] = place.item()
        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
            measured |= {f"held_out/{name}": value for name, value in self.evaluate().items()}
        return measured

    def errors(self, student: Student, frames: Frames) -> Errors:
        """Returns a critic's errors."""
        critic, (now, then) = student.critic, frames.pairs
        seen = critic.look(frames.tokens.flatten(0, 1)).unflatten(0, frames.places.shape)  # (E, F, V)
        poses = critic.told_pose(seen)
        there = frames.replaced >= 0
        judged = seen.clone()
        judged[there, frames.replaced[there]] = critic.look(frames.imagined[there])
        counts = (frames.places[:, then] - frames.places[:, now]).flatten()
        given = frames.poses[:, now].flatten(0, 1)
        logits, compared = critic.compare(judged[:, now].flatten(0, 1), given, seen[:, then].flatten(0, 1))
        told = critic.pursue(compared, counts)
        under_way = counts > 0
        return Errors(
            functional.cross_entropy(logits, counts),
            *critic.action_head.errors(told[under_way], frames.actions[:, now].flatten(0, 1)[under_way]),
            (poses - frames.poses).abs().mean(),
            (student.way_head(told) - frames.ways.flatten(0, 1).flatten(1)).abs().mean(),
        )

    def place_error(self, critic: Critic, things: Int[np.ndarray, " M"], seed: tuple[int, ...]) -> Float[Tensor, ""]:
        """Returns how far off a critic finds things, the mean in the std of positions; 0 if none is known."""
        if not len(things):
            return torch.zeros(())
        tokens, places = self.draws.draw_things(things, self.config.things, seed)
        return (critic.finder(tokens) - places).abs().mean()

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Returns the errors of the averaged critic on held-out pairs, and those of always guessing the mean."""
        critic, parts = self.average.critic, []
        for first in range(0, min(self.config.evaluate_episodes, len(self.held_out)), 32):
            frames = self.draws.draw(self.held_out[first : first + 32], (self.config.seed, first))
            now, then = frames.pairs
            counts = (frames.places[:, then] - frames.places[:, now]).flatten()
            seen = critic.look(frames.tokens.flatten(0, 1)).unflatten(0, frames.places.shape)
            given, actions = frames.poses[:, now].flatten(0, 1), frames.actions[:, now].flatten(0, 1)
            logits, compared = critic.compare(seen[:, now].flatten(0, 1), given, seen[:, then].flatten(0, 1))
            told, true, moves = critic.action_head(critic.pursue(compared, counts)), counts.float(), counts > 0
            values = (
                functional.cross_entropy(logits, counts),
                (critic.mean_count(logits) - true).abs().mean(),
                (true - true.mean()).abs().mean(),
                (told - actions).abs()[moves].mean(),
                actions.abs()[moves].mean(),
            )
            parts.append(torch.stack(values))
        names = ("cross_entropy", "count_error", "count_error_of_the_mean", "action_error", "action_error_of_the_mean")
        errors = dict(zip(names, torch.stack(parts).mean(dim=0).tolist(), strict=True))
        return errors | {"place_error": self.place_error(critic, self.held_out_things, (self.config.seed,)).item()}

    def state_dict(self) -> dict[str, Any]:
        """Returns all that a resumed run needs."""
        parts = {"student": self.student, "average": self.average, "optimizer": self.optimizer}
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        for name in ("student", "average", "optimizer"):
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
    model.critic = trainer.average.critic.requires_grad_(False).eval()
    made = {**provenance, "config": dump_config(config), "metrics": trainer.evaluate()}
    training = {**parent.training, "critic": made}
    return save_checkpoint(
        config.checkpoint_directory, model, training=training, fps=parent.fps, licence=parent.licence,
        parent=parent.parent,
    )  # fmt: skip
