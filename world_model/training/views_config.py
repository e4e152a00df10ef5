"""The settings of a training run that teaches a compact world model to see the same in other views."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from envs.config import Choice
from envs.ranges import check_range
from world_model.encoders.convolutions_config import ConvolutionsConfig
from world_model.encoders.trunks import TRUNKS, TrunkSettings
from world_model.training.compact_config import LatentShape
from world_model.training.run_config import ModelRunConfig


@dataclass(frozen=True, kw_only=True)
class ViewsConfig(ModelRunConfig):
    """One training run of trunk and readout on several views of the same episodes.

    Attributes:
        parent: The compact checkpoint whose latents of `data` all views are to give, by name or path. Its dynamics and
            its heads stay as they are.
        views: Folders that hold the same episodes as `data`, frame by frame, as other cameras saw them, in other light
            or beside other things. It may be the folder `data` again, with another camera's reading.
        view_readings: How to read each of them, as `reading`; empty for like `data`.
        checkpoint: Where the parent goes with its new eyes; None for checkpoint/ in the run directory.
        start: Checkpoint whose trunk and readout training begins with, by name or path, such as one that knows some of
            the views; None for the parent's where they have its shape, and else new ones.
        encoder: Shape of the trunk.
        latents: Shape of what is read from its tokens, as many and as wide as the parent's.
        jitter: How much each frame's colours change, see `world_model.training.compact.jitter_colours`; 0 for none.
        evaluate_frames: Held-out frames that an evaluation takes at most.
        decoding_processes: Processes that decode videos.

    Raises:
        ValueError: If a setting is out of its range.
    """

    session: ClassVar[tuple[str, ...]] = (*ModelRunConfig.session, "views", "view_readings", "decoding_processes")

    parent: str
    views: tuple[Path, ...]
    view_readings: tuple[Path, ...] = ()
    start: str | None = None
    encoder: Annotated[TrunkSettings, Choice("kind", TRUNKS)] = field(default_factory=ConvolutionsConfig)
    latents: LatentShape = field(default_factory=LatentShape)
    jitter: float = 0.6
    steps: int = 10_000
    batch: int = 192
    learning_rate: float = 1.5e-3
    final_learning_rate: float = 0.001
    weight_decay: float = 1e-3
    evaluate_frames: int = 2048
    decoding_processes: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "(0, inf)", "evaluate_frames", "decoding_processes")
        check_range(self, "[0, 1)", "jitter")
        if not self.views:
            raise ValueError("one view teaches nothing about others: name folders of more (views)")
        if self.view_readings and len(self.view_readings) != len(self.views):
            raise ValueError(
                f"view_readings are one for each of the {len(self.views)} views, or none, got {len(self.view_readings)}"
            )
