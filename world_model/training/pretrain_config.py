"""What can be chosen about pretraining an encoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from envs.ranges import check_range
from world_model.encoders.vjepa2_config import EncoderConfig
from world_model.training.run_config import RunConfig


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


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(RunConfig):
    """One pretraining run.

    Attributes:
        encoder: Shape of the encoder.
        predictor: Shape of the throw-away masked predictor.
        masks: What is hidden.
        steps: Optimiser steps.
        batch: Images a step.
        final_learning_rate: At the end of the cosine, as a share of the peak.
        momentum: Of the averaged target encoder, rising linearly from the first to the second number.
        visible_weight: Weight of the visible patches' error in the loss, beside 1 for the hidden ones'; 0 for none.
            What nothing else in an image tells, such as where an object lies, can't be guessed where it is hidden, so
            the tokens make little of it; asked for where it is visible, it stays in them.
        whiten_floor: What varies less than this share of the largest variance counts little in the targets.
        jitter: Largest relative change of an image's brightness and contrast; 0 for none.
        monitor_every: Steps between looks for collapse.
        minimum_std: Collapse: mean over token dimensions of the std across images is below this.
        minimum_rank: Collapse: the effective rank of the tokens is below this.
        patience: Consecutive looks that must find a collapse before the run ends.
        device: "auto", "cpu", "cuda", ...
    """

    session: ClassVar[tuple[str, ...]] = (*RunConfig.session, "device")

    encoder: EncoderConfig
    predictor: MaskedPredictorConfig = field(default_factory=MaskedPredictorConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    steps: int = 4000
    batch: int = 128
    final_learning_rate: float = 0.01
    momentum: tuple[float, float] = (0.996, 0.9995)
    visible_weight: float = 0.0
    whiten_floor: float = 1e-3
    jitter: float = 0.0
    monitor_every: int = 20
    minimum_std: float = 0.02
    minimum_rank: float = 2.0
    patience: int = 10
    device: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "(0, inf)", "steps", "batch", "monitor_every", "patience")
        check_range(self, "[0, inf)", "visible_weight")
        check_range(self, "(0, 1]", "whiten_floor")
        check_range(self, "[0, 1)", "jitter")
        if not 0 <= self.momentum[0] <= self.momentum[1] <= 1:
            raise ValueError(f"momentum must be two rising numbers between 0 and 1, got {self.momentum}")
