"""What all training runs can be told: their folders, their optimiser and its schedule."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from envs.ranges import check_range
from world_model.choices import Precision
from world_model.data.store_layout import cache_beside


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run, of whatever.

    Attributes:
        session: Settings that may change when a run is resumed.
        data: Folder of recordings in any format that `envs.episodes.open.open_dataset` knows.
        output: Run directory: resolved config, log, state to resume from.
        cache: Where decoded frames or latents are kept; None for data + "-cache".
        learning_rate: At its peak.
        warmup: Steps of linear rise.
        weight_decay: AdamW's, not on biases and norms.
        clip: Largest gradient norm; 0 for none.
        held_out: Share of episodes that is judged by and never trained on.
        save_every: Steps between saved states.
        precision: bf16 autocast or fp32; auto takes bf16 where the hardware has it.
        seed: Of everything random; the same gives the same held-out episodes.

    Raises:
        ValueError: If a setting is out of its range.
    """

    session: ClassVar[tuple[str, ...]] = ("data", "output", "cache", "save_every")

    data: Path
    output: Path
    cache: Path | None = None
    learning_rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.04
    clip: float = 1.0
    held_out: float = 0.05
    save_every: int = 200
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_range(self, "(0, inf)", "learning_rate", "save_every")
        check_range(self, "[0, inf)", "warmup", "weight_decay", "clip")

    @property
    def steps(self) -> int:
        """All optimiser steps."""
        raise NotImplementedError

    @property
    def cache_directory(self) -> Path:
        """Where decoded frames or latents are kept."""
        return self.cache or cache_beside(self.data)


@dataclass(frozen=True, kw_only=True)
class ModelRunConfig(RunConfig):
    """One training run that a checkpoint comes of.

    Attributes:
        reading: YAML file that says how to read recordings, see `envs.episodes.reading.Reading`, or the name of a
            format; None where the format says it.
        checkpoint: Where the finished model goes; None for checkpoint/ in the run directory.
        steps: Optimiser steps.
        batch: Windows or pairs of frames a step.
        final_learning_rate: At the end of its fall, as a share of the peak.
        evaluate_every: Steps between evaluations; there is one at the end anyway.
        log: Where measurements go beside losses.jsonl; wandb is an extra.
        device: "auto", "cpu", "cuda", ...
    """

    session: ClassVar[tuple[str, ...]] = (*RunConfig.session, "reading", "checkpoint", "log", "device")

    reading: Path | None = None
    checkpoint: Path | None = None
    steps: int = 4000
    batch: int = 32
    final_learning_rate: float = 0.01
    evaluate_every: int = 500
    log: Literal["tensorboard", "wandb"] = "tensorboard"
    device: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "(0, inf)", "steps", "batch", "evaluate_every")

    @property
    def checkpoint_directory(self) -> Path:
        """Where the finished model goes."""
        return self.checkpoint or self.output / "checkpoint"


@dataclass(frozen=True, kw_only=True)
class DecodedRunConfig(ModelRunConfig):
    """One training run on the decoded frames of one or several folders of recordings.

    Attributes:
        more: Folders of further recordings of the same arm, such as practice or other scenes; frames are kept beside
            each.
        decoding_processes: Processes that decode videos.
    """

    session: ClassVar[tuple[str, ...]] = (*ModelRunConfig.session, "more", "decoding_processes")

    more: tuple[Path, ...] = ()
    decoding_processes: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "(0, inf)", "decoding_processes")
