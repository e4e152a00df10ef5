"""Pretraining of small encoders by masked latent prediction, V-JEPA 2's objective on single frames."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from world_model.clips import Shuffle, split_episodes
from world_model.device import Precision, autocast, find_device, resolve_precision
from world_model.encoder import Encoder, EncoderConfig, layer_norm
from world_model.encoder_folder import save_encoder
from world_model.finite import DivergedError, check_measured
from world_model.loop import Report, clip_gradients, learning_rate_factor, make_adamw, set_learning_rate, update_average
from world_model.masked import (
    MaskConfig,
    MaskedPredictor,
    MaskedPredictorConfig,
    draw_masks,
    encode_patches,
    halves_tables,
    jitter,
    patchify,
)
from world_model.run import run_steps
from world_model.store import FrameStore
from world_model.store_layout import cache_beside
from world_model.whitening import whiten

SESSION_FIELDS = ("data", "output", "cache", "device", "save_every")  # these may change when a run is resumed


class CollapseError(RuntimeError):
    """The encoder gives (nearly) the same tokens for every image, so it has stopped learning."""


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


class Pretrainer:
    """An encoder in training, its averaged target, the masked predictor and the optimiser.

    The loss of images x with visible patches V and hidden patches M is

        mean | P(E(x_V), V, M)_M - W(LN(E_avg(x)))_M |  +  visible_weight * the same over V

    in which E sees only V, E_avg is the exponential moving average of E and gets no gradient, and LN has no
    parameters (arXiv 2506.09985, section 2; one mask a step, shared by the batch). The second part is the dense loss of
    V-JEPA 2.1 (arXiv 2603.14482) without its distances to the mask. W, not in V-JEPA 2, is `whiten`:
    before a camera that stands still most of a token is the same in all images, and of the rest most is whether the
    arm is there; without W the tokens soon say nothing else. Everything random in a step derives from the seed and
    the step's number, so parameters, optimiser and step are the whole state.

    Args:
        config: The run's.
        frames: Decoded images of the dataset, see `store.build_frames`.
    """

    def __init__(self, config: PretrainConfig, frames: FrameStore) -> None:
        self.config, self.frames = config, frames
        self.device = find_device(config.device)
        self.precision: Literal["bf16", "fp32"] = resolve_precision(config.precision, self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.encoder = Encoder(config.encoder).to(self.device)
            self.predictor = MaskedPredictor(config.predictor, config.encoder.width, config.encoder.grid)
        self.predictor.to(self.device)
        self.target = copy_encoder(self.encoder)
        self.tables = halves_tables(self.encoder)
        self.optimizer = make_adamw((self.encoder, self.predictor), config.learning_rate, config.weight_decay)
        split = split_episodes(len(frames.layout.lengths), config.held_out, config.seed)
        self.numbers = frames.frame_numbers(split.training)
        self.shuffle = Shuffle(len(self.numbers), config.seed)
        self.looks = 0

    def step(self, step: int) -> dict[str, float]:
        """Takes one optimiser step; returns its loss, and when due the monitor's figures.

        Raises:
            CollapseError: If the tokens collapsed.
            DivergedError: If the loss or the gradient is not finite.
        """
        config = self.config
        share = learning_rate_factor(step, config.steps, config.warmup, "cosine", config.final_learning_rate)
        set_learning_rate(self.optimizer, config.learning_rate * share)
        images = self.frames.gather(self.numbers[self.shuffle.batch(step, config.batch)])
        try:
            loss, targets = self.loss(torch.from_numpy(images).to(self.device), step)
        except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]; a GPU gives NaN instead
            raise DivergedError("the tokens to predict have no principal directions (are not finite)") from error
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = clip_gradients([*self.encoder.parameters(), *self.predictor.parameters()], config.clip)
        value, length = torch.stack([loss.detach().float(), norm.float()]).tolist()  # the device is waited for once
        check_measured({"loss": value, "the gradient's norm": length})  # before the weights change
        self.optimizer.step()
        low, high = config.momentum
        update_average(self.target, self.encoder, low + (high - low) * step / config.steps)
        if step % config.monitor_every:
            return {"loss": value}
        health = token_health(targets)
        self.looks = check_collapse(config, step, health, self.looks)
        return {"loss": value, **health}

    def loss(self, images: UInt8[Tensor, "B h w 3"], step: int) -> tuple[Float[Tensor, ""], Float[Tensor, "B N D"]]:
        """Returns the masked prediction loss and the target tokens of all patches."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        visible, hidden = draw_masks(self.config.masks, self.config.encoder.grid, generator)
        visible, hidden = visible.to(self.device), hidden.to(self.device)
        pixels = jitter(self.encoder.preprocess(images), self.config.jitter, generator)
        patches = patchify(pixels, self.config.encoder.patch_size)
        with autocast(self.precision, self.device):
            with torch.no_grad():
                targets = layer_norm(encode_patches(self.target, patches, self.tables))
            seen = encode_patches(self.encoder, patches[:, visible], self.tables[:, visible])
            again, guessed = self.predictor(seen, visible, hidden)
        wanted = whiten(targets, self.config.whiten_floor)
        loss = (guessed.float() - wanted[:, hidden]).abs().mean()
        if self.config.visible_weight:
            loss = loss + self.config.visible_weight * (again.float() - wanted[:, visible]).abs().mean()
        return loss, targets

    def state_dict(self) -> dict[str, Any]:
        """Returns all that a resumed run needs."""
        parts = {"encoder": self.encoder, "target": self.target, "predictor": self.predictor}
        states = {name: part.state_dict() for name, part in parts.items()}
        return {**states, "optimizer": self.optimizer.state_dict(), "looks": self.looks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        for name in ("encoder", "target", "predictor", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.looks = state["looks"]


def copy_encoder(encoder: Encoder) -> Encoder:
    """Returns an encoder with the same weights that takes no gradients."""
    twin = Encoder(encoder.config).to(next(encoder.parameters()).device)
    twin.load_state_dict(copy.deepcopy(encoder.state_dict()))
    return twin.requires_grad_(False).eval()


@torch.no_grad()
def token_health(tokens: Float[Tensor, "B N D"]) -> dict[str, float]:
    """Returns how far tokens are from collapse.

    "token_std" is the std across images, averaged over patches and dimensions: 0 if all images look the same.
    "token_rank" is the effective rank exp(-sum p ln p) of how the tokens of a patch differ between images, p the
    eigenvalues of their covariance divided by the sum: 1 if they vary along one line, at most D. What is the same in
    all images, such as a patch's place, does not count.
    """
    centred = (tokens - tokens.mean(0)).flatten(0, 1).float()
    eigenvalues = torch.linalg.eigvalsh(centred.T @ centred / len(centred)).clamp_min(1e-12)
    share = eigenvalues / eigenvalues.sum()
    rank = (-(share * share.log()).sum()).exp()
    return {"token_std": tokens.float().std(0).mean().item(), "token_rank": rank.item()}


def pretrain(config: PretrainConfig, frames: FrameStore, report: Report) -> Path | None:
    """Trains, or goes on training, and returns the folder of the finished encoder; None if interrupted before.

    Args:
        config: The run's.
        frames: Decoded images of the dataset, see `store.build_frames`.
        report: Gets every step's measurements.

    Raises:
        StateError: If the output directory holds the state of another run.
        DivergedError: If something is not finite, see `run_steps`.
        CollapseError: If the tokens collapsed.
    """
    trainer = Pretrainer(config, frames)
    if not run_steps(trainer, config, SESSION_FIELDS, frames.layout.key, report):
        return None
    if trainer.target.whitening is not None:
        fit_whitening(trainer.target, frames, trainer.numbers)
    return save_encoder(trainer.target, config.output / "encoder")


@torch.no_grad()
def fit_whitening(encoder: Encoder, frames: FrameStore, numbers: Int[np.ndarray, " F"], images: int = 2048) -> None:
    """Fits an encoder's whitening to some of the numbered frames, evenly chosen."""
    assert encoder.whitening is not None
    device, patch = encoder.rotary.tables.device, encoder.config.patch_size
    chosen = numbers[np.linspace(0, len(numbers) - 1, min(images, len(numbers))).round().astype(np.int64)]
    parts, tables = [], halves_tables(encoder)
    for first in range(0, len(chosen), 64):
        pixels = encoder.preprocess(torch.from_numpy(frames.gather(chosen[first : first + 64])).to(device))
        parts.append(layer_norm(encode_patches(encoder, patchify(pixels, patch), tables)))
    share = encoder.whitening.fit(torch.cat(parts))
    kept, width = encoder.width, encoder.config.width
    logging.getLogger(__name__).info("whitened: %d of %d directions, %.2f %% of the variance", kept, width, 100 * share)


def check_collapse(config: PretrainConfig, step: int, health: dict[str, float], before: int) -> int:
    """Returns how many looks in a row have now found a collapse, `before` of them until now.

    Raises:
        CollapseError: If that is as many as the config's patience.
    """
    healthy = health["token_std"] >= config.minimum_std and health["token_rank"] >= config.minimum_rank
    count = 0 if healthy else before + 1
    if count >= config.patience:
        raise CollapseError(
            f"the encoder collapsed: at step {step} the std of its tokens across images is "
            f"{health['token_std']:.4f} (must be {config.minimum_std}) and their effective rank "
            f"{health['token_rank']:.1f} (must be {config.minimum_rank}), as in the {count - 1} looks before. Lower "
            "learning_rate, raise momentum or hide less (masks.hidden_fraction); delete the output directory first"
        )
    return count
