"""Scripted play: motion without a goal that shows a world model how the arm and the objects move.

A behaviour is a generator of 7-D actions for one episode, looking at the simulated arm. They are mixed by weight:

- ``wander``: smooth random motion, an AR(1) velocity that bounces off the workspace's sides.
- ``visit``: straight to one random place after another, each axis at its own bounded speed.
- ``push``: descend beside a block and push through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from envs.episodes import Episode
from envs.mujoco.arm import DOWN, MujocoArm, MujocoArmConfig
from envs.mujoco.scene import SceneConfig
from envs.mujoco.tasks import sample_block
from envs.pose import compose, difference
from envs.safety import SafeArm

Behaviour = Callable[[MujocoArm, "PlayConfig", np.random.Generator], Iterator[Float[np.ndarray, "7"]]]


_UPRIGHT = np.array([0.0, 0.0, 0.0, *DOWN, 0.0])


@dataclass(frozen=True)
class PlayConfig:
    """What an episode of play is like.

    Attributes:
        frames: Frames in an episode; one action fewer.
        wander: Weight of smooth random motion.
        visit: Weight of straight moves from place to place.
        push: Weight of pushing a block.
        low: Lowest position the scripts aim at (x, y, z) [m].
        high: Highest position [m].
        max_translation: Largest step along an axis in one control period [m].
        min_speed: Slowest episodes move at this share of max_translation.
        gripper_episodes: Share of episodes in which the gripper opens and closes.

    Raises:
        ValueError: If a weight is negative, all are zero or another number is out of its range.
    """

    frames: int = 17
    wander: float = 0.45
    visit: float = 0.35
    push: float = 0.2
    low: tuple[float, float, float] = (0.32, -0.24, 0.03)
    high: tuple[float, float, float] = (0.70, 0.24, 0.38)
    max_translation: float = 0.075
    min_speed: float = 0.15
    gripper_episodes: float = 0.2

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise ValueError(f"an episode needs at least 2 frames, got {self.frames}")
        if min(self.weights) < 0 or sum(self.weights) <= 0:
            raise ValueError(f"wander, visit and push must be weights >= 0 with a positive sum, got {self.weights}")
        if not (0 < self.min_speed <= 1 and 0 <= self.gripper_episodes <= 1 and self.max_translation > 0):
            raise ValueError("min_speed must be in (0, 1], gripper_episodes in [0, 1] and max_translation positive")

    @property
    def weights(self) -> tuple[float, float, float]:
        """Weights of wander, visit and push, in the order of `BEHAVIOURS`."""
        return self.wander, self.visit, self.push


def record_episode(arm: MujocoArm, config: PlayConfig, seed: int) -> Episode:
    """Returns one episode of play; the same seed gives the same episode.

    Actions are the differences of the *measured* poses, not the commands.

    Args:
        arm: The simulated arm; it is reset.
        config: What play is like.
        seed: Seed of everything random in the episode.
    """
    generator = np.random.default_rng(seed)
    name = generator.choice(list(BEHAVIOURS), p=np.array(config.weights) / sum(config.weights))
    _reset(arm, config, generator)
    driver = SafeArm(arm)
    observations = [driver.observe()]
    grips = _gripper_targets(config, generator)
    for action, grip in zip(BEHAVIOURS[name](arm, config, generator), grips, strict=False):
        pose = observations[-1].pose
        action[3:6] = difference(pose, _UPRIGHT)[3:6]  # what contact has twisted turns back
        target = compose(pose, np.clip(action, arm.action_spec.low, arm.action_spec.high))
        driver.command(target[:6], grip, arm.action_spec.period)
        observations.append(driver.observe())
    poses = np.stack([observation.pose for observation in observations])
    return Episode(
        images=np.stack([observation.image for observation in observations]),
        poses=poses.astype(np.float32),
        actions=difference(poses[:-1], poses[1:]).astype(np.float32),
        rate=arm.action_spec.rate,
        spec=arm.action_spec,
        task=str(name),
        seed=seed,
    )


def make_play_arm(image_size: int, scene: SceneConfig | None = None) -> MujocoArm:
    """Returns the arm that play is recorded with, by default in the tasks' own scene."""
    return MujocoArm(MujocoArmConfig(scene or SceneConfig(), image_size))


