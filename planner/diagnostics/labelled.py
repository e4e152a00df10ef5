"""Simulated play as a model sees it, with the simulator's own word on where things were."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from envs.bar import progress
from envs.simulation.arm import MujocoArm
from envs.simulation.objects import ObjectInstance
from envs.simulation.scene_config import SceneConfig
from envs.simulation.variation import scene_of
from envs.spec import Observation
from envs.tasks.events import Watch, positions_of
from envs.tasks.play import make_play_arm, record_episode
from planner.diagnostics.probe_program import ProbeConfig
from world_model.base import LatentState, WorldModel
from world_model.compact import CompactModel
from world_model.data.gripper import told_actions
from world_model.encoders.folder import load_encoder
from world_model.load import load_world_model


@dataclass(frozen=True, eq=False)
class Labelled:
    """An episode of play with where things were and what a model sees of it.

    Attributes:
        seen: Latents and poses of its frames, one after another, (T, 1, N, D) and (T, 1, P).
        actions: As the model was trained on them.
        places: Of the objects and then of the hand, x, y and z of each [m].
        held: Whether something was held.
        scene: Where it was.
        images: Camera images; none unless they are kept.
    """

    seen: LatentState
    actions: Float[np.ndarray, "T-1 A"]
    places: Float[np.ndarray, "T P"]
    held: Bool[np.ndarray, "T"]
    scene: SceneConfig
    images: UInt8[np.ndarray, "F s s 3"]

    @property
    def tokens(self) -> Float[Tensor, "T N D"]:
        """Latents of its frames."""
        return self.seen.tokens[:, 0]

    @torch.no_grad()
    def imagine(self, model: WorldModel, at: int, ahead: int) -> Float[Tensor, "ahead N D"]:
        """Returns the latents that are predicted of so many of its actions, from a frame on."""
        start = LatentState(self.seen.tokens[at : at + 1], self.seen.poses[at : at + 1])
        return model.rollout(start, torch.from_numpy(self.actions[None, at : at + ahead])).tokens[0].float()


class Viewer:
    """Sees images as a checkpoint or an encoder does.

    Attributes:
        model: The checkpoint's; None of an encoder, which predicts nothing.
    """

    def __init__(self, checkpoint: str | None, encoder: str | None) -> None:
        """Loads one of the two.

        Raises:
            ValueError: If there is no such checkpoint or encoder.
        """
        self.model = None if checkpoint is None else load_world_model(checkpoint)
        self._encoder = None if encoder is None else load_encoder(encoder).eval()

    @torch.no_grad()
    def see(self, image: UInt8[np.ndarray, "h w 3"], pose: Float[np.ndarray, "P"]) -> LatentState:
        """Returns the latents of one frame."""
        if self.model is not None:
            return self.model.encode([Observation(image, pose, 0.0)])
        assert self._encoder is not None
        tokens = self._encoder(self._encoder.preprocess(torch.from_numpy(image[None])))
        return LatentState(tokens[None], torch.from_numpy(pose)[None, None])

    def done(
        self, poses: Float[np.ndarray, "T P"], actions: Float[np.ndarray, "T-1 A"], gripper: int | None
    ) -> Float[np.ndarray, "T-1 A"]:
        """Returns recorded actions as the model was trained on them: compact ones learn what a gripper was told."""
        if gripper is None or not isinstance(self.model, CompactModel):
            return actions
        return told_actions(poses, actions, gripper, self.model.action_spec.high[gripper])


class _Places(Watch):
    """Notes where things are after every action."""

    def start(self, arm: MujocoArm) -> None:
        """See `Watch.start`."""
        self.objects: list[Float[np.ndarray, "K 3"]] = []
        self.held: list[bool] = []
        self.look(arm)

    def look(self, arm: MujocoArm) -> None:
        """See `Watch.look`."""
        self.objects.append(positions_of(arm))
        self.held.append(arm.held() is not None)


def play(
    config: ProbeConfig,
    viewer: Viewer,
    seeds: Sequence[int],
    objects: Sequence[ObjectInstance],
    keep_images: bool,
    called: str,
) -> list[Labelled]:
    """Returns labelled episodes of play.

    Args:
        config: Says where and how.
        viewer: Sees them.
        seeds: One an episode.
        objects: What may lie there.
        keep_images: Whether the images are kept.
        called: What to call them while they are made.
    """
    episodes = []
    for seed in progress(seeds, desc=called, unit="episode"):
        scene = scene_of(seed, config.scene, config.variation)
        with closing(make_play_arm(config.image_size, scene)) as arm:
            places = _Places()
            episode = record_episode(arm, config.play, seed, places, objects)
        frames = [viewer.see(image, pose) for image, pose in zip(episode.images, episode.poses, strict=True)]
        tokens, poses = torch.cat([one.tokens for one in frames]), torch.cat([one.poses for one in frames])
        there = np.array(places.objects).reshape(len(frames), -1)
        episodes.append(
            Labelled(
                LatentState(tokens.float(), poses.float()),
                viewer.done(episode.poses, episode.actions, episode.spec.gripper),
                np.concatenate([there, episode.poses[:, :3]], axis=1),
                np.array(places.held),
                scene,
                episode.images if keep_images else episode.images[:0],
            )
        )
    return episodes
