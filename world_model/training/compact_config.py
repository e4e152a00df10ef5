"""The settings of a training run of a compact world model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from envs.config import Choice
from world_model.choices import Precision
from world_model.data.store_layout import cache_beside
from world_model.encoders.convolutions_config import ConvolutionsConfig
from world_model.encoders.trunks import TRUNKS, TrunkSettings
from world_model.heads.ways_config import InverseDynamicsShape, JudgeShape

SESSION_FIELDS = (  # these may change when a run is resumed
    "data", "views", "more", "output", "cache", "checkpoint", "bank_frames", "device", "save_every", "log", "reading",
    "decoding_processes",
)  # fmt: skip


@dataclass(frozen=True)
class LatentShape:
    """The part of a `ReadoutConfig` that is not fixed by the encoder.

    Attributes:
        latents: Of a frame, K.
        width: Of each, D.
        pooling: See `ReadoutConfig.pooling`.
        narrow: What a token is narrowed to, by "grid".
        hidden: Width of the hidden layer.
        heads: Of attention, by "attentive".
    """

    latents: int = 1
    width: int = 128
    pooling: Literal["grid", "attentive"] = "grid"
    narrow: int = 48
    hidden: int = 512
    heads: int = 6


@dataclass(frozen=True)
class DynamicsShape:
    """The part of a `DynamicsConfig` that is not fixed by latents and data.

    Attributes:
        width: Of the residual stream.
        depth: Blocks.
        expansion: Hidden width of a block over `width`.
        dropout: In the blocks, while training.
    """

    width: int = 384
    depth: int = 3
    expansion: int = 2
    dropout: float = 0.0


@dataclass(frozen=True)
class CompactConfig:
    """One training run of a compact world model.

    Attributes:
        data: Folder of recordings in any format that `envs.episodes.open.open_dataset` knows.
        output: Run directory: resolved config, log, state to resume from.
        views: Further folders that hold the same episodes as other cameras saw them, or in other light. Each frame of
            a window is taken from any of them: what only one view shows can't be predicted, so the latents drop it.
        more: Folders of further recordings of the same arm, such as practice or other scenes, decoded beside them.
        parent: Checkpoint of the same shape, by name or path, whose weights training begins with; None for new ones.
            Its latents may be narrower: further numbers then learn beside them, see `world_model.training.widening`.
        reading: YAML file that says how to read them, see `envs.episodes.reading.Reading`; None where the format does.
        checkpoint: Where the finished model goes; None for checkpoint/ in the run directory.
        cache: Where decoded frames are kept; None for data + "-cache".
        decoding_processes: Processes that decode videos.
        encoder: Shape of the trunk that learns.
        latents: Shape of what is read from its tokens.
        dynamics: Shape of the network that predicts it.
        frames: Of a window, T.
        stride: Distance of a window's frames; the model's actions then last `stride` recorded ones.
        rollout_steps: Predictions fed back, R: 1 for one step from measured frames alone.
        rollout_weight: Weight of the errors of the steps after the first, beside 1 for the first's.
        regulariser: Weight of SIGReg, lambda. It decides what the latents hold: with little they are the hand and what
            is in it, with more all that differs between images.
        inverse: Weight of inverse dynamics: how far the pose moved, from latents and their difference.
        ways: Weight of multi-step inverse dynamics, nu: how many actions a later frame is away, and the first of them,
            from latents and pose. It makes the latents keep what tells what to do: where the object lies to the hand. 0
            for none.
        furthest: Actions, at most, from a window's last frame to that later one.
        inverse_dynamics: Shape of the network that reads it; it is not kept.
        jitter: How much each frame's colours change, see `world_model.training.compact.jitter_colours`; 0 for none.
        jitter_from: Share of the steps without it, after which it rises, and is full after twice as many. From the
            beginning it hides small objects, and latents that have not found them never do.
        steps: Optimiser steps.
        batch: Windows a step.
        learning_rate: At its peak.
        final_learning_rate: At the end of the cosine, as a share of the peak.
        warmup: Steps of linear rise.
        weight_decay: AdamW's, not on biases and norms.
        clip: Largest gradient norm; 0 for none.
        held_out: Share of episodes that is judged by and never trained on.
        evaluate_every: Steps between evaluations; there is one at the end anyway.
        evaluate_windows: Held-out windows an evaluation takes at most.
        evaluate_horizon: Steps of its rollouts.
        minimum_rank: The run ends if the effective rank of the held-out latents is below this.
        bank_frames: Training frames, at most, whose latents and actions travel with the checkpoint for
            `world_model.heads.bank`; 0 for none.
        save_every: Steps between saved states.
        log: Where measurements go beside losses.jsonl; wandb is an extra.
        precision: bf16 autocast or fp32; auto takes bf16 where the hardware has it.
        device: "auto", "cpu", "cuda", ...
        seed: Of everything random.

    Raises:
        ValueError: If a setting is out of its range.
    """

    data: Path
    output: Path
    views: tuple[Path, ...] = ()
    more: tuple[Path, ...] = ()
    parent: str | None = None
    reading: Path | None = None
    checkpoint: Path | None = None
    cache: Path | None = None
    decoding_processes: int = 1
    encoder: Annotated[TrunkSettings, Choice("kind", TRUNKS)] = field(default_factory=ConvolutionsConfig)
    latents: LatentShape = field(default_factory=LatentShape)
    dynamics: DynamicsShape = field(default_factory=DynamicsShape)
    frames: int = 4
    stride: int = 1
    rollout_steps: int = 3
    rollout_weight: float = 1.0
    regulariser: float = 1.0
    inverse: float = 0.3
    ways: float = 0.1
    furthest: int = 20
    inverse_dynamics: InverseDynamicsShape = field(
        default_factory=lambda: InverseDynamicsShape(JudgeShape(reader=192, width=256))
    )
    jitter: float = 0.0
    jitter_from: float = 0.25
    steps: int = 8000
    batch: int = 48
    learning_rate: float = 1.5e-3
    final_learning_rate: float = 0.001
    warmup: int = 200
    weight_decay: float = 1e-3
    clip: float = 1.0
    held_out: float = 0.05
    evaluate_every: int = 500
    evaluate_windows: int = 256
    evaluate_horizon: int = 8
    minimum_rank: float = 4.0
    bank_frames: int = 0
    save_every: int = 200
    log: Literal["tensorboard", "wandb"] = "tensorboard"
    precision: Precision = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (
            "stride", "rollout_steps", "steps", "batch", "learning_rate", "evaluate_every", "evaluate_windows",
            "evaluate_horizon", "save_every", "decoding_processes", "furthest",
        ):  # fmt: skip
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in (
            "rollout_weight",
            "regulariser",
            "inverse",
            "ways",
            "weight_decay",
            "clip",
            "minimum_rank",
            "warmup",
            "bank_frames",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.frames <= self.rollout_steps:
            raise ValueError(f"a window of {self.frames} frames has no {self.rollout_steps} predictions fed back")
        if self.batch < 16:
            raise ValueError(f"SIGReg compares a batch with a Gaussian: batch must be at least 16, got {self.batch}")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter must be at least 0 and under 1, got {self.jitter}")
        if not 0 <= self.jitter_from <= 0.5:
            raise ValueError(f"jitter_from must be in 0..0.5, a share of the steps, got {self.jitter_from}")

    @property
    def cache_directory(self) -> Path:
        """Where decoded frames are kept."""
        return self.cache or cache_beside(self.data)

    @property
    def checkpoint_directory(self) -> Path:
        """Where the finished model goes."""
        return self.checkpoint or self.output / "checkpoint"
