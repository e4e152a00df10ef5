"""Settings of LeWM and of its training; the defaults are the peer's, of commit addbab4, where nothing else is said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from envs.ranges import check_range
from world_model.choices import Precision
from world_model.training.run_config import DecodedRunConfig


@dataclass(frozen=True)
class LeWMShape:
    """Shape of a LeWM.

    Attributes:
        image_size: Side of the images that it looks at [pixels]; the peer's are 224.
        patch_size: Of its vision transformer [pixels]; the peer's are 14.
        encoder: Size of that transformer, by the peer's names.
        width: Of a frame's latent, D, and of the encoder: 192 of a tiny one.
        history: Frames that the predictor looks at, at most.
        depth: Of the predictor.
        heads: Of its attention.
        head_width: Width of each.
        hidden: Width of the hidden layer of its blocks.
        projector: Width of the hidden layer of the projectors behind encoder and predictor.
        dropout: In the predictor, while training.
    """

    image_size: int = 128
    patch_size: int = 16
    encoder: Literal["tiny", "small", "base"] = "tiny"
    width: int = 192
    history: int = 3
    depth: int = 6
    heads: int = 16
    head_width: int = 64
    hidden: int = 2048
    projector: int = 2048
    dropout: float = 0.1

    def __post_init__(self) -> None:
        numbers = [name for name in vars(self) if name not in {"encoder", "dropout"}]
        check_range(self, "[1, inf)", *numbers, of="LeWM's ")
        check_range(self, "[0, 1)", "dropout", of="LeWM's ")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"patches of {self.patch_size} pixels do not fill an image of {self.image_size}: choose one that does"
            )


@dataclass(frozen=True, kw_only=True)
class TrainLeWMConfig(DecodedRunConfig):
    """One training run of LeWM, on recordings of one frame an action.

    Attributes:
        decoded: Side of the decoded frames [pixels], shared with other models' runs; smaller images are made of them.
        shape: Of the model.
        minutes: The run ends after so many minutes of processor time, of all threads, steps and evaluations of all its
            sessions together, so that what else the machine does costs it nothing; None for `steps` alone. The learning
            rate falls to 0 with whichever of the two is further on.
        steps: Optimiser steps at most.
        batch: Windows a step.
        learning_rate: At its peak; the peer's is meant for 100 epochs of its recordings on a GPU.
        warmup: Steps of linear rise; the peer's are 1 % of the run.
        weight_decay: AdamW's, on all parameters.
        regulariser: Weight of SIGReg, lambda.
        knots: Points at which SIGReg compares characteristic functions.
        projections: Directions in which it does.
        evaluate_windows: Held-out windows that an evaluation takes at most.
        evaluate_horizon: Steps of its rollouts.

    Raises:
        ValueError: If a setting is out of its range.
    """

    decoded: int = 128
    shape: LeWMShape = field(default_factory=LeWMShape)
    minutes: float | None = None
    steps: int = 100_000
    batch: int = 128
    learning_rate: float = 5e-5
    final_learning_rate: float = 0.0
    warmup: int = 20
    weight_decay: float = 1e-3
    regulariser: float = 0.09
    knots: int = 17
    projections: int = 1024
    evaluate_every: int = 200
    evaluate_windows: int = 128
    evaluate_horizon: int = 5
    save_every: int = 100
    precision: Precision = "fp32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = ("decoded", "knots", "projections", "evaluate_windows", "evaluate_horizon")
        check_range(self, "(0, inf)", "minutes", *counts)
        check_range(self, "[2, inf)", "batch")  # the projectors have batch norms

    @property
    def frames(self) -> int:
        """Of a training window: the history and the frame after it."""
        return self.shape.history + 1
