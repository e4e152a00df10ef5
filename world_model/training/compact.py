"""Training of a compact world model: trunk, readout and dynamics learn together, from recordings without labels."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from envs.config import Choice
from world_model.checkpoints.checkpoint import Manifest, read_manifest, save_checkpoint
from world_model.compact import CompactModel, pose_numbers
from world_model.data.batches import RecordedWindows
from world_model.data.clips import Shuffle, Windows, split_episodes
from world_model.data.joined import JoinedFrames
from world_model.device import autocast, find_device, resolve_precision
from world_model.encoders.readout import Readout, ReadoutConfig
from world_model.encoders.registry import StoredEncoder
from world_model.encoders.trunks import TRUNKS
from world_model.finite import CollapsedError, check_measured
from world_model.heads.bank import HEAD, Bank, spread
from world_model.heads.ways import InverseDynamics
from world_model.heads.ways_config import InverseDynamicsConfig, InverseDynamicsShape
from world_model.load import load_world_model
from world_model.predictors.compact import CompactDynamics, DynamicsConfig
from world_model.training.compact_config import CompactConfig
from world_model.training.held_out import choose_windows, latent_errors
from world_model.training.loop import Report, clip_gradients, learning_rate_factor, make_adamw, set_learning_rate
from world_model.training.run import run_steps
from world_model.training.sigreg import sigreg
from world_model.training.widening import widen

logger = logging.getLogger(__name__)

INVERSE_WIDTH = 256
POSE_BLUR = 0.05  # of a std: what a pose tells of the past, and so of what comes next, without looking
_ABREAST = 16  # pixels that a product of matrices turns at once: one of three colours alone is slow
_STATE = ("model", "inverse", "ways", "optimizer")


class ImageBatch(NamedTuple):
    """Windows of T frames, physical units.

    Attributes:
        images: Camera images.
        actions: Action t leads from frame t to frame t + 1.
        poses: Measured poses.
        goals: A later frame of each window's episode.
        goal_poses: Its poses.
        ahead: How many actions it is after the window's last frame.
    """

    images: UInt8[Tensor, "B T h w 3"]
    actions: Float[Tensor, "B T-1 A"]
    poses: Float[Tensor, "B T P"]
    goals: UInt8[Tensor, "B 1 h w 3"]
    goal_poses: Float[Tensor, "B P"]
    ahead: Int[Tensor, "B"]


class ImageBatches:
    """Gives batches of numbered windows of decoded frames.

    Args:
        recorded: Poses and actions of the episodes.
        frames: Their decoded frames.

    Raises:
        ValueError: If these are not of the same episodes.
    """

    def __init__(self, recorded: RecordedWindows, frames: JoinedFrames) -> None:
        self.recorded, self.frames = recorded, frames
        if frames.lengths != recorded.lengths:
            raise ValueError("the decoded frames are of other episodes than the data: their lengths differ")

    @property
    def key(self) -> str:
        """Hash of what is learnt from."""
        return self.frames.key

    def gather(self, windows: Windows, numbers: Int[np.ndarray, " B"], ahead: Int[np.ndarray, " B"]) -> ImageBatch:
        """Returns the numbered windows, and the frame so many actions after each, at most its episode's last."""
        poses, actions = self.recorded.motion(windows, numbers)
        (episodes, starts), stride = windows.locate(numbers), self.recorded.stride
        ends = starts + (windows.frames - 1) * stride
        ahead = np.minimum(ahead, (np.asarray(self.recorded.lengths)[episodes] - 1 - ends) // stride)
        images, goals = (
            torch.from_numpy(self.frames.windows(episodes, first, frames, stride))
            for first, frames in ((starts, windows.frames), (ends + ahead * stride, 1))
        )
        last = zip(episodes, ends + ahead * stride, strict=True)
        goal_poses = torch.from_numpy(np.stack([self.recorded.poses[episode][frame] for episode, frame in last]))
        return ImageBatch(images, actions, poses, goals, goal_poses, torch.from_numpy(ahead))


class CompactLosses(NamedTuple):
    """What is minimised, and its parts, each a scalar.

    Attributes:
        total: The weighted sum.
        prediction: Mean squared error of one step from measured frames.
        rollout: The same of further steps, predictions fed back.
        regulariser: SIGReg.
        inverse: Mean squared error of the pose's way, in its standard deviations.
        ways: Of multi-step inverse dynamics, see `WayErrors.total`.
    """

    total: Float[Tensor, ""]
    prediction: Float[Tensor, ""]
    rollout: Float[Tensor, ""]
    regulariser: Float[Tensor, ""]
    inverse: Float[Tensor, ""]
    ways: Float[Tensor, ""]


class CompactTrainer:
    """A compact world model in training.

    With z = readout(encoder(image)), f the dynamics, g the inverse dynamics and windows of T frames::

        L =   mean |f(z_t, s_t, a_t) - z_{t+1}|^2                       one step from every frame
            + w mean |f(... f(z_t, s_t, a_t) ..., a_{t+r}) - z_{t+r+1}|^2    r = 1 .. R - 1, predictions fed back
            + lambda mean_t SIGReg({z_t of the batch})
            + mu mean |g(z_t, z_{t+k} - z_t) - (s_{t+k} - s_t)|^2       k drawn anew each step
            + nu mean -log p(n, a_t | z_t, s_t, z_{t+n})                n actions to a goal, multi-step inverse dynamics

    Gradients flow into both sides of every error: SIGReg alone keeps the latents from collapsing, there is no averaged
    target and no stop-gradient. Everything random in a step derives from the seed and the step's number, so parameters,
    buffers and optimiser are the whole state.

    Source: LeJEPA (arXiv 2511.08544); LeWM (arXiv 2603.19312); inverse dynamics from differences as Delta-JEPA
    (arXiv 2606.31232); multi-step inverse dynamics as AC-State (arXiv 2207.08229).

    Args:
        config: The run's.
        batches: Gives the windows.
    """

    def __init__(self, config: CompactConfig, batches: ImageBatches) -> None:
        self.config, self.batches = config, batches
        self.device = find_device(config.device)
        self.precision: Literal["bf16", "fp32"] = resolve_precision(config.precision, self.device)
        self.split = split_episodes(len(batches.recorded.lengths), config.held_out, config.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = make_compact(config, batches.recorded, self.split.training).to(self.device).train()
            size = config.latents.latents * config.latents.width
            pose_size = len(self.model.statistics.pose_mean)
            self.inverse = nn.Sequential(
                nn.Linear(2 * size, INVERSE_WIDTH), nn.GELU(), nn.Linear(INVERSE_WIDTH, pose_size)
            ).to(self.device)
            self.ways = make_inverse_dynamics(self.model, config.inverse_dynamics).to(self.device)
        recorded = np.concatenate([batches.recorded.actions[episode] for episode in self.split.training])
        if config.ways:
            normalised = self.model.normalise_actions(torch.from_numpy(recorded).to(self.device))
            self.ways.restrict(*self.model.free(normalised), self.model.action_spec.gripper)
            self.ways.fit(normalised, config.seed)
        self.optimizer = make_adamw(self._parts, config.learning_rate, config.weight_decay)
        self.windows = batches.recorded.windows(self.split.training, config.frames)
        self.held_out = batches.recorded.windows(self.split.held_out, config.evaluate_horizon + 1)
        self.shuffle = Shuffle(len(self.windows), config.seed)

    @property
    def _parts(self) -> tuple[nn.Module, ...]:
        """All that learns."""
        return (self.model, self.inverse, self.ways) if self.config.ways else (self.model, self.inverse)

    def step(self, step: int) -> dict[str, float]:
        """Takes one optimiser step; returns its losses, and when due the held-out errors. See `Trainer.step`."""
        config = self.config
        share = learning_rate_factor(step, config.steps, config.warmup, "cosine", config.final_learning_rate)
        set_learning_rate(self.optimizer, config.learning_rate * share)
        ahead = np.random.default_rng((config.seed, step)).integers(1, config.furthest + 1, config.batch)
        batch = self.batches.gather(self.windows, self.shuffle.batch(step, config.batch), ahead)
        with torch.random.fork_rng(devices=[]), autocast(self.precision, self.device):
            torch.manual_seed(config.seed * 1_000_003 + step)  # of dropout
            losses = self.losses(batch, step)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        norm = clip_gradients([each for part in self._parts for each in part.parameters()], config.clip)
        *values, length = torch.stack([*losses, norm]).detach().float().tolist()  # the device is waited for once a step
        measured: dict[str, float] = dict(zip(CompactLosses._fields, values, strict=True))
        check_measured({**measured, "the gradient's norm": length})  # before the weights change
        self.optimizer.step()
        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
            errors = self.evaluate()
            self._check_rank(errors["rank"])
            measured |= {f"held_out/{name}": value for name, value in errors.items()}
        return measured

    def losses(self, batch: ImageBatch, step: int) -> CompactLosses:
        """Returns the losses of a batch; what is random is fixed by the step's number."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        config, frames = self.config, batch.images.shape[1]
        shown = torch.cat([batch.images, batch.goals], dim=1) if config.ways else batch.images
        images = shown.to(self.device)
        pixels = self.model.encoder.preprocess(images.flatten(0, 1))
        rise = (step + 1) / (config.jitter_from * config.steps) - 1 if config.jitter_from else 1.0
        seen = self.model.latents(jitter_colours(pixels, config.jitter * min(1.0, max(0.0, rise)), generator))
        seen = seen.flatten(1).unflatten(0, images.shape[:2])  # (B, T, Z), with a goal at its end if asked for
        latents, goals = seen[:, :frames], seen[:, frames:]
        poses, actions = batch.poses.to(self.device), batch.actions.to(self.device)
        first, *further = self._rollout_errors(latents, poses, actions)
        rollout = torch.stack(further).mean() if further else first.new_zeros(())
        regulariser = torch.stack([sigreg(frame.float(), generator) for frame in latents.unbind(1)]).mean()
        inverse = self._inverse_error(latents, poses, generator)
        ways = first.new_zeros(())
        if config.ways:
            ways = self._way_error(latents, goals, batch)
        parts = (first, rollout, regulariser, inverse, ways)
        weights = (1.0, config.rollout_weight, config.regulariser, config.inverse, config.ways)
        total = torch.stack([weight * part for weight, part in zip(weights, parts, strict=True)]).sum()
        return CompactLosses(total, *parts)

    def _rollout_errors(
        self, latents: Float[Tensor, "B T Z"], poses: Float[Tensor, "B T P"], actions: Float[Tensor, "B T-1 A"]
    ) -> list[Float[Tensor, ""]]:
        """Returns the mean squared error of each step fed back, each from every frame that has a frame to compare."""
        errors, predicted, frames, known = [], latents, latents.shape[1], poses
        for step in range(self.config.rollout_steps):
            starts = frames - 1 - step  # frames from which a rollout of step + 1 actions stays in the window
            given = predicted[:, :starts].flatten(0, 1)
            now, done = known[:, :starts].flatten(0, 1), actions[:, step : step + starts].flatten(0, 1)
            predicted = self.model.predict(given, now, done).unflatten(0, (-1, starts))
            known = self.model.motion.compose(now, done).unflatten(0, (-1, starts))  # as in planning
            errors.append((predicted - latents[:, step + 1 :]).square().mean())
        return errors

    def _inverse_error(
        self, latents: Float[Tensor, "B T Z"], poses: Float[Tensor, "B T P"], generator: torch.Generator
    ) -> Float[Tensor, ""]:
        """Returns how wrong the way of the pose over some frames is read from latents and their difference."""
        apart = int(torch.randint(1, latents.shape[1], (), generator=generator))
        start, end = latents[:, :-apart], latents[:, apart:]
        way = self.model.motion.difference(poses[:, :-apart], poses[:, apart:]) / self.model.pose_std
        return (self.inverse(torch.cat([start, end - start], dim=-1)).float() - way).square().mean()

    def _way_error(
        self, latents: Float[Tensor, "B T Z"], goals: Float[Tensor, "B 1 Z"], batch: ImageBatch
    ) -> Float[Tensor, ""]:
        """Returns how wrong the number of actions to a goal, and the first of them, are read from latents."""
        before = batch.actions.shape[1]  # frames whose next action the window holds
        poses = torch.stack([batch.poses[:, :before], batch.goal_poses[:, None].expand(-1, before, -1)])
        counts = batch.ahead[:, None] + torch.arange(before, 0, -1)
        return self.ways.errors(
            latents[:, :before].flatten(0, 1),
            goals.expand(-1, before, -1).flatten(0, 1),
            self.model.normalise_poses(poses.to(self.device)).flatten(1, 2),
            counts.to(self.device).flatten(),
            self.model.normalise_actions(batch.actions.to(self.device)).flatten(0, 1),
            self.model.rest,
            POSE_BLUR,
        ).total

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Returns `latent_errors` on held-out windows, the model judged as it plans."""
        numbers = choose_windows(self.held_out, self.config.evaluate_windows)
        self.model.eval()
        parts = [self._forecast(part) for part in np.array_split(numbers, max(1, len(numbers) // 32))]
        self.model.train()
        return latent_errors(*(torch.cat(each) for each in zip(*parts, strict=True)))

    def _forecast(self, numbers: Int[np.ndarray, " B"]) -> tuple[Tensor, Tensor, Tensor]:
        """Returns windows' latents (B, T, Z), and what is predicted of frames 1 .. T - 1 by own and other actions."""
        batch = self.batches.gather(self.held_out, numbers, np.zeros(len(numbers), np.int64))
        model, images = self.model, batch.images.to(self.device)
        with autocast(self.precision, self.device):
            latents = model.latents(model.encoder.preprocess(images.flatten(0, 1))).flatten(1)
        latents = latents.float().unflatten(0, images.shape[:2])
        poses, actions = batch.poses.to(self.device), batch.actions.to(self.device)
        start = latents[:, 0], poses[:, 0]
        return latents, model.unroll(*start, actions)[0], model.unroll(*start, actions.roll(1, dims=0))[0]

    def _check_rank(self, rank: float) -> None:
        """Raises CollapsedError if the latents have collapsed."""
        if rank < self.config.minimum_rank:
            raise CollapsedError(
                f"the latents collapsed: their effective rank is {rank:.1f} (must be {self.config.minimum_rank}); "
                "raise regulariser"
            )

    def state_dict(self) -> dict[str, Any]:
        """Returns all that a resumed run needs."""
        return {name: getattr(self, name).state_dict() for name in _STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        for name in _STATE:
            getattr(self, name).load_state_dict(state[name])


def make_compact(config: CompactConfig, recorded: RecordedWindows, training: Sequence[int]) -> CompactModel:
    """Returns a model for the recorded actions and poses.

    A new one has the statistics of the training episodes, one that goes on its parent's.

    Raises:
        ValueError: If the parent is another kind of model, has another shape, or is for other actions.
    """
    encoder: StoredEncoder = Choice("kind", TRUNKS).make(config.encoder)
    shape, statistics = config.latents, recorded.statistics(training)
    if config.parent is not None:
        statistics = read_manifest(config.parent).statistics
    readout = ReadoutConfig(encoder.tokens, encoder.width, **vars(shape))
    spec = recorded.action_spec
    sizes = shape.latents * shape.width, pose_numbers(statistics, spec), len(statistics.action_mean)
    dynamics = DynamicsConfig(*sizes, **vars(config.dynamics))
    model = CompactModel(encoder, Readout(readout), CompactDynamics(dynamics), spec, statistics)
    return model if config.parent is None else begin_with(config.parent, model)


def begin_with(name: str, model: CompactModel) -> CompactModel:
    """Returns a checkpoint's model without its heads, to go on training in another model's shape.

    The shapes may differ in the width of the latents, which the given model may have more of: see `widen`.

    Raises:
        ValueError: If they differ otherwise.
    """
    parent = load_world_model(name)
    if not isinstance(parent, CompactModel):
        raise ValueError(f"the parent {name} is a {parent.kind} world model: a compact one can go on learning here")
    parent.action_spec.check_same_meaning(model.action_spec)
    if parent.heads:
        logger.warning("the heads of %s do not come along (%s): train them anew", name, ", ".join(parent.heads))
    old, new = parent.readout.config, model.readout.config
    if old.latents == new.latents and old.width < new.width:
        logger.warning("the latents of %s are widened from %d to %d numbers", name, old.width, new.width)
        parent = widen(parent, new.width)
    wanted, found = model.parts(), parent.parts()
    for part, settings in wanted.items():
        if found.get(part) != settings:
            raise ValueError(f"the parent {name} has the {part} {found.get(part)}, this run {settings}: set it alike")
    parts = parent.encoder, parent.readout, parent.dynamics
    return CompactModel(*parts, model.action_spec, parent.statistics).requires_grad_(True)


def make_inverse_dynamics(model: CompactModel, shape: InverseDynamicsShape) -> InverseDynamics:
    """Returns new inverse dynamics on a model's latents, to be fitted to recorded actions and trained."""
    sizes = model.dynamics.config.size, model.pose_numbers, model.action_spec.size
    return InverseDynamics(InverseDynamicsConfig(*sizes, shape))


def jitter_colours(
    pixels: Float[Tensor, "B 3 S S"], strength: float, generator: torch.Generator
) -> Float[Tensor, "B 3 S S"]:
    """Returns images in [-1, 1], each with its hue turned, its saturation, contrast and brightness changed.

    Args:
        pixels: Images.
        strength: The hue turns by at most so many half turns, the rest changes by at most this share.
        generator: Draws the changes.
    """
    if strength == 0:
        return pixels
    turn, saturation, contrast, brightness = strength * (2 * torch.rand(4, len(pixels), generator=generator) - 1)
    grey = torch.full((3, 3), 1 / 3)  # projects on the grey axis, which a turn of the hue leaves as it is
    across = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / 3**0.5
    cosine, sine = (each[:, None, None] for each in (torch.cos(torch.pi * turn), torch.sin(torch.pi * turn)))
    hue = grey + (1 + saturation)[:, None, None] * (cosine * (torch.eye(3) - grey) + sine * across)
    mix = ((1 + contrast)[:, None, None] * hue).to(pixels)
    abreast = math.gcd(pixels[0, 0].numel(), _ABREAST)
    several = torch.block_diag(*[mix.new_ones(3, 3)] * abreast) * mix.mT.repeat(1, abreast, abreast)
    rows = pixels.permute(0, 2, 3, 1).reshape(len(pixels), -1, 3 * abreast)  # as it lies in memory
    with torch.autocast(pixels.device.type, enabled=False):
        changed = torch.bmm(rows, several).add_(brightness[:, None, None].to(pixels))
    return changed.view(len(pixels), *pixels.shape[2:], 3).permute(0, 3, 1, 2)


@torch.no_grad()
def encode_episode(
    model: CompactModel, frames: JoinedFrames, episode: int, length: int, stride: int = 1
) -> Float[Tensor, "T Z"]:
    """Returns the latents of so many frames of an episode, from the first on, on the model's device."""
    images = frames.windows(np.array([episode]), np.array([0]), length, stride)[0]
    pixels = model.encoder.preprocess(torch.from_numpy(images).to(model.action_mean.device))
    return model.latents(pixels).flatten(1)


def make_bank(model: CompactModel, batches: ImageBatches, episodes: Sequence[int], frames: int) -> Bank:
    """Returns the bank of evenly chosen episodes with at most so many frames."""
    recorded = batches.recorded
    lengths = [(recorded.lengths[episode] - 1) // recorded.stride + 1 for episode in episodes]
    latents, actions = [], []
    for episode, length in ((episodes[index], lengths[index]) for index in spread(lengths, frames)):
        latents.append(encode_episode(model, batches.frames, episode, length, recorded.stride).cpu())
        span = (length - 1) * recorded.stride
        actions.append(torch.from_numpy(recorded.actions[episode][: span : recorded.stride]))
    return Bank.of(latents, actions)


def train_compact(
    config: CompactConfig, batches: ImageBatches, report: Report, provenance: Mapping[str, Any]
) -> Manifest | None:
    """Trains, or goes on training, saves the checkpoint and returns its manifest; None if interrupted before.

    Raises:
        ValueError: If data and settings do not fit together.
        StateError: If the output directory holds the state of another run.
        DivergedError: If something is not finite or the latents collapsed, see `run_steps`.
    """
    trainer = CompactTrainer(config, batches)
    if not run_steps(trainer, config, config.session, batches.key, report):
        return None
    training = {**provenance, "frames": batches.key, "metrics": trainer.evaluate()}
    model = trainer.model.freeze()
    if config.bank_frames:
        model.add_head(HEAD, make_bank(model, batches, trainer.split.training, config.bank_frames))
    save_checkpoint(config.checkpoint_directory, model, training=training, parent=config.parent)
    return read_manifest(config.checkpoint_directory)
