"""Training of the action-conditioned predictor on cached latents."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from world_model.batches import WindowBatches
from world_model.checkpoint import Manifest, load_checkpoint, save_checkpoint
from world_model.clips import Shuffle, split_episodes
from world_model.device import Precision, autocast, find_device, resolve_precision
from world_model.encoder import Encoder
from world_model.held_out import held_out_errors
from world_model.loop import Report, learning_rate_factor, make_adamw, run_steps, set_learning_rate, update_average
from world_model.predictor import Predictor, PredictorConfig
from world_model.vjepa2_ac import VJEPA2AC

SESSION_FIELDS = ("data", "output", "cache", "checkpoint", "encoder", "device", "save_every")


@dataclass(frozen=True)
class PredictorSize:
    """The part of a `PredictorConfig` that is not fixed by the encoder and the data.

    Attributes:
        width: Width of the predictor.
        depth: Number of blocks.
        heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over `width`.
        max_frames: The most frames, past and predicted from, in one sequence.
        residual: Whether the output is added to the input tokens.
    """

    width: int = 192
    depth: int = 4
    heads: int = 6
    mlp_ratio: float = 4.0
    max_frames: int = 16
    residual: bool = True


@dataclass(frozen=True)
class TrainConfig:
    """One training run of a predictor.

    Attributes:
        data: Dataset folder, see `envs.episodes`.
        output: Run directory: resolved config, log, state to resume from.
        encoder: For a new predictor: folder of its frozen encoder in transformers' format, see
            `encoder_folder.load_encoder`.
        parent: To fine-tune: the checkpoint to start from, by name or path. Its encoder, its predictor's shape and its
            statistics stay.
        blocks: Of a parent, how many of the predictor's last blocks learn, with the output layers after them; None for
            the whole predictor.
        checkpoint: Where the finished model goes; None for checkpoint/ in the run directory.
        cache: Where latents are kept; None for data + "-cache".
        predictor: Size of a new predictor.
        context: Past frames that a planner's rollouts will use at most.
        frames: Frames of a training window, T.
        stride: Distance of a window's frames; the model's actions then last `stride` recorded ones.
        rollout_steps: Steps of the rollout loss.
        steps: Optimiser steps.
        batch: Windows a step.
        learning_rate: At its peak.
        final_learning_rate: At the end of the decay, as a share of the peak.
        warmup: Steps of linear rise.
        decay: Shape of the fall after it.
        weight_decay: AdamW's, not on biases and norms.
        clip: Largest gradient norm; 0 for none.
        average: Momentum of the averaged weights that are judged and saved; 0 for none.
        pose_noise: Std of noise on input poses, as a share of each dimension's std; 0 for none.
        held_out: Share of episodes that is judged by and never trained on.
        evaluate_every: Steps between evaluations; there is one at the end anyway.
        evaluate_windows: Held-out windows an evaluation takes at most.
        evaluate_horizon: Steps of its rollouts.
        save_every: Steps between saved states.
        precision: bf16 autocast or fp32; auto takes bf16 where the hardware has it.
        device: "auto", "cpu", "cuda", ...
        seed: Of everything random; the same as pretraining's gives the same held-out episodes.
    """

    data: Path
    output: Path
    encoder: Path | None = None
    parent: str | None = None
    blocks: int | None = None
    checkpoint: Path | None = None
    cache: Path | None = None
    predictor: PredictorSize = field(default_factory=PredictorSize)
    context: int = 2
    frames: int = 4
    stride: int = 1
    rollout_steps: int = 2
    steps: int = 4000
    batch: int = 32
    learning_rate: float = 1e-3
    final_learning_rate: float = 0.01
    warmup: int = 200
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = 0.04
    clip: float = 1.0
    average: float = 0.0
    pose_noise: float = 0.0
    held_out: float = 0.05
    evaluate_every: int = 500
    evaluate_windows: int = 256
    evaluate_horizon: int = 4
    save_every: int = 200
    precision: Precision = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ("frames", "stride", "steps", "batch", "learning_rate", "evaluate_every", "evaluate_windows")
        for name in (*positive, "evaluate_horizon", "save_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.rollout_steps < self.frames:
            raise ValueError(f"a window of {self.frames} frames has no {self.rollout_steps} rollout steps")
        if (self.encoder is None) == (self.parent is None):
            raise ValueError(
                "name either an encoder, for a new predictor, or a parent, the checkpoint to fine-tune; got "
                f"encoder {self.encoder} and parent {self.parent}"
            )
        if self.blocks is not None and (self.parent is None or self.blocks < 1):
            raise ValueError(f"blocks is how many of a parent's last blocks learn, at least 1, got {self.blocks}")
        if self.parent is None and self.longest > self.predictor.max_frames:
            raise ValueError(f"predictor.max_frames is {self.predictor.max_frames}, but {self.longest} frames are used")
        if not 0 <= self.average < 1 or self.pose_noise < 0:
            raise ValueError(f"average must be in 0 .. 1, pose_noise at least 0: {self.average}, {self.pose_noise}")

    @property
    def longest(self) -> int:
        """The most frames that the predictor gets in one sequence."""
        return max(self.frames - 1, self.evaluate_horizon, self.context)

    @property
    def cache_directory(self) -> Path:
        """Where latents are kept."""
        return self.cache or self.data.with_name(f"{self.data.name}-cache")

    @property
    def checkpoint_directory(self) -> Path:
        """Where the finished model goes."""
        return self.checkpoint or self.output / "checkpoint"


class PredictorTrainer:
    """A world model whose predictor learns from cached latents; see `VJEPA2AC.loss` for what is minimised.

    What happens in a step is fixed by the seed and the step's number, so parameters, averaged parameters and
    optimiser are the whole state.

    Args:
        config: The run's.
        encoder: Frozen; it goes into the model, the loop itself sees cached latents only.
        batches: Gives the windows.
    """

    def __init__(self, config: TrainConfig, encoder: Encoder, batches: WindowBatches) -> None:
        self.config, self.batches = config, batches
        self.device = find_device(config.device)
        self.precision: Literal["bf16", "fp32"] = resolve_precision(config.precision, self.device)
        split = split_episodes(len(batches.lengths), config.held_out, config.seed)
        self.model = make_model(config, encoder, batches, split.training).to(self.device)
        self.average = copy.deepcopy(self.model, {id(encoder): encoder}) if config.average else None
        self.optimizer = make_adamw((self.model.predictor,), config.learning_rate, config.weight_decay)
        self.windows = batches.windows(split.training, config.frames)
        self.held_out = batches.windows(split.held_out, config.evaluate_horizon + 1)
        self.shuffle = Shuffle(len(self.windows), config.seed)

    @property
    def best(self) -> VJEPA2AC:
        """The model to judge and save: the averaged one where there is one."""
        return self.average or self.model

    def step(self, step: int) -> dict[str, float]:
        """Takes one optimiser step; returns its losses, and when due the held-out errors."""
        config = self.config
        share = learning_rate_factor(step, config.steps, config.warmup, config.decay, config.final_learning_rate)
        set_learning_rate(self.optimizer, config.learning_rate * share)
        batch = self.batches.gather(self.windows, self.shuffle.batch(step, config.batch)).to(self.device)
        with autocast(self.precision, self.device):
            losses = self.model.loss(batch.tokens, batch.actions, self.noisy(batch.poses, step), config.rollout_steps)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        if config.clip:
            nn.utils.clip_grad_norm_(self.model.predictor.parameters(), config.clip)
        self.optimizer.step()
        if self.average:  # young averages forget their start sooner
            update_average(self.average.predictor, self.model.predictor, min(config.average, (1 + step) / (10 + step)))
        measured = {name: getattr(losses, name).item() for name in ("total", "teacher_forcing", "rollout")}
        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
            measured |= {f"held_out/{name}": value for name, value in self.evaluate().items()}
        return measured

    def noisy(self, poses: Tensor, step: int) -> Tensor:
        """Returns the poses with the configured noise."""
        if not self.config.pose_noise:
            return poses
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        noise = torch.randn(poses.shape, generator=generator).to(poses)
        return poses + self.config.pose_noise * self.model.pose_std * noise

    def evaluate(self) -> dict[str, float]:
        """Returns the errors on held-out windows, see `held_out.held_out_errors`."""
        with autocast(self.precision, self.device):
            return held_out_errors(self.best, self.batches, self.held_out, self.config.evaluate_windows)

    def state_dict(self) -> dict[str, Any]:
        """Returns all that a resumed run needs."""
        average = self.average.predictor.state_dict() if self.average else None
        return {
            "predictor": self.model.predictor.state_dict(),
            "average": average,
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.model.predictor.load_state_dict(state["predictor"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.predictor.load_state_dict(state["average"])


def make_model(config: TrainConfig, encoder: Encoder, batches: WindowBatches, training: tuple[int, ...]) -> VJEPA2AC:
    """Returns the world model that training starts from: the parent, or a new one, the same for the same seed.

    Raises:
        ValueError: If the parent does not fit the data or the settings.
    """
    if config.parent is not None:
        return adopt_parent(config, load_checkpoint(config.parent), encoder, batches)
    size, spec = config.predictor, batches.action_spec
    shape = PredictorConfig(
        token_width=encoder.width,
        width=size.width,
        depth=size.depth,
        heads=size.heads,
        mlp_ratio=size.mlp_ratio,
        grid_height=encoder.config.grid,
        grid_width=encoder.config.grid,
        action_size=spec.size,
        pose_size=batches.poses[0].shape[1],
        max_frames=size.max_frames,
        residual=size.residual,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        predictor = Predictor(shape)
    return VJEPA2AC(encoder, predictor, spec, batches.statistics(training), config.context)


def adopt_parent(config: TrainConfig, parent: VJEPA2AC, encoder: Encoder, batches: WindowBatches) -> VJEPA2AC:
    """Returns the parent with the data's action bounds, what is to learn of its predictor unfrozen.

    Raises:
        SpecError: If its actions mean something else than the data's.
        ValueError: If its predictor has other poses, too few frames or too few blocks.
    """
    parent.action_spec.check_same_meaning(batches.action_spec)
    predictor, pose_size = parent.predictor, batches.poses[0].shape[1]
    shape = predictor.config
    if shape.pose_size not in {0, pose_size}:
        raise ValueError(f"the data's poses have {pose_size} numbers, those of {config.parent} {shape.pose_size}")
    if config.longest > shape.max_frames:
        raise ValueError(f"{config.parent} takes {shape.max_frames} frames at most, but {config.longest} are used")
    if config.blocks is not None and config.blocks > shape.depth:
        raise ValueError(f"{config.parent} has {shape.depth} blocks, {config.blocks} were to learn")
    learning: list[nn.Module] = [predictor]
    if config.blocks is not None:
        learning = [*predictor.predictor_blocks[-config.blocks :], predictor.predictor_norm, predictor.predictor_proj]
    for module in learning:
        module.requires_grad_(True)
    return VJEPA2AC(encoder, predictor, batches.action_spec, parent.statistics, config.context)


def train(
    config: TrainConfig, encoder: Encoder, batches: WindowBatches, report: Report, provenance: Mapping[str, Any]
) -> Manifest | None:
    """Trains, or goes on training, saves the checkpoint and returns its manifest; None if interrupted before.

    Args:
        config: The run's.
        encoder: The one that made the latents.
        batches: Gives the windows.
        report: Gets every step's measurements.
        provenance: Of the checkpoint, plain values, such as the command and the git commit.

    Raises:
        StateError: If the output directory holds the state of another run.
    """
    trainer = PredictorTrainer(config, encoder, batches)
    before = {} if config.parent is None else {"parent_metrics": trainer.evaluate()}
    if not run_steps(trainer, config, SESSION_FIELDS, batches.latents.key, report):
        return None
    training = {**provenance, **before, "metrics": trainer.evaluate()}
    return save_checkpoint(config.checkpoint_directory, trainer.best, training=training, parent=config.parent)
