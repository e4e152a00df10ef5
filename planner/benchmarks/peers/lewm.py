"""LeWM (arXiv 2603.19312) as a world model that our programs plan with; its networks are the peer's own code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from envs.config import dump_config, load_config
from envs.spec import ActionSpec, Goal, Observation
from planner.benchmarks.peers.code import peer_module
from planner.benchmarks.peers.lewm_config import LeWMShape
from world_model.base import LatentGoal, LatentState
from world_model.checkpoints.checkpoint import Manifest, StoredModel
from world_model.checkpoints.weights_file import CheckpointFiles, write_weights
from world_model.encoders.pixels import IMAGE_MEAN, IMAGE_STD, to_pixels
from world_model.statistics import Statistics

WEIGHTS = "lewm.safetensors"
_MODEL = ("stable_worldmodel.wm.lewm.lewm", "stable_worldmodel.wm.lewm")


def make_lewm(shape: LeWMShape, action_size: int) -> nn.Module:
    """Returns a new LeWM of the peer's code, its weights from torch's global generator.

    Raises:
        PeerMissingError: If its code is not there.
    """
    model, parts = peer_module(*_MODEL), peer_module("stable_worldmodel.wm.lewm.module")
    vision = peer_module("stable_pretraining.backbone.utils")

    def projector() -> nn.Module:
        return parts.MLP(shape.width, shape.projector, shape.width, norm_fn=nn.BatchNorm1d)

    encoder = vision.vit_hf(
        shape.encoder,
        patch_size=shape.patch_size,
        image_size=shape.image_size,
        pretrained=False,
        use_mask_token=False,
    )
    predictor = parts.Predictor(
        num_frames=shape.history,
        depth=shape.depth,
        heads=shape.heads,
        mlp_dim=shape.hidden,
        input_dim=shape.width,
        hidden_dim=shape.width,
        output_dim=shape.width,
        dim_head=shape.head_width,
        dropout=shape.dropout,
        emb_dropout=0.0,
    )
    actions = parts.Embedder(input_dim=action_size, emb_dim=shape.width)
    return model.LeWM(encoder, predictor, actions, projector=projector(), pred_proj=projector())


class PeerLeWM(StoredModel):
    """A `WorldModel` whose frames are one latent each, N = 1, by the peer's own networks.

    ::

        z_t = projector(vit(image_t))        z_{t+1} = predictor(z_{t-2..t}, a_{t-2..t})

    Planning begins with one frame, as the peer's own evaluation does; the predictor's history fills as it rolls out.
    Poses are not looked at, but go on as the actions say.

    Attributes:
        peer: The peer's model.
        shape: Its settings.
        context: 1.
    """

    kind = "planner.benchmarks.peers.lewm:PeerLeWM"
    context = 1

    def __init__(self, peer: nn.Module, shape: LeWMShape, action_spec: ActionSpec, statistics: Statistics) -> None:
        super().__init__(action_spec, statistics)
        self.peer = peer
        self.shape = shape

    @property
    def image_size(self) -> int:
        """Side of the square images that it looks at [pixels]."""
        return self.shape.image_size

    def parts(self) -> dict[str, dict[str, Any]]:
        """See `StoredModel.parts`."""
        return {"lewm": dump_config(self.shape)}

    def save(self, folder: Path, dtype: torch.dtype) -> None:
        """See `StoredModel.save`."""
        write_weights(folder / WEIGHTS, self.peer.state_dict(), dtype)

    @classmethod
    def load(cls, files: CheckpointFiles, manifest: Manifest, dtype: torch.dtype) -> Self:
        """See `StoredModel.load`.

        Raises:
            PeerMissingError: If the peer's code is not there.
        """
        shape = load_config(LeWMShape, manifest.parts.get("lewm", {}))
        with torch.random.fork_rng(devices=[]):
            peer = make_lewm(shape, manifest.action_spec.size)
        files.fill(peer, WEIGHTS, dtype)
        return cls(peer, shape, manifest.action_spec, manifest.statistics)

    def pixels(self, images: UInt8[Tensor, "B h w 3"]) -> Float[Tensor, "B 3 S S"]:
        """Returns images as the peer's encoder takes them: its size, and ImageNet's mean and deviation."""
        return to_pixels(images.to(self.action_mean.device), self.shape.image_size, IMAGE_MEAN, IMAGE_STD)

    def latents(self, pixels: Float[Tensor, "B T 3 S S"]) -> Float[Tensor, "B T D"]:
        """Returns the latents of frames."""
        return self.peer.encode({"pixels": pixels})["emb"]  # type: ignore[operator]

    def predict(self, latents: Float[Tensor, "B T D"], actions: Float[Tensor, "B T A"]) -> Float[Tensor, "B T D"]:
        """Returns what follows each frame, which the predictor sees with those before it; physical units."""
        embedded = self.peer.action_encoder(self.normalise_actions(actions))  # type: ignore[operator]
        return self.peer.predict(latents, embedded)  # type: ignore[operator]

    @torch.no_grad()
    def encode(self, observations: Sequence[Observation]) -> LatentState:
        """See `WorldModel.encode`."""
        latents = self._latents_of([seen.image for seen in observations])
        return LatentState(latents[:, :, None], self.poses_of(observations))

    @torch.no_grad()
    def encode_goal(self, goal: Goal) -> LatentGoal:
        """See `WorldModel.encode_goal`."""
        if goal.mask is not None:
            raise ValueError("LeWM's latent is of the whole image, none of it can be masked: leave the mask out")
        return LatentGoal(self._latents_of([goal.image])[0], self.pose_of(goal), image=goal.image)

    def _latents_of(self, images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Float[Tensor, "1 T D"]:
        """Returns the latents of single camera images."""
        pixels = [self.pixels(torch.from_numpy(np.array(image, order="C"))[None]) for image in images]
        return self.latents(torch.cat(pixels)[None]).float()

    def rollout(self, state: LatentState, actions: Float[Tensor, "S H A"]) -> LatentState:
        """See `WorldModel.rollout`; the peer's own rollout, from one frame."""
        samples, width = len(actions), state.tokens.shape[-1]
        with torch.set_grad_enabled(torch.is_grad_enabled() and actions.requires_grad):
            dtype = next(self.peer.parameters()).dtype
            seen = state.tokens[:, -1, 0].to(dtype).expand(samples, width)[None, :, None]  # (1, S, 1, D)
            done = self.normalise_actions(actions).to(dtype)[None]
            known = {"emb": seen, "pixels": seen}  # of known latents no more than the number of frames is looked at
            predicted = self.peer.rollout(known, done)["predicted_emb"][0, :, 1:]  # type: ignore[operator]
            pose, poses = state.poses[:, -1].to(self.action_mean).expand(samples, -1), []
            for action in actions.unbind(dim=1):
                pose = self.motion.compose(pose, action)
                poses.append(pose)
        return LatentState(predicted.float()[:, :, None], torch.stack(poses, dim=1))
