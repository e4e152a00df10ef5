"""V-JEPA 2-AC: a frozen encoder and an action-conditioned predictor as one world model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from envs.config import dump_config, load_config
from envs.spec import ActionSpec, Goal, Observation
from world_model.base import Encoder, LatentGoal, LatentState
from world_model.checkpoints.checkpoint import Manifest, StoredModel
from world_model.checkpoints.weights_file import CheckpointError, CheckpointFiles, write_weights
from world_model.choices import Precision
from world_model.encoders.mask import average_over_patches, central_square
from world_model.encoders.registry import StoredEncoder, load_stored_encoder
from world_model.load import load_world_model
from world_model.predictors.vjepa2_ac import Cache, Predictor, PredictorConfig
from world_model.statistics import Statistics

PREDICTOR_WEIGHTS = "predictor.safetensors"


@dataclass(frozen=True)
class Losses:
    """Training losses, each a scalar mean absolute error over layer-normed tokens.

    Attributes:
        total: The sum of the two, unweighted: what is minimised.
        teacher_forcing: Of one-step predictions from measured frames.
        rollout: Of predictions fed back for `rollout_steps` steps.
    """

    total: Float[Tensor, ""]
    teacher_forcing: Float[Tensor, ""]
    rollout: Float[Tensor, ""]


class VJEPA2AC(StoredModel):
    """A `WorldModel` with a frozen V-JEPA 2 encoder. Physical units outside, normalised ones inside.

    The networks compute in the type of their weights: float32, or bfloat16 as `load_world_model` can load them. Poses,
    normalisation and the latents that come out are float32 in either case.

    Attributes:
        encoder: Frozen, always in eval mode.
        predictor: Trainable.
        action_spec: What its actions mean.
        motion: How its poses and actions go together.
        statistics: What actions and poses are normalised with.
        context: How many past frames `rollout` makes use of at most.
        heads: What else was learnt on its latents, by name.
    """

    kind = "vjepa2_ac"

    def __init__(
        self,
        encoder: StoredEncoder,
        predictor: Predictor,
        action_spec: ActionSpec,
        statistics: Statistics,
        context: int = 2,
    ) -> None:
        super().__init__(action_spec, statistics)
        _check_parts(encoder, predictor, action_spec, statistics, context)
        self.encoder = encoder.requires_grad_(False).eval()
        self.predictor = predictor
        self.context = context

    @property
    def image_size(self) -> int:
        """Side of the square images that it looks at [pixels]."""
        return self.encoder.image_size

    def parts(self) -> dict[str, dict[str, Any]]:
        """See `StoredModel.parts`."""
        return {"encoder": self.encoder.settings(), "predictor": dump_config(self.predictor.config)}

    def save(self, folder: Path, dtype: torch.dtype) -> None:
        """See `StoredModel.save`."""
        (folder / "encoder").mkdir()
        self.encoder.save(folder / "encoder", dtype)
        write_weights(folder / PREDICTOR_WEIGHTS, self.predictor.state_dict(), dtype)

    @classmethod
    def load(cls, files: CheckpointFiles, manifest: Manifest, dtype: torch.dtype) -> Self:
        """See `StoredModel.load`."""
        encoder = load_stored_encoder(files, manifest.parts.get("encoder"), dtype)
        with torch.device("meta"):  # no weights are initialised only to be overwritten
            predictor = Predictor(predictor_config(manifest))
        files.fill(predictor, PREDICTOR_WEIGHTS, dtype)
        return cls(encoder, predictor, manifest.action_spec, manifest.statistics, manifest.context)

    def train(self, mode: bool = True) -> Self:
        """Sets the predictor's mode; the encoder stays in eval mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    @torch.no_grad()
    def encode(self, observations: Sequence[Observation]) -> LatentState:
        """See `WorldModel.encode`."""
        tokens = self.encoder(self.encoder.pixels_of([seen.image for seen in observations]))
        return LatentState(tokens[None], self.poses_of(observations))

    @torch.no_grad()
    def encode_goal(self, goal: Goal) -> LatentGoal:
        """See `WorldModel.encode_goal`."""
        tokens = self.encoder(self.encoder.pixels_of([goal.image]))[0]
        if goal.mask is None:
            return LatentGoal(tokens, self.pose_of(goal), image=goal.image)
        weights = average_over_patches(central_square(goal.mask), self.encoder.tokens)
        return LatentGoal(tokens, self.pose_of(goal), torch.from_numpy(weights.flatten()).to(tokens), goal.image)

    def rollout(self, state: LatentState, actions: Float[Tensor, "S H A"]) -> LatentState:
        """See `WorldModel.rollout`.

        The past actions of the context are the differences of its measured poses. Each prediction is layer-normed and
        fed back; poses go on as `envs.pose.motion_of` says. No graph is kept unless the actions need gradients.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and actions.requires_grad):
            actions = actions.to(self.action_mean)
            cache = self._past(state)
            latent, pose = state.tokens[:, -1:], state.poses[:, -1:].to(self.action_mean)
            latents, poses = [], []
            for step in range(actions.shape[1]):
                action = actions[:, step : step + 1]
                latent, cache = self._predict(latent, action, pose, cache, keep=step + 1 < actions.shape[1])
                pose = self.motion.compose(pose.expand(len(actions), -1, -1), action)
                latents.append(latent)
                poses.append(pose)
        return LatentState(torch.cat(latents, dim=1), torch.cat(poses, dim=1))

    def loss(
        self,
        tokens: Float[Tensor, "B T N D"],
        actions: Float[Tensor, "B T-1 A"],
        poses: Float[Tensor, "B T P"],
        rollout_steps: int = 2,
        measured: int = 1,
        gradient_steps: int | None = None,
    ) -> Losses:
        """Returns the losses of windows of T frames, actions[:, t] leading from frame t to t+1.

        Teacher forcing: mean |P(z_0 .. z_t) - z_(t+1)| over all t. Rollout: from the first `measured` frames, m, each
        prediction fed back with the measured pose of its frame, mean |zhat_t - z_t| over t = m .. m + rollout_steps -
        1. Its gradient flows through the predictions fed back, through all (None) or through `gradient_steps` of them
        in a row, after which latents and cache are detached. With `rollout_steps` 0 it is zero. Source: arXiv
        2506.09985, section 3.1, where m is 1 and nothing is detached.

        Raises:
            ValueError: If there are not `rollout_steps` frames after the measured ones.
        """
        if measured < 1 or not 0 <= rollout_steps <= tokens.shape[1] - measured:
            raise ValueError(
                f"a window of {tokens.shape[1]} frames has no {rollout_steps} rollout steps after {measured} measured"
            )
        tokens = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
        predicted, cache = self._predict(tokens[:, :-1], actions, poses[:, :-1], None)
        teacher_forcing = (predicted - tokens[:, 1:]).abs().mean()
        if rollout_steps == 0:
            return Losses(teacher_forcing, teacher_forcing, teacher_forcing.new_zeros(()))
        latents, cache = [predicted[:, measured - 1 : measured]], cache.first(measured)
        for step in range(1, rollout_steps):
            latent, now = latents[-1], slice(measured + step - 1, measured + step)
            if gradient_steps is not None and step % (gradient_steps + 1) == 0:
                latent, cache = latent.detach(), cache.detach()
            latent, cache = self._predict(latent, actions[:, now], poses[:, now], cache)
            latents.append(latent)
        rollout = (torch.cat(latents, dim=1) - tokens[:, measured : measured + rollout_steps]).abs().mean()
        return Losses(teacher_forcing + rollout, teacher_forcing, rollout)

    def _predict(
        self, tokens: Tensor, actions: Tensor, poses: Tensor, cache: Cache | None, keep: bool = True
    ) -> tuple[Float[Tensor, "B T N D"], Cache]:
        """Returns predictions normed as tokens are and the extended cache, from physical units.

        See `Predictor.extend` and `Encoder.restore`.
        """
        actions, poses = self.normalise_actions(actions), self.normalise_poses(poses)
        predicted, cache = self.predictor.extend(tokens, actions, poses, cache, keep=keep)
        return self.encoder.restore(predicted), cache

    def _past(self, state: LatentState) -> Cache | None:
        """Returns the cache of the context's frames but the last, whose actions are known; None without any."""
        poses = state.poses[:, -self.context :].to(self.action_mean)
        if poses.shape[1] == 1:
            return None
        tokens = state.tokens[:, -self.context : -1]
        return self._predict(tokens, self.motion.difference(poses[:, :-1], poses[:, 1:]), poses[:, :-1], None)[1]