def _reset(arm: MujocoArm, config: PlayConfig, generator: np.random.Generator) -> None:
    """Places the blocks and the arm at random."""
    arm.reset()
    for index in range(arm.config.scene.blocks):
        arm.set_block(index, *sample_block(generator))
    start = generator.uniform(config.low, config.high)
    start[2] = max(start[2], 0.08)  # above the blocks
    arm.set_pose(np.array([*start, *DOWN, 0.0]))


def _gripper_targets(config: PlayConfig, generator: np.random.Generator) -> list[float]:
    """Returns the closedness to command at each step: open throughout, or changing now and then."""
    if generator.random() >= config.gripper_episodes:
        return [0.0] * (config.frames - 1)
    targets, current = [], 0.0
    for _ in range(config.frames - 1):
        if generator.random() < 0.25:
            current = float(generator.choice([0.0, 1.0, generator.random()]))
        targets.append(current)
    return targets


def _wander(arm: MujocoArm, config: PlayConfig, generator: np.random.Generator) -> Iterator[Float[np.ndarray, "7"]]:
    speed = _speed(config, generator)
    velocity = generator.uniform(-speed, speed, 3)
    while True:
        velocity = np.clip(0.6 * velocity + generator.normal(0.0, 0.6 * speed, 3), -speed, speed)
        ahead = arm.pose()[:3] + velocity
        velocity = np.where((ahead < config.low) | (ahead > config.high), -velocity, velocity)
        yield _translation(velocity)


def _visit(arm: MujocoArm, config: PlayConfig, generator: np.random.Generator) -> Iterator[Float[np.ndarray, "7"]]:
    speed = _speed(config, generator)
    place = generator.uniform(config.low, config.high)
    while True:
        way = place - arm.pose()[:3]
        if np.linalg.norm(way) < 0.01:
            place = generator.uniform(config.low, config.high)
            way = place - arm.pose()[:3]
        yield _translation(np.clip(way + generator.normal(0.0, 0.1 * speed, 3), -speed, speed))


def _push(arm: MujocoArm, config: PlayConfig, generator: np.random.Generator) -> Iterator[Float[np.ndarray, "7"]]:
    speed = config.max_translation
    while True:
        block = arm.block_position(int(generator.integers(arm.config.scene.blocks)))
        angle = generator.uniform(-np.pi, np.pi)
        way = np.array([np.cos(angle), np.sin(angle), 0.0])
        level = generator.uniform(0.03, 0.045)
        beside, beyond = (block[:2] + offset * way[:2] for offset in (-0.12, generator.uniform(0.02, 0.15)))
        for place in ((*beside, 0.13), (*beside, level), (*beyond, level), (*beyond, 0.13)):
            reachable = np.clip(place, config.low, config.high)
            for _ in range(8):  # a place that a block is in the way of is given up
                step = reachable - arm.pose()[:3]
                if np.linalg.norm(step) < 0.01:
                    break
                yield _translation(np.clip(step, -speed, speed))


def _speed(config: PlayConfig, generator: np.random.Generator) -> float:
    """Returns an episode's largest step along an axis [m], log-uniform."""
    return config.max_translation * float(np.exp(generator.uniform(np.log(config.min_speed), 0.0)))


def _translation(step: Float[np.ndarray, "3"]) -> Float[np.ndarray, "7"]:
    return np.concatenate([step, np.zeros(4)])


BEHAVIOURS: dict[str, Behaviour] = {"wander": _wander, "visit": _visit, "push": _push}
"""Every behaviour by name, in the order of `PlayConfig.weights`."""
