"""The settings of a training run of the action-conditioned predictor."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from envs.ranges import check_range
from world_model.training.run_config import ModelRunConfig


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
class LoRA:
    """Low-rank adapters W + alpha / rank B A on the attention and MLP weights of every block (arXiv 2106.09685).

    Attributes:
        rank: Of B A; 0 for no adapters.
        alpha: Their weight is alpha / rank.
        dropout: Share of an adapter's inputs that are left out in training.
    """

    rank: int = 0
    alpha: int = 16
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.rank < 0 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ValueError(f"an adapter's rank must be at least 0, alpha positive, dropout in 0 .. 1: {self}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ModelRunConfig):
    """One training run of a predictor.

    Attributes:
        broken: What happens to an episode that can't be read: "refuse" ends the run with an error that names it,
            "skip" leaves it out with a warning that names it.
        encoding_processes: Processes that encode images.
        encoder: For a new predictor: folder of its frozen encoder in transformers' format, or my_encoder.py:Mine, see
            `world_model.encoders.folder.load_encoder`.
        parent: To fine-tune: the checkpoint to start from, by name or path. Its encoder, its predictor's shape and its
            statistics stay.
        blocks: Of a parent, how many of the predictor's last blocks learn, with the output layers after them; None for
            the whole predictor.
        lora: Of a parent, adapters that learn in place of its weights, with its action and pose encoders. They are
            merged into the weights of the finished checkpoint.
        fresh_conditioning: Of a parent whose actions or poses mean something else than the data's: its action and
            pose encoders start anew, with the data's action spec and statistics.
        predictor: Size of a new predictor.
        context: Past frames that a planner's rollouts will use at most.
        frames: Frames of a training window, T.
        stride: Distance of a window's frames; the model's actions then last `stride` recorded ones.
        rollout_steps: Steps of the rollout loss, k.
        rollout_context: Where its rollouts start: "first", after a window's first frame; "mixed", after a number of
            measured frames that is drawn anew each step, 1 .. frames - k, so that predictions are made from measured
            frames and predictions together.
        gradient_steps: Predictions fed back that the rollout loss's gradient flows through at most; None for all.
        batch: Windows a step, of all processes together: the same number gives the same losses on one process or
            many.
        accumulate: Parts, one after the other, in which each process takes its share of the batch, to save memory.
        recompute: Whether each block's activations are computed again for the backward pass rather than kept.
        sharding: On several processes, "ddp": each holds a copy of the predictor; "fsdp": each holds a share of its
            weights, gradients and optimiser state (FSDP2), for predictors that are large for one device. One process
            holds everything either way.
        first_learning_rate: Where the warm-up starts, as a share of the peak.
        decay: Shape of the fall after it.
        cooldown: The last steps, which the fall takes; before them the rate stays at its peak. None for all steps
            after the warm-up.
        average: Momentum of the averaged weights that are judged and saved; 0 for none.
        pose_noise: Std of noise on input poses, as a share of each dimension's std; 0 for none.
        evaluate_windows: Held-out windows an evaluation takes at most.
        evaluate_horizon: Steps of its rollouts.
        patience: Evaluations in a row without a smaller held-out error of the rollout's last step after which the
            run ends; the weights of the smallest are the ones saved. None to take all steps and save the last.
        seed: Of everything random; the same as pretraining's gives the same held-out episodes.
    """

    session: ClassVar[tuple[str, ...]] = (
        *ModelRunConfig.session, "encoder", "accumulate", "sharding", "recompute", "broken", "encoding_processes",
    )  # fmt: skip

    broken: Literal["refuse", "skip"] = "refuse"
    encoding_processes: int = 1
    encoder: Path | None = None
    parent: str | None = None
    blocks: int | None = None
    lora: LoRA = field(default_factory=LoRA)
    fresh_conditioning: bool = False
    predictor: PredictorSize = field(default_factory=PredictorSize)
    context: int = 2
    frames: int = 4
    stride: int = 1
    rollout_steps: int = 2
    rollout_context: Literal["first", "mixed"] = "first"
    gradient_steps: int | None = None
    accumulate: int = 1
    recompute: bool = False
    sharding: Literal["ddp", "fsdp"] = "ddp"
    first_learning_rate: float = 0.0
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    cooldown: int | None = None
    average: float = 0.0
    pose_noise: float = 0.0
    evaluate_windows: int = 256
    evaluate_horizon: int = 4
    patience: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(
            self, "(0, inf)", "frames", "stride", "accumulate", "encoding_processes", "evaluate_windows",
            "evaluate_horizon", "patience", "cooldown",
        )  # fmt: skip
        check_range(self, "[0, inf)", "gradient_steps", "pose_noise")
        check_range(self, "[0, 1)", "average")
        self._check_start()
        if not 0 <= self.rollout_steps < self.frames:
            raise ValueError(f"a window of {self.frames} frames has no {self.rollout_steps} rollout steps")
        if self.cooldown is not None and self.warmup + self.cooldown > self.steps:
            raise ValueError(
                f"{self.warmup} steps of warm-up and {self.cooldown} of cooldown do not fit into {self.steps} steps"
            )
        if not 0 <= self.first_learning_rate <= 1:
            raise ValueError(f"first_learning_rate is a share of the peak, 0 .. 1, got {self.first_learning_rate}")

    def _check_start(self) -> None:
        """Raises ValueError if what the predictor starts from and what of it learns do not fit together."""
        if (self.encoder is None) == (self.parent is None):
            raise ValueError(
                "name either an encoder, for a new predictor, or a parent, the checkpoint to fine-tune; got "
                f"encoder {self.encoder} and parent {self.parent}"
            )
        if self.blocks is not None and (self.parent is None or self.blocks < 1):
            raise ValueError(f"blocks is how many of a parent's last blocks learn, at least 1, got {self.blocks}")
        if self.parent is None and (self.lora.rank or self.fresh_conditioning):
            raise ValueError("lora and fresh_conditioning say what becomes of a parent, but none is named")
        if self.blocks is not None and self.lora.rank:
            raise ValueError("of a parent either the last blocks or adapters learn; name one of blocks and lora")
        if self.parent is None and self.longest > self.predictor.max_frames:
            raise ValueError(f"predictor.max_frames is {self.predictor.max_frames}, but {self.longest} frames are used")

    @property
    def longest(self) -> int:
        """The most frames that the predictor gets in one sequence."""
        return max(self.frames - 1, self.evaluate_horizon, self.context)
