"""What can be chosen about pretraining an encoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from world_model.choices import Precision
from world_model.data.store_layout import cache_beside
from world_model.encoders.vjepa2_config import EncoderConfig


@dataclass(frozen=True)
class MaskConfig:
    """How much of an image is hidden, and in which blocks.

    Attributes:
        hidden_fraction: Blocks are drawn until at least this share of the patches is hidden.
        block_fraction: Smallest and largest share of the patches that one block covers.
        aspect: Smallest and largest height / width of a block.
    """

    hidden_fraction: float = 0.6
    block_fraction: tuple[float, float] = (0.15, 0.3)
    aspect: tuple[float, float] = (0.6, 1.7)

    def __post_init__(self) -> None:
        if not 0 < self.hidden_fraction < 1:
            raise ValueError(f"hidden_fraction must be between 0 and 1, got {self.hidden_fraction}")
        if not 0 < self.block_fraction[0] <= self.block_fraction[1] < 1:
            raise ValueError(f"block_fraction must be two rising shares between 0 and 1, got {self.block_fraction}")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(f"aspect must be two rising positive numbers, got {self.aspect}")


@dataclass(frozen=True)
class MaskedPredictorConfig:
    """Size of the network that guesses the hidden patches' latents; it is thrown away after pretraining.

    Attributes:
        width: Token width; narrower than the encoder's, so that the encoder has to do the work.
        depth: Layers.
        heads: Attention heads.
    """

    width: int = 96
    depth: int = 3
    heads: int = 3

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.heads) < 1 or self.width % self.heads or self.width % 4:
            raise ValueError(
                f"width must be a multiple of heads and of 4, all positive: width {self.width}, depth {self.depth}, "
                f"heads {self.heads}"
            )


@dataclass(frozen=True)
class PretrainConfig:
    """One pretraining run.

    Attributes:
        data: Dataset folder, see `envs.episodes`.
        output: Run directory: resolved config, log, state to resume from, and encoder/ at the end.
        cache: Where decoded frames are kept; None for data + "-cache".
        encoder: Shape of the encoder.
        predictor: Shape of the throw-away masked predictor.
        masks: What is hidden.
        steps: Optimiser steps.
        batch: Images a step.
        learning_rate: At its peak.
        final_learning_rate: At the end of the cosine, as a share of the peak.
        warmup: Steps of linear rise.
        weight_decay: AdamW's, not on biases and norms.
        momentum: Of the averaged target encoder, rising linearly from the first to the second number.
        clip: Largest gradient norm; 0 for none.
        visible_weight: Weight of the visible patches' error in the loss, beside 1 for the hidden ones'; 0 for none.
            What nothing else in an image tells, such as where an object lies, can't be guessed where it is hidden, so
            the tokens make little of it; asked for where it is visible, it stays in them.
        whiten_floor: What varies less than this share of the largest variance counts little in the targets.
        jitter: Largest relative change of an image's brightness and contrast; 0 for none.
        held_out: Share of episodes that is left out, the same as in `train.TrainConfig`.
        monitor_every: Steps between looks for collapse.
        minimum_std: Collapse: mean over token dimensions of the std across images is below this.
        minimum_rank: Collapse: the effective rank of the tokens is below this.
        patience: Consecutive looks that must find a collapse before the run ends.
        save_every: Steps between saved states.
        precision: bf16 autocast or fp32; auto takes bf16 where the hardware has it.
        device: "auto", "cpu", "cuda", ...
        seed: Of everything random.
    """

    data: Path
    output: Path
    encoder: EncoderConfig
    cache: Path | None = None
    predictor: MaskedPredictorConfig = field(default_factory=MaskedPredictorConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    steps: int = 4000
    batch: int = 128
    learning_rate: float = 1e-3
    final_learning_rate: float = 0.01
    warmup: int = 200
    weight_decay: float = 0.04
    momentum: tuple[float, float] = (0.996, 0.9995)
    clip: float = 1.0
    visible_weight: float = 0.0
    whiten_floor: float = 1e-3
    jitter: float = 0.0
    held_out: float = 0.05
    monitor_every: int = 20
    minimum_std: float = 0.02
    minimum_rank: float = 2.0
    patience: int = 10
    save_every: int = 200
    precision: Precision = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "learning_rate", "monitor_every", "patience", "save_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.momentum[0] <= self.momentum[1] <= 1:
            raise ValueError(f"momentum must be two rising numbers between 0 and 1, got {self.momentum}")
        if self.visible_weight < 0 or not 0 < self.whiten_floor <= 1:
            raise ValueError(
                "visible_weight must be at least 0 and whiten_floor over 0 and at most 1, got "
                f"{self.visible_weight} and {self.whiten_floor}"
            )
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter must be at least 0 and under 1, got {self.jitter}")

    @property
    def cache_directory(self) -> Path:
        """Where decoded frames are kept."""
        return self.cache or cache_beside(self.data)
