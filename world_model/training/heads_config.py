"""The settings of a training run on a compact world model's latents: of its heads, and further of its dynamics."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from world_model.choices import Precision
from world_model.data.store_layout import cache_beside
from world_model.heads.ways_config import InverseDynamicsShape, TemporalDistanceShape

Part: TypeAlias = Literal["dynamics", "inverse_dynamics", "temporal_distance"]

SESSION_FIELDS = (  # these may change when a run is resumed
    "data", "more", "output", "cache", "checkpoint", "bank_frames", "device", "save_every", "log", "reading",
    "decoding_processes",
)  # fmt: skip


@dataclass(frozen=True)
class HeadsConfig:
    """One training run on the latents of a compact world model.

    Attributes:
        parent: The checkpoint whose latents they are learnt on, by name or path.
        data: Folder of recordings in any format that `envs.episodes.open.open_dataset` knows.
        more: Folders of more recordings, such as scripts/collect_practice.py makes; frames are kept beside each.
        output: Run directory: resolved config, log, state to resume from.
        reading: YAML file that says how to read them, see `envs.episodes.reading.Reading`; None where the format does.
        checkpoint: Where the parent goes with its heads; None for checkpoint/ in the run directory.
        cache: Where decoded frames are kept; None for data + "-cache".
        decoding_processes: Processes that decode videos.
        inverse_dynamics: Shape of the goal-conditioned inverse dynamics.
        temporal_distance: Shape of the temporal distance.
        furthest: Actions to a goal at most, in what is learnt from.
        learn: What learns: "inverse_dynamics", "temporal_distance", and "dynamics", which go on. The rest stays the
            parent's. A search goes where its model errs in its favour: recordings of what a search tried tell dynamics
            and distance what comes of it, but a policy learns nothing good from them.
        rollout_steps: Actions of the rollouts that the dynamics learn from, predictions fed back.
        rollouts: Rollouts a step.
        rollout_weight: Weight of their mean squared error.
        imagined: Share of the pairs whose frame is one of the rollouts': a search asks the heads of such alone.
        unrelated: Pairs with goals of other episodes, as a share of the batch, that the distance learns as far: half of
            them are of a like pose. Recordings alone say of no frame that it is far from what looks nearly like it.
        bank_frames: Frames, at most, of the bank of all these recordings that takes the place of the parent's; 0: that
            stays.
        noise: Std of the noise on latents, which have a std of about 1.
        blur: Std of the noise on poses, as a share of theirs: what a pose tells of the past tells what comes next
            without looking.
        steps: Optimiser steps.
        batch: Pairs of frames a step.
        learning_rate: At its peak.
        final_learning_rate: At the end of the cosine, as a share of the peak.
        warmup: Steps of linear rise.
        weight_decay: AdamW's, not on biases and norms.
        clip: Largest gradient norm; 0 for none.
        held_out: Share of episodes that is judged by and never trained on; without more, the same seed gives the
            parent's.
        evaluate_every: Steps between evaluations; there is one at the end anyway.
        save_every: Steps between saved states.
        log: Where measurements go beside losses.jsonl; wandb is an extra.
        precision: bf16 autocast or fp32; auto takes bf16 where the hardware has it.
        device: "auto", "cpu", "cuda", ...
        seed: Of everything random.

    Raises:
        ValueError: If a setting is out of its range.
    """

    parent: str
    data: Path
    output: Path
    more: tuple[Path, ...] = ()
    reading: Path | None = None
    checkpoint: Path | None = None
    cache: Path | None = None
    decoding_processes: int = 1
    inverse_dynamics: InverseDynamicsShape = field(default_factory=InverseDynamicsShape)
    temporal_distance: TemporalDistanceShape = field(default_factory=TemporalDistanceShape)
    furthest: int = 24
    learn: tuple[Part, ...] = ("dynamics", "inverse_dynamics", "temporal_distance")
    rollout_steps: int = 6
    rollouts: int = 160
    rollout_weight: float = 10.0
    imagined: float = 0.5
    unrelated: float = 0.3
    bank_frames: int = 0
    noise: float = 0.1
    blur: float = 0.05
    steps: int = 5000
    batch: int = 512
    learning_rate: float = 1e-3
    final_learning_rate: float = 0.001
    warmup: int = 200
    weight_decay: float = 1e-2
    clip: float = 1.0
    held_out: float = 0.05
    evaluate_every: int = 500
    save_every: int = 500
    log: Literal["tensorboard", "wandb"] = "tensorboard"
    precision: Precision = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (
            "furthest", "steps", "batch", "learning_rate", "evaluate_every", "save_every", "decoding_processes",
            "rollout_steps", "rollouts", "rollout_weight",
        ):  # fmt: skip
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("noise", "blur", "warmup", "weight_decay", "clip", "bank_frames"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not self.learn or len(set(self.learn)) < len(self.learn):
            raise ValueError(f"learn names what learns, each once, got {self.learn}")
        for name in ("imagined", "unrelated"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share, from 0 to 1, got {getattr(self, name)}")

    @property
    def cache_directory(self) -> Path:
        """Where decoded frames are kept."""
        return self.cache or cache_beside(self.data)

    @property
    def checkpoint_directory(self) -> Path:
        """Where the finished model goes."""
        return self.checkpoint or self.output / "checkpoint"
