"""Training of a compact world model's eyes: other views of a scene give the latents that one view gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from envs.config import Choice
from world_model.checkpoints.checkpoint import Head, Manifest, save_with_history
from world_model.compact import CompactModel
from world_model.data.clips import Shuffle, Windows, split_episodes
from world_model.data.joined import JoinedFrames
from world_model.device import autocast, find_device, resolve_precision
from world_model.encoders.readout import Readout, ReadoutConfig
from world_model.encoders.registry import StoredEncoder
from world_model.encoders.trunks import TRUNKS
from world_model.finite import check_measured
from world_model.load import load_world_model
from world_model.training.compact import jitter_colours
from world_model.training.held_out import choose_windows
from world_model.training.loop import Report, clip_gradients, learning_rate_factor, make_adamw, set_learning_rate
from world_model.training.run import run_steps
from world_model.training.views_config import ViewsConfig

_EYES = ("encoder", "readout")
_PASS = 256  # frames an evaluation looks at at once


class ViewsTrainer:
    """Trunk and readout of a compact world model in training, to see through a view.

    With z the parent's latents of a frame as the first view shows it, and x_v the same frame in view v, all of which
    are drawn alike, the first among them::

        L = mean |readout(encoder(x_v)) - z|^2

    So the latents mean what they did, and dynamics and heads go on with them. What moves in all views alike must be
    read from where it is in each: the network learns where the camera stands from what does not move.

    Source: regression on a frozen teacher's features, as in distillation (arXiv 1503.02531), with a teacher that sees
    less of what varies.

    Args:
        config: The run's.
        parent: The model that gives z, frozen.
        targets: z of every episode's frames.
        views: Decoded frames of each view, the first of them what `targets` are of.

    Raises:
        ValueError: If the views differ in length or the latents' shape is not the parent's.
    """

    def __init__(
        self,
        config: ViewsConfig,
        parent: CompactModel,
        targets: Sequence[Float[Tensor, "T Z"]],
        views: Sequence[JoinedFrames],
    ) -> None:
        self.config, self.views, self.targets = config, tuple(views), tuple(targets)
        self.device = find_device(config.device)
        self.precision: Literal["bf16", "fp32"] = resolve_precision(config.precision, self.device)
        lengths = views[0].lengths
        for number, view in enumerate(views):
            if view.lengths != lengths:
                raise ValueError(f"view {number} holds other episodes than the first: their lengths differ")
        split = split_episodes(len(lengths), config.held_out, config.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = with_new_eyes(parent, config).to(self.device).train()
        self.eyes = torch.nn.ModuleList([self.model.encoder, self.model.readout])
        self.optimizer = make_adamw([self.eyes], config.learning_rate, config.weight_decay)
        self.windows, self.held_out = (Windows(lengths, episodes, 1) for episodes in (split.training, split.held_out))
        self.shuffle = Shuffle(len(self.windows), config.seed)
        self._parents = self._errors(parent)  # what seeing as before would score

    def step(self, step: int) -> dict[str, float]:
        """Takes one optimiser step; returns its loss, and when due the held-out errors. See `Trainer.step`."""
        config = self.config
        share = learning_rate_factor(step, config.steps, config.warmup, "cosine", config.final_learning_rate)
        set_learning_rate(self.optimizer, config.learning_rate * share)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        numbers = self.shuffle.batch(step, config.batch)
        view = torch.randint(len(self.views), (len(numbers),), generator=generator).numpy()
        images, targets = self._gather(self.windows, numbers, view)
        pixels = jitter_colours(self.model.encoder.preprocess(images), config.jitter, generator)
        with autocast(self.precision, self.device):
            latents = self.model.latents(pixels).flatten(1)
        loss = (latents.float() - targets).square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = clip_gradients(self.eyes.parameters(), config.clip)
        value, length = torch.stack([loss, norm]).detach().tolist()
        check_measured({"error": value, "the gradient's norm": length})  # before the weights change
        self.optimizer.step()
        measured = {"error": value}
        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
            measured |= {f"held_out/{name}": error for name, error in self.evaluate().items()}
        return measured

    def evaluate(self) -> dict[str, float]:
        """Returns the mean squared error of each view's latents on held-out frames, and of the parent's ("_parent")."""
        self.model.eval()
        own = self._errors(self.model)
        self.model.train()
        return own | {f"{name}_parent": error for name, error in self._parents.items()}

    @torch.no_grad()
    def _errors(self, model: CompactModel) -> dict[str, float]:
        """Returns a model's mean squared error of each view's latents on held-out frames."""
        numbers, errors = choose_windows(self.held_out, self.config.evaluate_frames), {}
        for view in range(len(self.views)):
            squared = []
            for part in np.array_split(numbers, -(-len(numbers) // _PASS)):
                images, targets = self._gather(self.held_out, part, np.full(len(part), view))
                with autocast(self.precision, self.device):
                    latents = model.latents(model.encoder.preprocess(images)).flatten(1)
                squared.append((latents.float() - targets).square().mean(dim=1))
            errors[f"view_{view}"] = torch.cat(squared).mean().item()
        return errors

    def _gather(
        self, windows: Windows, numbers: Int[np.ndarray, " B"], view: Int[np.ndarray, " B"]
    ) -> tuple[UInt8[Tensor, "B h w 3"], Float[Tensor, "B Z"]]:
        """Returns the numbered frames, each as one view shows it, and the latents that they should have."""
        episodes, starts = windows.locate(numbers)
        images = np.empty((len(numbers), *self.views[0].shape), np.uint8)
        for index in np.unique(view):
            rows = view == index
            images[rows] = self.views[index].windows(episodes[rows], starts[rows], 1)[:, 0]
        targets = torch.stack([self.targets[episode][start] for episode, start in zip(episodes, starts, strict=True)])
        return torch.from_numpy(images).to(self.device), targets.to(self.device)

    def state_dict(self) -> dict[str, Any]:
        """Returns all that a resumed run needs."""
        return {"eyes": self.eyes.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.eyes.load_state_dict(state["eyes"])
        self.optimizer.load_state_dict(state["optimizer"])


def with_new_eyes(parent: CompactModel, config: ViewsConfig) -> CompactModel:
    """Returns a model with a parent's dynamics and heads, and a trunk and a readout that learn.

    Raises:
        ValueError: If the latents would be others than the parent's in number or width, or what training should begin
            with has another shape.
    """
    found, shape = parent.readout.config, config.latents
    if (shape.latents, shape.width) != (found.latents, found.width):
        raise ValueError(
            f"the parent has {found.latents} latents of {found.width} numbers a frame, this run {shape.latents} of "
            f"{shape.width}: set latents.latents and latents.width alike, dynamics and heads know no others"
        )
    encoder: StoredEncoder = Choice("kind", TRUNKS).make(config.encoder)
    readout = Readout(ReadoutConfig(encoder.tokens, encoder.width, **vars(shape)))
    model = CompactModel(encoder, readout, parent.dynamics, parent.action_spec, parent.statistics)
    start = parent if config.start is None else load_world_model(config.start)
    wanted, given = (eyes.parts() for eyes in (model, start))
    if all(given.get(part) == wanted[part] for part in _EYES):
        assert isinstance(start, CompactModel)
        encoder.load_state_dict(start.encoder.state_dict())
        readout.load_state_dict(start.readout.state_dict())
    elif config.start is not None:
        shown = "; ".join(f"{part} {given.get(part)}, this run {wanted[part]}" for part in _EYES)
        raise ValueError(f"training can't begin with {config.start}, it has another shape: {shown}")
    for name, head in parent.heads.items():
        assert isinstance(head, Head)
        model.add_head(name, head)
    return model


def train_views(
    config: ViewsConfig,
    parent: CompactModel,
    targets: Sequence[Float[Tensor, "T Z"]],
    views: Sequence[JoinedFrames],
    fingerprint: str,
    report: Report,
    provenance: Mapping[str, Any],
) -> Manifest | None:
    """Trains, or goes on training, saves the checkpoint and returns its manifest; None if interrupted before.

    Args:
        config: The run's.
        parent: See `ViewsTrainer`.
        targets: See `ViewsTrainer`.
        views: See `ViewsTrainer`.
        fingerprint: Of all that is learnt from.
        report: Gets every step's measurements.
        provenance: Where the checkpoint comes from, for its manifest.

    Raises:
        ValueError: If views, parent and settings do not fit together.
        StateError: If the output directory holds the state of another run.
        DivergedError: If something is not finite, see `run_steps`.
    """
    trainer = ViewsTrainer(config, parent, targets, views)
    if not run_steps(trainer, config, config.session, fingerprint, report):
        return None
    made = {**provenance, "metrics": trainer.evaluate()}
    return save_with_history(config.checkpoint_directory, trainer.model.freeze(), config.parent, "views", made)
