"""Training of the action-conditioned predictor on cached latents, on one process or on many."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from world_model.checkpoints.checkpoint import Manifest, find_checkpoint, read_manifest, save_checkpoint
from world_model.data.batches import Batch, WindowBatches
from world_model.data.clips import Shuffle, split_episodes
from world_model.device import autocast, resolve_precision
from world_model.encoders.registry import StoredEncoder
from world_model.finite import check_measured
from world_model.training.adapt import make_model, plain_predictor
from world_model.training.held_out import held_out_errors
from world_model.training.loop import (
    Report,
    clip_gradients,
    learning_rate_factor,
    make_adamw,
    set_learning_rate,
    update_average,
)
from world_model.training.parallel import (
    exchange,
    load_optimizer,
    load_whole,
    replicate,
    shard,
    share_all,
    whole,
    whole_tensor,
)
from world_model.training.processes import Processes, find_processes
from world_model.training.run import run_steps
from world_model.training.train_config import LoRA, PredictorSize, TrainConfig
from world_model.vjepa2_ac import VJEPA2AC, Losses

__all__ = ["LoRA", "PredictorSize", "PredictorTrainer", "TrainConfig", "train"]


class PredictorLoss(nn.Module):
    """`VJEPA2AC.loss` as one forward pass, after which processes exchange their gradients."""

    def __init__(self, model: VJEPA2AC, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, batch: Batch, measured: int) -> Losses:
        """Returns the losses of a batch whose rollouts start after so many measured frames."""
        steps, cut = self.config.rollout_steps, self.config.gradient_steps
        return self.model.loss(batch.tokens, batch.actions, batch.poses, steps, measured, cut)


class PredictorTrainer:
    """A world model whose predictor learns from cached latents; see `VJEPA2AC.loss` for what is minimised.

    What happens in a step is fixed by the seed and the step's number, so parameters, averaged parameters, the best so
    far and the optimiser are the whole state. Each process takes its rows of the step's batch, so that only rounding
    depends on how many there are (and an adapter's dropout, which each draws for itself).

    Args:
        config: The run's.
        encoder: Frozen; it goes into the model, the loop itself sees cached latents only.
        batches: Gives the windows.
        processes: All those that train together.

    Raises:
        ValueError: If the batch can't be divided among the processes and their parts.
    """

    def __init__(
        self, config: TrainConfig, encoder: StoredEncoder, batches: WindowBatches, processes: Processes
    ) -> None:
        self.config, self.batches, self.processes = config, batches, processes
        self.device = processes.device
        self.precision: Literal["bf16", "fp32"] = resolve_precision(config.precision, self.device)
        if config.batch % (processes.count * config.accumulate):
            raise ValueError(
                f"a batch of {config.batch} windows can't be divided evenly among {processes.count} processes with "
                f"{config.accumulate} parts each; choose a multiple of {processes.count * config.accumulate}"
            )
        split = split_episodes(len(batches.lengths), config.held_out, config.seed)
        self.model = make_model(config, encoder, batches, split.training).to(self.device).train()
        self.model.predictor.recompute = config.recompute
        self.average = copy.deepcopy(self.model, {id(encoder): encoder}) if config.average else None
        self.learner = self._spread()
        self.optimizer = make_adamw((self.model.predictor,), config.learning_rate, config.weight_decay)
        self.windows = batches.windows(split.training, config.frames)
        self.held_out = batches.windows(split.held_out, config.evaluate_horizon + 1)
        self.shuffle = Shuffle(len(self.windows), config.seed)
        self.record: dict[str, Any] = {"step": 0, "error": float("inf"), "since": 0}  # best, and evaluations since it
        self.best_weights: dict[str, Tensor] | None = None

    def _spread(self) -> nn.Module:
        """Returns the loss to call in training, model and average shared out or copied as the config says."""
        loss = PredictorLoss(self.model, self.config)
        if self.config.sharding == "ddp" or self.processes.count == 1:
            return replicate(loss, self.processes)
        for model in filter(None, (self.model, self.average)):
            shard(model.predictor, self.processes)
        return loss

    @property
    def judged(self) -> VJEPA2AC:
        """The model that is evaluated: the averaged one where there is one."""
        return self.average or self.model

    @property
    def finished(self) -> bool:
        """Whether evaluations have not improved for as long as the config's patience."""
        return self.config.patience is not None and self.record["since"] >= self.config.patience

    def step(self, step: int) -> dict[str, float]:
        """Takes one optimiser step; returns its losses, and when due the held-out errors. See `Trainer.step`."""
        config = self.config
        share = learning_rate_factor(
            step, config.steps, config.warmup, config.decay, config.final_learning_rate, config.first_learning_rate,
            config.cooldown,
        )  # fmt: skip
        set_learning_rate(self.optimizer, config.learning_rate * share)
        self.optimizer.zero_grad(set_to_none=True)
        losses = torch.stack([self._add_gradients(step, part) for part in range(config.accumulate)]).mean(0)
        norm = whole_tensor(clip_gradients(self.model.predictor.parameters(), config.clip))
        means = self.processes.sum(losses) / self.processes.count
        *values, length = torch.cat([means, norm.to(means)[None]]).tolist()  # the device is waited for once a step
        measured: dict[str, float] = dict(zip(("total", "teacher_forcing", "rollout"), values, strict=True))
        check_measured({**measured, "the gradient's norm": length})  # before the weights change
        self.optimizer.step()
        if self.average:  # young averages forget their start sooner
            update_average(self.average.predictor, self.model.predictor, min(config.average, (1 + step) / (10 + step)))
        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
            errors = self.evaluate()
            self._keep_best(step, errors)
            measured |= {f"held_out/{name}": value for name, value in errors.items()}
        return measured

    def _add_gradients(self, step: int, part: int) -> Float[Tensor, "3"]:
        """Adds the gradients of one part of this process's rows; returns the part's losses."""
        config, last = self.config, part + 1 == self.config.accumulate
        rows = config.batch // (self.processes.count * config.accumulate)
        first = (self.processes.rank * config.accumulate + part) * rows
        own = slice(first, first + rows)
        batch = self.batches.gather(self.windows, self.shuffle.batch(step, config.batch)[own])
        batch = Batch(batch.tokens, batch.actions, self.noisy(batch.poses, step, own)).to(self.device)
        with torch.random.fork_rng(self._gpus(), enabled=config.lora.dropout > 0):
            if config.lora.dropout:
                torch.manual_seed((config.seed * 1_000_003 + step) * config.batch + first)
            with exchange(self.learner, self.model.predictor, now=last):
                with autocast(self.precision, self.device):
                    losses: Losses = self.learner(batch, self._measured(step))
                (losses.total / config.accumulate).backward()
        return torch.stack((losses.total, losses.teacher_forcing, losses.rollout)).detach()

    def _gpus(self) -> list[torch.device]:
        return [self.device] if self.device.type == "cuda" else []

    def _measured(self, step: int) -> int:
        """Returns after how many measured frames the rollouts of a step start."""
        if self.config.rollout_context == "first":
            return 1
        most = self.config.frames - max(1, self.config.rollout_steps)
        return int(np.random.default_rng((self.config.seed, step)).integers(1, most, endpoint=True))

    def noisy(self, poses: Float[Tensor, "B T P"], step: int, rows: slice) -> Float[Tensor, "B T P"]:
        """Returns the poses of these rows of a step's batch with the configured noise."""
        if not self.config.pose_noise:
            return poses
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        noise = torch.randn((self.config.batch, *poses.shape[1:]), generator=generator)[rows]
        return poses + self.config.pose_noise * self.model.pose_std.to(poses) * noise.to(poses)

    def evaluate(self) -> dict[str, float]:
        """Returns the errors on held-out windows, see `held_out.held_out_errors`; all processes come to the same."""
        with autocast(self.precision, self.device):
            errors = held_out_errors(self.judged, self.batches, self.held_out, self.config.evaluate_windows)
        values = torch.tensor(list(errors.values()), dtype=torch.float64)
        agreed = self.processes.sum(values) / self.processes.count  # else rounding might end the run in some of them
        return dict(zip(errors, agreed.tolist(), strict=True))

    def _keep_best(self, step: int, errors: Mapping[str, float]) -> None:
        """Keeps the weights if they are the best that were evaluated; without patience none are kept."""
        error = errors[f"rollout_{self.config.evaluate_horizon}"]
        if self.config.patience is None:
            return
        if error < self.record["error"]:
            self.record = {"step": step + 1, "error": error, "since": 0}
            weights = self.judged.predictor.state_dict()
            self.best_weights = {name: weight.detach().clone() for name, weight in weights.items()}
        else:
            self.record = {**self.record, "since": self.record["since"] + 1}

    def state_dict(self) -> dict[str, Any]:
        """Returns all that a resumed run needs, in the main process as whole tensors; all processes call it."""
        parts = {
            "predictor": self.model.predictor.state_dict(),
            "average": self.average.predictor.state_dict() if self.average else None,
            "best": self.best_weights,
            "record": self.record,
            "optimizer": self.optimizer.state_dict(),
        }
        return whole(parts, keep=self.processes.main)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        load_whole(self.model.predictor, state["predictor"])
        load_optimizer(self.optimizer, state["optimizer"])
        if self.average:
            load_whole(self.average.predictor, state["average"])
        self.record = state["record"]
        if state["best"] is not None:
            self.best_weights = share_all(state["best"], self.model.predictor.state_dict())

    def result(self) -> VJEPA2AC | None:
        """Returns, to the main process, the trained world model, adapters merged; all processes call it.

        It is the best that was evaluated where the config has a patience, otherwise the last.
        """
        weights = whole(self.best_weights or self.judged.predictor.state_dict(), keep=self.processes.main)
        if not self.processes.main:
            return None
        predictor = plain_predictor(self.model.predictor.config, self.config.lora, weights)
        parts = self.model.action_spec, self.model.statistics, self.model.context
        return VJEPA2AC(self.model.encoder, predictor, *parts).to(self.device)


def train(
    config: TrainConfig, encoder: StoredEncoder, batches: WindowBatches, report: Report, provenance: Mapping[str, Any]
) -> Manifest | None:
    """Trains, or goes on training, saves the checkpoint and returns its manifest; None if interrupted before.

    Of several processes, see `processes.find_processes`, all call this, and one of them reports and writes.

    Args:
        config: The run's.
        encoder: The one that made the latents.
        batches: Gives the windows.
        report: Gets every step's measurements.
        provenance: Of the checkpoint, plain values, such as the command, the git commit and the data's fingerprint.

    Raises:
        ValueError: If parent, data and settings do not fit together.
        StateError: If the output directory holds the state of another run.
        DivergedError: If something is not finite, see `run_steps`.
    """
    processes = find_processes(config.device)
    trainer = PredictorTrainer(config, encoder, batches, processes)
    training = {**provenance, "latents": batches.latents.key}
    if config.parent is not None:
        training["parent_files"] = read_manifest(find_checkpoint(config.parent)).files
        training["parent_metrics"] = trainer.evaluate()
    if not run_steps(trainer, config, config.session, batches.latents.key, report, processes, lambda: trainer.finished):
        return None
    return _save(trainer, training)


def _save(trainer: PredictorTrainer, training: dict[str, Any]) -> Manifest:
    """Returns the manifest of the finished checkpoint, which the main process has written."""
    config, result = trainer.config, trainer.result()
    if trainer.best_weights is not None:
        training["best_step"] = trainer.record["step"]
    if result is not None:
        with autocast(trainer.precision, trainer.device):
            metrics = held_out_errors(result, trainer.batches, trainer.held_out, config.evaluate_windows)
        training["metrics"] = metrics
        save_checkpoint(config.checkpoint_directory, result, training=training, parent=config.parent)
    trainer.processes.wait()
    return read_manifest(config.checkpoint_directory)
