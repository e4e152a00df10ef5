"""The settings of a training run of a compact world model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from envs.config import Choice
from envs.ranges import check_range
from world_model.encoders.convolutions_config import ConvolutionsConfig
from world_model.encoders.trunks import TRUNKS, TrunkSettings
from world_model.heads.ways_config import InverseDynamicsShape, JudgeShape
from world_model.training.run_config import DecodedRunConfig


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


@dataclass(frozen=True, kw_only=True)
class CompactConfig(DecodedRunConfig):
    """One training run of a compact world model.

    Attributes:
        parent: Checkpoint of the same shape, by name or path, whose weights training begins with; None for new ones.
            Its latents may be narrower: further numbers then learn beside them, see `world_model.training.widening`.
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
        evaluate_windows: Held-out windows an evaluation takes at most.
        evaluate_horizon: Steps of its rollouts.
        minimum_rank: The run ends if the effective rank of the held-out latents is below this.
        bank_frames: Training frames, at most, whose latents and actions travel with the checkpoint for
            `world_model.heads.bank`; 0 for none.

    Raises:
        ValueError: If a setting is out of its range.
    """

    session: ClassVar[tuple[str, ...]] = (*DecodedRunConfig.session, "bank_frames")

    parent: str | None = None
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
    weight_decay: float = 1e-3
    evaluate_windows: int = 256
    evaluate_horizon: int = 8
    minimum_rank: float = 4.0
    bank_frames: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = ("stride", "rollout_steps", "evaluate_windows", "evaluate_horizon", "furthest")
        check_range(self, "(0, inf)", *counts)
        check_range(self, "[0, inf)", "rollout_weight", "regulariser", "inverse", "ways", "minimum_rank", "bank_frames")
        if self.frames <= self.rollout_steps:
            raise ValueError(f"a window of {self.frames} frames has no {self.rollout_steps} predictions fed back")
        if self.batch < 16:
            raise ValueError(f"SIGReg compares a batch with a Gaussian: batch must be at least 16, got {self.batch}")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter must be at least 0 and under 1, got {self.jitter}")
        if not 0 <= self.jitter_from <= 0.5:
            raise ValueError(f"jitter_from must be in 0..0.5, a share of the steps, got {self.jitter_from}")
