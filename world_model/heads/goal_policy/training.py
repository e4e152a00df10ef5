"""Training of the critic of a finished world model, on the same cached latents."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from envs.config import dump_config
from world_model.checkpoints.checkpoint import Manifest, find_checkpoint, read_manifest, save_checkpoint
from world_model.data.batches import WindowBatches
from world_model.data.clips import split_episodes
from world_model.device import autocast, resolve_precision
from world_model.finite import check_measured
from world_model.heads.goal_policy.config import TrainCriticConfig
from world_model.heads.goal_policy.critic import OPEN, Critic, CriticConfig
from world_model.heads.goal_policy.frame_table import FrameTable
from world_model.heads.goal_policy.sight import Sight
from world_model.training.loop import (
    Report,
    clip_gradients,
    learning_rate_factor,
    make_adamw,
    set_learning_rate,
    update_average,
)
from world_model.training.run import run_steps
from world_model.vjepa2_ac import VJEPA2AC

logger = logging.getLogger(__name__)


_FITTED = 30_000
"""Recorded actions whose modes are taken."""

_IMAGINED = 0.25
"""Share of the frames that are imagined, if any are."""

_FROM_HAND = (0.015, 0.04, 0.08, 0.15)
"""Frames are drawn as often where the thing lies nearer to the hand than the first of these, between the first and the
second, and so on, and beyond the last [m]. Where its place is known, a hand that is near is nearly always over it: what
learns from that takes the hand for the thing wherever it does not see it well, in the images of a push above all."""

_CELL, _FEW = 0.05, 30
"""Frames to read the pose in are drawn as often from each cube of such edges [m] that the hand has been in; of a cube
with fewer than the few, each as often as if there were so many. As they come, 1.4 % are of a hand 20 cm or higher and
less than 39 cm before the base, where tasks go as often as elsewhere, and one in seven of these was read over 35 mm
off."""

_THERE = 0.015
"""A thing is where a goal whose pose is open has it, if it is seen so near to there [m]."""

_STATE = ("critic", "average", "look_optimizer", "judge_optimizer")


class CriticTrainer:
    """A critic in training, its average and the optimisers.

    First it learns to read images, by what recordings say about them (see `grips`)::

        loss = |place(z) - place|  +  cross-entropy of held(z)  +  |pose(z) - pose|

    each of frames z that are drawn for it, a quarter of them imagined. Then all frames are read once, and of a frame t
    and a goal k >= 0 frames after it in the same episode it learns::

        loss = - log p(k | t, g)  -  log p(mode of a_t | t, g, k)  +  3 |a(t, g, k, mode) - a_t|

    the last two of actions that move anything. No image is read twice for the second part, which makes it four times
    as quick as learning both at once. Where the goal's pose is left open, k is the number of actions until the thing is
    where it is at t + k. Source: hindsight relabelling (arXiv 1707.01495) with the number of steps as the
    label and given to the policy, as in arXiv 1912.06088.

    Args:
        config: The run's.
        model: The world model, frozen.
        batches: Gives frames, actions and poses.

    Raises:
        ValueError: If the held-out or the other episodes have no two frames.
    """

    def __init__(self, config: TrainCriticConfig, model: VJEPA2AC, batches: WindowBatches) -> None:
        self.config = config
        grid, spec = model.predictor.config, model.action_spec
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            shape = CriticConfig(
                grid.grid_height, grid.grid_width, model.encoder.width, len(model.statistics.pose_mean), spec.size,
                config.look_width, config.width, config.depth, config.most_actions, config.modes,
                config.open_goals > 0,
            )  # fmt: skip
            self.critic = Critic(shape)
        self.table = FrameTable(model, batches)
        split = split_episodes(len(batches.lengths), config.held_out, config.seed)
        parts = {"training": self.table.of(split.training), "held-out": self.table.of(split.held_out)}
        self._starts = {name: np.flatnonzero(part & (self.table.left > 0)) for name, part in parts.items()}
        for name, rows in self._starts.items():
            if not len(rows):
                raise ValueError(f"no {name} episode has two frames: record longer ones, or more of them")
        self._labelled = {name: self._find_labelled(part) for name, part in parts.items()}
        moving = np.flatnonzero(parts["training"] & self.table.moves)
        chosen = np.random.default_rng(config.seed).permutation(moving)[:_FITTED]
        self.critic.action_head.fit(self.table.actions[chosen], config.seed)
        self.average = copy.deepcopy(self.critic)
        self.look_optimizer = make_adamw((self.critic.sight,), config.learning_rate, config.weight_decay)
        judging = [part for name, part in self.critic.named_children() if name != "sight"]
        self.judge_optimizer = make_adamw(judging, config.learning_rate, config.weight_decay)
        self._precision: Literal["bf16", "fp32"] = resolve_precision(config.precision, torch.device("cpu"))
        self._blur = _make_blur(config, model, self.table.gripper)
        self._metres = model.pose_std[: shape.place_size]  # of a normalised position
        self._seen: Float[Tensor, "I F V"] | None = None
        draws = {"place": self._even_ways, "pose": self._even_positions}
        labelled = self._labelled["training"]
        self._likely = {name: draw(labelled[name]) for name, draw in draws.items() if name in labelled}

    def step(self, step: int) -> dict[str, float]:
        """Takes one optimiser step; returns its losses, and when due the held-out errors."""
        config, looking = self.config, step < self.config.look_steps
        optimizer = self.look_optimizer if looking else self.judge_optimizer
        nth, steps = (step, config.look_steps) if looking else (step - config.look_steps, config.judge_steps)
        share = learning_rate_factor(nth, steps, config.warmup, "cosine", 0.01)
        set_learning_rate(optimizer, config.learning_rate * share)
        if nth == 0 and not looking:  # what was learnt of looking is done with
            self.critic.sight.load_state_dict(self.average.sight.state_dict())
        losses = (self._look if looking else self._judge)(step)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        parameters = [weights for group in optimizer.param_groups for weights in group["params"]]
        norm = clip_gradients(parameters, config.clip)
        *values, length = torch.stack([*(loss.detach() for loss in losses.values()), norm]).tolist()
        measured: dict[str, float] = dict(zip(losses, values, strict=True))
        check_measured({**measured, "the gradient's norm": length})  # before the weights change
        optimizer.step()
        update_average(self.average, self.critic, min(config.average, (1 + nth) / (10 + nth)))
        if (nth + 1) % config.evaluate_every == 0 or nth + 1 == steps:
            errors = self.evaluate_looking() if looking else self.evaluate()
            measured |= {f"held_out/{name}": value for name, value in errors.items()}
        return measured

    def _look(self, step: int) -> dict[str, Float[Tensor, ""]]:
        """Returns the losses of reading images."""
        generator, losses = np.random.default_rng((self.config.seed, step)), {}
        for name, known in self._labelled["training"].items():
            rows = generator.choice(known, self.config.look_batch, p=self._likely.get(name))
            tokens = self._tokens(rows, generator)
            with autocast(self._precision, tokens.device):
                told, true = self._read(self.critic.sight, name, rows, tokens)
            wrong = functional.binary_cross_entropy_with_logits if name == "held" else functional.l1_loss
            losses[name] = wrong(told.float(), true)
        return losses

    def _find_labelled(self, frames: Bool[np.ndarray, " F"]) -> dict[str, Int[np.ndarray, " B"]]:
        """Returns of which frames it is known what can be read in them, by name; what is known of none is left out."""
        known = {name: np.flatnonzero(frames & label.known) for name, label in self.table.labels.items()}
        return {name: rows for name, rows in known.items() if len(rows)}

    def _even_ways(self, rows: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Returns how likely frames with a known place are to be drawn, see `_FROM_HAND`."""
        way = (self.table.labels["place"].values[rows] - self.table.poses[rows, : len(self._metres)]) * self._metres
        return evenly(np.digitize(way[:, :2].norm(dim=1).numpy(), _FROM_HAND))

    def _even_positions(self, rows: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Returns how likely frames with a known pose are to be drawn, see `_CELL`."""
        cells = (self.table.poses[rows, : len(self._metres)] * self._metres / _CELL).floor()
        return evenly(np.unique(cells.numpy(), axis=0, return_inverse=True)[1].reshape(-1), _FEW)

    def _read(
        self, sight: Sight, name: str, rows: Int[np.ndarray, " B"], tokens: Float[Tensor, "B N D"]
    ) -> tuple[Float[Tensor, "B *V"], Float[Tensor, "B *V"]]:
        """Returns what is read in frames, and what is so."""
        reading = {"place": sight.place, "held": sight.held, "pose": sight.pose}[name]
        return reading(tokens), self.table.labels[name].values[rows]

    def _tokens(self, rows: Int[np.ndarray, " B"], generator: np.random.Generator) -> Float[Tensor, "B N D"]:
        """Returns frames, some of them imagined."""
        tokens = self.table.tokens(rows)
        if self.config.imagined:
            count = round(_IMAGINED * len(rows))
            tokens[:count] = self.table.imagined(rows[:count], 1 + int(generator.integers(self.config.imagined)))
        return tokens

    def _judge(self, step: int) -> dict[str, Float[Tensor, ""]]:
        """Returns the losses of comparing frames and goals."""
        table, seen = self.table, self.seen()
        generator = np.random.default_rng((self.config.seed, step))
        now, counts = self._pairs(self._starts["training"], self.config.pairs, generator)
        before = generator.integers(1, max(2, len(seen)), len(now))
        before[(generator.random(len(now)) >= _IMAGINED) | (len(seen) == 1)] = 0
        left_open = generator.random(len(now)) < self.config.open_goals
        wanted = seen[0, now + counts]
        counts[left_open] = self._until_there(now[left_open], counts[left_open])
        noise = torch.Generator().manual_seed(int(generator.integers(2**62)))
        thing_blur, pose_blur = self._blur
        shaken = [
            each + scale * torch.randn(each.shape, generator=noise)
            for each, scale in (
                (seen[before, now, : len(thing_blur)], thing_blur),
                (table.poses[now], pose_blur),
                (wanted, torch.cat(self._blur)),
            )
        ]
        shaken[2][torch.from_numpy(left_open), -self.critic.config.pose_size :] = OPEN
        logits, compared = self.critic.compare(*shaken)
        number = torch.from_numpy(counts)
        moves = torch.from_numpy(table.moves[now] & (counts > 0))
        told = self.critic.pursue(compared[moves], number[moves])
        mode, action = self.critic.action_head.errors(told, table.actions[now][moves])
        return {"count": functional.cross_entropy(logits, number), "mode": mode, "action": 3.0 * action}

    def _pairs(
        self, frames: Int[np.ndarray, " n"], count: int, generator: np.random.Generator
    ) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
        """Returns some of the frames, and for each the number of actions to its goal."""
        now = generator.choice(frames, count)
        most = np.minimum(self.table.left[now], self.critic.config.most_actions)
        return now, (generator.random(count) * (most + 1)).astype(np.int64)

    def _until_there(self, now: Int[np.ndarray, " B"], counts: Int[np.ndarray, " B"]) -> Int[np.ndarray, " B"]:
        """Returns how many actions after each frame the thing first lies, or is held, as it is `counts` after it."""
        things = self.seen()[0, :, : self.critic.config.place_size + 1]
        ways = np.minimum(np.arange(self.critic.config.most_actions + 1), counts[:, None])
        away = (things[now[:, None] + ways] - things[now + counts][:, None]).abs()  # (B, K, S+1)
        near = (away[..., :-1] * self._metres).norm(dim=-1) < _THERE
        return (near & (away[..., -1] < 1.0)).numpy().argmax(axis=1)

    def seen(self) -> Float[Tensor, "I F V"]:
        """Returns what is seen in all frames: recorded, imagined from 1 action earlier, from 2, ...; read only once."""
        if self._seen is None:
            logger.info("reading %d frames, %d times", len(self.table), 1 + self.config.imagined)
            look = self.average.sight.eval()
            self._seen = torch.stack([self.table.read(look, before) for before in range(self.config.imagined + 1)])
        return self._seen

    @torch.no_grad()
    def evaluate_looking(self) -> dict[str, float]:
        """Returns how wrongly the averaged critic reads held-out images: median distances [m], share of mistakes."""
        errors, generator = {}, np.random.default_rng(self.config.seed)
        for name, known in self._labelled["held-out"].items():
            rows = generator.choice(known, min(len(known), self.config.evaluate_pairs), replace=False)
            wrong = []
            for part in np.array_split(rows, max(1, len(rows) // 512)):
                told, true = self._read(self.average.sight, name, part, self.table.tokens(part))
                if name == "held":
                    wrong.append((told > 0) != (true > 0))
                else:
                    wrong.append(((told - true)[:, : len(self._metres)] * self._metres).norm(dim=1))
            all_wrong = torch.cat(wrong).float()
            errors[f"{name}_error"] = float(all_wrong.mean() if name == "held" else all_wrong.median())
        return errors

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Returns the errors of the averaged critic on held-out pairs, and those of always guessing the mean."""
        critic, table, seen = self.average, self.table, self.seen()[0]
        generator = np.random.default_rng(self.config.seed)
        now, counts = self._pairs(self._starts["held-out"], self.config.evaluate_pairs, generator)
        thing = seen[now, : critic.config.place_size + 1]
        logits, compared = critic.compare(thing, table.poses[now], seen[now + counts])
        number, moves = torch.from_numpy(counts), torch.from_numpy(table.moves[now] & (counts > 0))
        true, actions = number.float(), table.actions[now][moves]
        told = critic.action_head(critic.pursue(compared[moves], number[moves]))
        return {
            "cross_entropy": functional.cross_entropy(logits, number).item(),
            "count_error": (critic.mean_count(logits) - true).abs().mean().item(),
            "count_error_of_the_mean": (true - true.mean()).abs().mean().item(),
            "action_error": (told - actions).abs().mean().item(),
            "action_error_of_the_mean": actions.abs().mean().item(),
        } | self.evaluate_looking()

    def state_dict(self) -> dict[str, Any]:
        """Returns all that a resumed run needs."""
        return {name: getattr(self, name).state_dict() for name in _STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        for name in _STATE:
            getattr(self, name).load_state_dict(state[name])
        self._seen = None


def evenly(parts: Int[np.ndarray, " B"], few: int = 1) -> Float[np.ndarray, " B"]:
    """Returns probabilities by which each part is drawn as often as any other.

    Args:
        parts: Which part each belongs to, counted from 0.
        few: A part with fewer of them than this is drawn less often, each of it as often as if there were so many.
    """
    weights = 1.0 / np.maximum(np.bincount(parts), few)[parts]
    return weights / weights.sum()


def _make_blur(
    config: TrainCriticConfig, model: VJEPA2AC, gripper: int | None
) -> tuple[Float[Tensor, "S+1"], Float[Tensor, "P"]]:
    """Returns the standard deviation of the noise on what is seen of the thing and on a pose, normalised as these."""
    position, angle, closedness, held = config.blur
    pose = torch.full_like(model.pose_std, position)
    pose[[index for index in model.motion.angles if index < len(pose)]] = angle
    if gripper is not None:
        pose[gripper] = closedness
    pose = pose / model.pose_std
    return torch.cat([pose[:3], pose.new_tensor([held])]), pose


def train_critic(
    config: TrainCriticConfig, model: VJEPA2AC, batches: WindowBatches, report: Report, provenance: Mapping[str, Any]
) -> Manifest | None:
    """Trains, or goes on training, saves the checkpoint with its critic and returns its manifest; None if interrupted.

    Raises:
        StateError: If the output directory holds the state of another run.
        DivergedError: If something is not finite, see `run_steps`.
    """
    trainer = CriticTrainer(config, model, batches)
    if not run_steps(trainer, config, config.session, batches.latents.key, report):
        return None
    parent = read_manifest(find_checkpoint(config.parent))
    model.add_head("goal_policy", trainer.average.requires_grad_(False).eval())
    made = {**provenance, "config": dump_config(config), "metrics": trainer.evaluate()}
    training = {**parent.training, "critic": made}
    return save_checkpoint(
        config.checkpoint_directory, model, training=training, fps=parent.fps, licence=parent.licence,
        parent=parent.parent,
    )  # fmt: skip
