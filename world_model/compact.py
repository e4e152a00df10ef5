"""A compact world model: a few latents a frame, learnt together with what predicts them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from envs.config import dump_config, load_config
from envs.pose import motion_of
from envs.spec import ActionSpec, Goal, Observation
from world_model.base import Encoder, LatentGoal, LatentState
from world_model.checkpoints.checkpoint import H, Manifest, StoredModel, encoding_of, find_head
from world_model.checkpoints.weights_file import CheckpointFiles, write_weights
from world_model.encoders.readout import Readout, ReadoutConfig
from world_model.encoders.registry import StoredEncoder, load_stored_encoder
from world_model.predictors.compact import CompactDynamics, DynamicsConfig
from world_model.statistics import Statistics

_SLOWEST = 0.02  # m, rad, share of a gripper's way a second: recordings that move less hold still


def pose_numbers(statistics: Statistics, spec: ActionSpec) -> int:
    """Returns how many numbers a compact model's networks take a pose as, see `CompactModel`."""
    return len(statistics.pose_mean) + len(statistics.whole_turns(motion_of(spec)))


class CompactModel(StoredModel):
    """A `WorldModel` whose frames are K latents of D numbers, N = K.

    ::

        z_t = readout(encoder(image_t))            z_{t+1} = dynamics(z_t, pose_t, action_t)

    The encoder is frozen outside of its own training. Planning costs the same whatever the encoder's size: images are
    encoded once a step, and rollouts see latents alone.

    Networks take a pose's numbers normalised; of an angle that goes all the way round its sine, and, after all other
    numbers, its cosine (both times the root of 2, so that their deviation is 1).

    Attributes:
        encoder: Gives an image's tokens.
        readout: Gives their latents.
        dynamics: Rolls latents forward.
        heads: What else was learnt on its latents, by name.
        context: 8: a rollout begins at the last frame; of a way that was taken up the ones before tell how far it is.
    """

    kind = "compact"
    context = 8

    def __init__(
        self,
        encoder: StoredEncoder,
        readout: Readout,
        dynamics: CompactDynamics,
        action_spec: ActionSpec,
        statistics: Statistics,
    ) -> None:
        super().__init__(action_spec, statistics)
        _check_parts(encoder, readout, dynamics, action_spec, statistics)
        self._turning = list(statistics.whole_turns(self.motion))  # a pose's numbers that go all the way round
        self.encoder = encoder
        self.readout = readout
        self.dynamics = dynamics

    @property
    def pose_numbers(self) -> int:
        """See `NormalisedModel.pose_numbers`."""
        return pose_numbers(self.statistics, self.action_spec)

    def normalise_poses(self, poses: Float[Tensor, "*B P"]) -> Float[Tensor, "*B Q"]:
        """See `NormalisedModel.normalise_poses`."""
        normalised, turning = super().normalise_poses(poses), self._turning
        if not turning:
            return normalised
        angles = poses[..., turning]
        normalised = normalised.clone()
        normalised[..., turning] = math.sqrt(2) * angles.sin().to(normalised)
        return torch.cat([normalised, math.sqrt(2) * angles.cos().to(normalised)], dim=-1)

    def poses_at(self, normalised: Float[Tensor, "*B Q"]) -> Float[Tensor, "*B P"]:
        """See `NormalisedModel.poses_at`."""
        size, turning = len(self.statistics.pose_mean), self._turning
        poses = super().poses_at(normalised[..., :size])
        if turning:
            poses[..., turning] = torch.atan2(normalised[..., turning], normalised[..., size:]).to(poses)
        return poses

    def free(self, actions: Float[Tensor, "B A"] | None = None) -> tuple[Float[Tensor, " A"], Float[Tensor, " Q"]]:
        """Returns 1 for which numbers of actions, and of poses as networks take them, may move, 0 for what is fixed.

        Args:
            actions: Recorded ones, normalised: what they move by less than 2 cm or 0.02 rad a second (standard
                deviation) is fixed, as is what bounds of the same value hold; None for the bounds alone.
        """
        low, high = (self.action_mean.new_tensor(bound) for bound in (self.action_spec.low, self.action_spec.high))
        moved = (low != high).float()
        if actions is not None:
            moved = moved * (actions.std(0) * self.action_std > _SLOWEST * self.action_spec.period)
        if len(moved) != len(self.statistics.pose_mean):
            return moved, moved.new_ones(self.pose_numbers)
        return moved, torch.cat([moved, moved[self._turning]])

    @property
    def rest(self) -> Float[Tensor, " A"]:
        """The action that moves nothing, normalised."""
        return self.normalise_actions(torch.zeros_like(self.action_mean))

    @property
    def image_size(self) -> int:
        """Side of the square images that it looks at [pixels]."""
        return self.encoder.image_size

    def parts(self) -> dict[str, dict[str, Any]]:
        """See `StoredModel.parts`."""
        shapes = {name: dump_config(part.config) for name, part in self._learnt.items()}
        return {"encoder": self.encoder.settings(), **shapes}

    def save(self, folder: Path, dtype: torch.dtype) -> None:
        """See `StoredModel.save`."""
        (folder / "encoder").mkdir()
        self.encoder.save(folder / "encoder", dtype)
        for name, part in self._learnt.items():
            write_weights(folder / f"{name}.safetensors", part.state_dict(), dtype)

    @classmethod
    def load(cls, files: CheckpointFiles, manifest: Manifest, dtype: torch.dtype) -> Self:
        """See `StoredModel.load`."""
        encoder = load_stored_encoder(files, manifest.parts.get("encoder"), dtype)
        with torch.device("meta"):  # no weights are initialised only to be overwritten
            readout = Readout(load_config(ReadoutConfig, manifest.parts.get("readout", {})))
            dynamics = CompactDynamics(load_config(DynamicsConfig, manifest.parts.get("dynamics", {})))
        files.fill(readout, "readout.safetensors", dtype)
        files.fill(dynamics, "dynamics.safetensors", dtype)
        return cls(encoder, readout, dynamics, manifest.action_spec, manifest.statistics)

    @property
    def _learnt(self) -> dict[str, Readout | CompactDynamics]:
        """The parts beside the encoder, by the names that manifest and files give them."""
        return {"readout": self.readout, "dynamics": self.dynamics}

    def freeze(self) -> Self:
        """Returns itself, without gradients and in eval mode: as it plans."""
        self.requires_grad_(False)
        return self.eval()

    def latents(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B K D"]:
        """Returns the latents of images that the encoder's `preprocess` has made pixels of."""
        return self.readout(self.encoder(pixels))

    @torch.no_grad()
    def encode(self, observations: Sequence[Observation]) -> LatentState:
        """See `WorldModel.encode`."""
        latents = self.latents(self.encoder.pixels_of([seen.image for seen in observations]))
        return LatentState(latents[None], self.poses_of(observations))

    @torch.no_grad()
    def encode_goal(self, goal: Goal) -> LatentGoal:
        """See `WorldModel.encode_goal`."""
        if goal.mask is not None:
            raise ValueError("a compact latent is of the whole image, none of it can be masked: leave the mask out")
        return LatentGoal(self.latents(self.encoder.pixels_of([goal.image]))[0], self.pose_of(goal), image=goal.image)

    def rollout(self, state: LatentState, actions: Float[Tensor, "S H A"]) -> LatentState:
        """See `WorldModel.rollout`. Poses go on as `envs.pose.motion_of` says."""
        samples, (latents, width) = len(actions), state.tokens.shape[2:]
        with torch.set_grad_enabled(torch.is_grad_enabled() and actions.requires_grad):
            latent = state.tokens[:, -1].flatten(1).expand(samples, -1)  # (S, K * D)
            pose = state.poses[:, -1].to(self.action_mean).expand(samples, -1)
            frames, poses = self.unroll(latent, pose, actions)
        return LatentState(frames.unflatten(2, (latents, width)), poses)

    def unroll(
        self, latents: Float[Tensor, "B Z"], poses: Float[Tensor, "B P"], actions: Float[Tensor, "B H A"]
    ) -> tuple[Float[Tensor, "B H Z"], Float[Tensor, "B H P"]]:
        """Returns the frames after each action, predictions fed back, and the poses that the actions lead to.

        As `rollout`, but with gradients to all that asks for them, as training does.
        """
        frames, known = [], []
        for action in actions.unbind(dim=1):
            latents, poses = self.predict(latents, poses, action), self.motion.compose(poses, action)
            frames.append(latents)
            known.append(poses)
        return torch.stack(frames, dim=1), torch.stack(known, dim=1)

    def predict(
        self, latents: Float[Tensor, "B Z"], poses: Float[Tensor, "B P"], actions: Float[Tensor, "B A"]
    ) -> Float[Tensor, "B Z"]:
        """Returns the next frame's latents, all side by side, from physical units.

        A gripper goes no further than open and shut, as in recordings, however far an action asks it to.
        """
        if (gripper := self.action_spec.gripper) is not None:
            closedness = poses[..., gripper].to(actions)
            actions = actions.clone()
            actions[..., gripper] = (closedness + actions[..., gripper]).clamp(0.0, 1.0) - closedness
        return self.dynamics(latents, self.normalise_poses(poses), self.normalise_actions(actions))


def compact_with(model: object, name: str, kind: type[H], lacking: str) -> tuple[CompactModel, H]:
    """Returns the compact model that encodes, and what was learnt on its latents under a name.

    Args:
        model: It, or simulated dynamics that encode with it.
        name: Of the head.
        kind: Its class.
        lacking: What to say where there is none.

    Raises:
        ValueError: Saying so.
    """
    encoding = encoding_of(model)
    if not isinstance(encoding, CompactModel):
        what = f"a {encoding.kind} world model" if isinstance(encoding, StoredModel) else "this world model"
        raise ValueError(
            f"{what} can have no {name}, which is learnt on the latents of compact ones (docs/compact.md): take a "
            "compact checkpoint, such as franka, or another plan, such as scripts/configs/plan/reach.yaml"
        )
    head = find_head(encoding, name, kind)
    if head is None:
        raise ValueError(lacking)
    return encoding, head


def _check_parts(
    encoder: Encoder, readout: Readout, dynamics: CompactDynamics, spec: ActionSpec, statistics: Statistics
) -> None:
    """Raises ValueError naming the first two parts that do not fit together."""
    sizes = {
        "tokens of encoder and readout": (encoder.tokens, readout.config.tokens),
        "token width of encoder and readout": (encoder.width, readout.config.token_width),
        "numbers a frame of readout and dynamics": (
            readout.config.latents * readout.config.width,
            dynamics.config.size,
        ),
        "action dimensions of spec and dynamics": (spec.size, dynamics.config.action_size),
        "action dimensions of statistics and dynamics": (len(statistics.action_mean), dynamics.config.action_size),
        "pose dimensions of statistics and dynamics": (pose_numbers(statistics, spec), dynamics.config.pose_size),
    }
    for name, (one, other) in sizes.items():
        if one != other:
            raise ValueError(f"{name} differ: {one} and {other}")
