"""Training of LeWM by its own networks, loss and optimiser's settings, on frames and actions of our recordings."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from planner.benchmarks.peers.code import peer_module
from planner.benchmarks.peers.lewm import PeerLeWM, make_lewm
from planner.benchmarks.peers.lewm_config import TrainLeWMConfig
from world_model.checkpoints.checkpoint import Manifest, read_manifest, save_checkpoint
from world_model.data.clips import Shuffle, Windows, split_episodes
from world_model.device import autocast, find_device, resolve_precision
from world_model.finite import check_measured
from world_model.training.compact import ImageBatch, ImageBatches
from world_model.training.held_out import choose_windows, latent_errors
from world_model.training.loop import Report, clip_gradients, learning_rate_factor, set_learning_rate
from world_model.training.run import run_steps

_AT_ONCE = 16  # held-out windows


class LeWMTrainer:
    """A LeWM in training.

    With windows of the history and one frame more, z = projector(vit(image)) and f the predictor::

        L = mean |f(z_{..t}, a_{..t}) - z_{t+1}|^2 + lambda SIGReg({z_t of the batch}, each t by itself)

    Source: arXiv 2603.19312, and scripts/train/lewm.py of the peer's code. Differences: windows of our recordings, and
    a learning rate that falls over the time of the run.

    Args:
        config: The run's.
        batches: Gives the windows.
    """

    def __init__(self, config: TrainLeWMConfig, batches: ImageBatches) -> None:
        recorded = batches.recorded
        self.config, self.batches = config, batches
        self.device = find_device(config.device)
        self.precision: Literal["bf16", "fp32"] = resolve_precision(config.precision, self.device)
        self.split = split_episodes(len(recorded.lengths), config.held_out, config.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            peer = make_lewm(config.shape, recorded.action_spec.size)
        statistics = recorded.statistics(self.split.training)
        self.model = PeerLeWM(peer, config.shape, recorded.action_spec, statistics).to(self.device).train()
        self.sigreg: nn.Module = peer_module("stable_worldmodel.wm.loss").SIGReg(config.knots, config.projections)
        self.sigreg.to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.windows = recorded.windows(self.split.training, config.frames)
        self.held_out = recorded.windows(self.split.held_out, max(config.frames, config.evaluate_horizon + 1))
        self.shuffle = Shuffle(len(self.windows), config.seed)
        self.seconds = self.processor_seconds = 0.0  # of steps and evaluations, of all sessions

    @property
    def finished(self) -> bool:
        """Whether its time is over."""
        return self.config.minutes is not None and self.processor_seconds >= 60 * self.config.minutes

    def share_done(self, step: int) -> float:
        """Returns how much of the run is over before a step, by steps or by time."""
        limit = self.config.minutes
        return max(step / self.config.steps, 0.0 if limit is None else min(1.0, self.processor_seconds / (60 * limit)))

    def step(self, step: int) -> dict[str, float]:
        """Takes one optimiser step; returns its losses and the time so far, and when due the held-out errors."""
        began, busy, config = time.monotonic(), time.process_time(), self.config
        falls = learning_rate_factor(int(1e6 * self.share_done(step)), 10**6, 0, "cosine", config.final_learning_rate)
        rises = min(1.0, (step + 1) / (config.warmup + 1))
        set_learning_rate(self.optimizer, config.learning_rate * rises * falls)
        batch = self._gather(self.windows, self.shuffle.batch(step, config.batch))
        with torch.random.fork_rng(devices=[]), autocast(self.precision, self.device):
            torch.manual_seed(config.seed * 1_000_003 + step)  # of dropout and SIGReg's directions
            losses = self.losses(batch)
        self.optimizer.zero_grad(set_to_none=True)
        losses["total"].backward()
        norm = clip_gradients(self.model.parameters(), config.clip)
        measured = {name: loss.item() for name, loss in losses.items()}
        check_measured({**measured, "the gradient's norm": norm.item()})  # before the weights change
        self.optimizer.step()
        self._add_time(began, busy)
        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps or self.finished:
            began, busy = time.monotonic(), time.process_time()
            measured |= {f"held_out/{name}": value for name, value in self.evaluate().items()}
            self._add_time(began, busy)
        return {**measured, "minutes": self.seconds / 60, "processor_minutes": self.processor_seconds / 60}

    def _add_time(self, began: float, busy: float) -> None:
        self.seconds += time.monotonic() - began
        self.processor_seconds += time.process_time() - busy

    def _gather(self, windows: Windows, numbers: Int[np.ndarray, " B"]) -> ImageBatch:
        """Returns the numbered windows."""
        return self.batches.gather(windows, numbers, np.zeros(len(numbers), np.int64))

    def _latents(self, batch: ImageBatch) -> Float[Tensor, "B T D"]:
        """Returns the latents of a batch's frames."""
        images = batch.images
        return self.model.latents(self.model.pixels(images.flatten(0, 1)).unflatten(0, images.shape[:2]))

    def losses(self, batch: ImageBatch) -> dict[str, Float[Tensor, ""]]:
        """Returns the losses of a batch, the total first."""
        return self._losses(self._latents(batch), batch.actions.to(self.device))

    def _losses(
        self, latents: Float[Tensor, "B T D"], actions: Float[Tensor, "B T-1 A"]
    ) -> dict[str, Float[Tensor, ""]]:
        prediction = (self.model.predict(latents[:, :-1], actions) - latents[:, 1:]).square().mean()
        regulariser = self.sigreg(latents.float().transpose(0, 1))
        total = prediction + self.config.regulariser * regulariser
        return {"total": total, "prediction": prediction, "regulariser": regulariser}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Returns the losses on held-out windows and the errors of rollouts from one frame, the model as it plans.

        The errors are `latent_errors`, the losses stand beside.
        """
        numbers, frames = choose_windows(self.held_out, self.config.evaluate_windows), self.config.frames
        parts: list[tuple[Tensor, Tensor]] = []
        self.model.eval()
        for some in np.array_split(numbers, max(1, len(numbers) // _AT_ONCE)):
            batch = self._gather(self.held_out, some)
            parts.append((self._latents(batch), batch.actions.to(self.device)))
        latents, actions = (torch.cat(each) for each in zip(*parts, strict=True))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            losses = self._losses(latents[:, :frames], actions[:, : frames - 1])
        measured = {f"loss_{name}": loss.item() for name, loss in losses.items()}
        rolled, shuffled = self._unroll(latents, actions), self._unroll(latents, actions.roll(1, dims=0))
        self.model.train()
        return measured | latent_errors(latents, rolled, shuffled)

    def _unroll(self, latents: Float[Tensor, "B T D"], actions: Float[Tensor, "B T-1 A"]) -> Float[Tensor, "B H D"]:
        """Returns what is predicted of the frames after each window's first one."""
        frames = latents[:, :1]
        for step in range(self.config.evaluate_horizon):
            first = max(0, step + 1 - self.config.shape.history)
            following = self.model.predict(frames[:, first:], actions[:, first : step + 1])[:, -1:]
            frames = torch.cat([frames, following], dim=1)
        return frames[:, 1:]

    def state_dict(self) -> dict[str, Any]:
        """Returns all that a resumed run needs."""
        times = {"seconds": self.seconds, "processor_seconds": self.processor_seconds}
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "times": times}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.seconds, self.processor_seconds = state["times"]["seconds"], state["times"]["processor_seconds"]


def train_lewm(
    config: TrainLeWMConfig, batches: ImageBatches, report: Report, provenance: Mapping[str, Any]
) -> Manifest | None:
    """Trains, or goes on training, saves the checkpoint and returns its manifest; None if interrupted before.

    Args:
        config: The run's.
        batches: Gives the windows.
        report: Gets every step's measurements.
        provenance: Of the checkpoint, plain values.

    Raises:
        PeerMissingError: If the peer's code is not there.
        ValueError: If data and settings do not fit together.
        StateError: If the output directory holds the state of another run.
        DivergedError: If something is not finite.
    """
    trainer = LeWMTrainer(config, batches)
    if not run_steps(trainer, config, config.session, batches.key, report, finished=lambda: trainer.finished):
        return None
    times = {"minutes": trainer.seconds / 60, "processor_minutes": trainer.processor_seconds / 60}
    training = {**provenance, **times, "frames": batches.key, "metrics": trainer.evaluate()}
    save_checkpoint(config.checkpoint_directory, trainer.model.eval(), training=training)
    return read_manifest(config.checkpoint_directory)
