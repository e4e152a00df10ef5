"""A dataset in memory: a coloured square on a plain ground, moved by its actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.episodes import Episode
from envs.spec import ActionSpec

SPEC = ActionSpec(("x", "y"), ("m", "m"), (-0.1, -0.1), (0.1, 0.1), "base", 4.0)


@dataclass(frozen=True)
class MovingSquare:
    """An `envs.episodes.EpisodeSource`; positions are in 0 .. 1, actions are their differences."""

    lengths: tuple[int, ...]
    size: int = 32
    seed: int = 0
    spec: ActionSpec = SPEC
    rate: float = SPEC.rate

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (self.size, self.size, 3)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"square {episode}" for episode in range(len(self)))

    @property
    def problems(self) -> dict[int, str]:
        return {}

    @property
    def fingerprint(self) -> str:
        return f"moving square {self.lengths} {self.size} {self.seed}"

    def __len__(self) -> int:
        return len(self.lengths)

    def poses_actions(self, episode: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng((self.seed, episode))
        steps = generator.uniform(-0.25, 0.25, (self.lengths[episode] - 1, 2))
        poses = [generator.uniform(0.2, 0.8, 2)]
        for step in steps:
            poses.append(np.clip(poses[-1] + step, 0.0, 1.0))
        poses = np.array(poses, np.float32)
        return poses, np.diff(poses, axis=0)

    def __getitem__(self, episode: int) -> Episode:
        poses, actions = self.poses_actions(episode)
        images = np.full((len(poses), *self.image_shape), 60, np.uint8)
        colour = np.random.default_rng((self.seed, episode, 1)).integers(120, 255, 3)
        side = self.size // 4
        for image, (x, y) in zip(images, poses, strict=True):
            top, left = int(y * (self.size - side)), int(x * (self.size - side))
            image[top : top + side, left : left + side] = colour
        return Episode(images, poses, actions, self.rate, self.spec)
