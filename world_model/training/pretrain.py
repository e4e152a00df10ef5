"""Pretraining of small encoders by masked latent prediction, V-JEPA 2's objective on single frames."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from world_model.data.clips import Shuffle, split_episodes
from world_model.data.store import FrameStore
from world_model.device import autocast, find_device, resolve_precision
from world_model.encoders.folder import save_encoder
from world_model.encoders.vjepa2 import Encoder, layer_norm
from world_model.finite import DivergedError, check_measured
from world_model.training.held_out import effective_rank
from world_model.training.loop import (
    Report,
    clip_gradients,
    learning_rate_factor,
    make_adamw,
    set_learning_rate,
    update_average,
)
from world_model.training.masked import (
    MaskedPredictor,
    draw_masks,
    encode_patches,
    halves_tables,
    jitter,
    patchify,
    whiten,
)
from world_model.training.pretrain_config import PretrainConfig
from world_model.training.run import run_steps


class CollapseError(ValueError):
    """The encoder gives (nearly) the same tokens for every image, so it has stopped learning."""


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
    "token_rank" is the effective rank of how the tokens of a patch differ between images, see `effective_rank`. What is
    the same in all images, such as a patch's place, does not count.
    """
    centred = (tokens - tokens.mean(0)).flatten(0, 1).float()
    rank = effective_rank(centred.T @ centred / len(centred))
    return {"token_std": tokens.float().std(0).mean().item(), "token_rank": rank}


def pretrain(config: PretrainConfig, frames: FrameStore, report: Report) -> Path | None:
    """Trains, or goes on training, and returns the folder of the finished encoder; None if interrupted before.

    Raises:
        StateError: If the output directory holds the state of another run.
        DivergedError: If something is not finite, see `run_steps`.
        CollapseError: If the tokens collapsed.
    """
    trainer = Pretrainer(config, frames)
    if not run_steps(trainer, config, config.session, frames.layout.key, report):
        return None
    return save_encoder(trainer.target, config.output / "encoder")


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
            "learning_rate, raise momentum or hide less (masks.hidden_fraction); name another output directory"
        )
    return count