def load_vjepa2_ac(
    name_or_path: str | Path, device: str | torch.device = "cpu", precision: Precision = "fp32"
) -> VJEPA2AC:
    """Returns the world model of a checkpoint of this kind, see `load_world_model`.

    Raises:
        CheckpointError: If there is none, or it is of another kind.
    """
    model = load_world_model(name_or_path, device, precision)
    if not isinstance(model, VJEPA2AC):
        raise CheckpointError(
            f"{name_or_path} is a world model of kind {model.kind}; one of kind {VJEPA2AC.kind} is needed"
        )
    return model


def predictor_config(manifest: Manifest) -> PredictorConfig:
    """Returns the shape of the predictor of a checkpoint of this kind.

    Raises:
        CheckpointError: If the checkpoint is of another kind, or its manifest has none.
    """
    if manifest.kind != VJEPA2AC.kind:
        raise CheckpointError(
            f"{manifest.name} is a {manifest.kind} world model, and train.py fine-tunes the predictors of "
            f"{VJEPA2AC.kind} ones; compact ones go on learning by train_compact.py --parent, train_heads.py and "
            "train_views.py (docs/compact.md)"
        )
    try:
        return load_config(PredictorConfig, manifest.parts.get("predictor", {}))
    except ValueError as error:
        raise CheckpointError(f"parts.predictor: {error}") from error


def _check_parts(
    encoder: Encoder, predictor: Predictor, action_spec: ActionSpec, statistics: Statistics, context: int
) -> None:
    """Raises ValueError naming the first two parts that do not fit together."""
    config = predictor.config
    sizes = {
        "tokens a frame": (encoder.tokens, config.tokens),
        "token width": (encoder.width, config.token_width),
        "action dimensions of spec and predictor": (action_spec.size, config.action_size),
        "action dimensions of statistics and predictor": (len(statistics.action_mean), config.action_size),
    }
    if config.pose_size:
        sizes["pose dimensions of statistics and predictor"] = (len(statistics.pose_mean), config.pose_size)
    for name, (one, other) in sizes.items():
        if one != other:
            raise ValueError(f"{name} differ: {one} and {other}")
    if not 1 <= context <= config.max_frames:
        raise ValueError(f"context must be 1 .. {config.max_frames} (the predictor's max_frames), got {context}")
