"""Scripted play: motion without a goal that shows a world model how the arm and the objects move.

A behaviour is a generator of 7-D actions for one episode, looking at the simulated arm. They are mixed by weight:

- ``wander``: smooth random motion, an AR(1) velocity that bounces off the workspace's sides.
- ``visit``: straight to one random place after another, each axis at its own bounded speed.
- ``push``: descend beside a block and push through it.
- ``chain``: what an expert (`envs.tasks.expert`) does with the objects, one thing after another, each to a random
  place and more or less shakily: push, lift, carry, place, drop, reach for something else.
- ``fumble``: random motion close to one of the objects, in which the gripper opens and closes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from envs.arms.base import drive
from envs.arms.safety import SafeArm
from envs.episodes import Episode
from envs.simulation.arm import DOWN, MujocoArm, MujocoArmConfig
from envs.simulation.objects import TRAINING_OBJECTS, ObjectInstance, SceneObject, sample_object
from envs.simulation.scene import SceneConfig
from envs.spec import Observation
from envs.tasks.events import Watch
from envs.tasks.expert import SKILLS, do, lift, perform, upright
from envs.tasks.manipulation import on_top, place_at_random, sample_carry
from envs.tasks.reach import sample_block

Behaviour = Callable[[MujocoArm, "PlayConfig", np.random.Generator], Iterator[Float[np.ndarray, "7"]]]


_ON_TABLE, _IN_HAND = ("push", "lift", "reach"), ("carry", "place", "drop", "stack")
_ODDS = {"push": 0.40, "lift": 0.45, "reach": 0.15, "carry": 0.45, "place": 0.45, "drop": 0.10, "stack": 0.0}
_BESIDE = 0.04  # m: standard deviation of where half of all lifts end, around where they began
_SKILL_STEPS = 22  # after which a skill is given up


@dataclass(frozen=True)
class PlayConfig:
    """What an episode of play is like.

    Attributes:
        frames: Frames in an episode; one action fewer.
        wander: Weight of smooth random motion.
        visit: Weight of straight moves from place to place.
        push: Weight of pushing a block.
        chain: Weight of an expert's skills, one after another.
        fumble: Weight of random motion at the object.
        odds: Weights of an expert's skills: of push, lift and reach while the object lies on the table, and of carry,
            place, drop and stack (on another object) while it is held.
        held: Share of the episodes with an object that start with it in the hand.
        shaky: Noise on an expert's steps, as a share of max_translation: each skill draws one of these.
        slips: Share of an expert's steps that go astray, by half of max_translation along each axis (standard
            deviation): what follows shows how to mend it (arXiv 1703.09327).
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
    chain: float = 0.0
    fumble: float = 0.0
    odds: dict[str, float] = field(default_factory=lambda: dict(_ODDS))
    held: float = 0.15
    shaky: tuple[float, ...] = (0.0, 0.05, 0.15)
    slips: float = 0.0
    low: tuple[float, float, float] = (0.32, -0.24, 0.03)
    high: tuple[float, float, float] = (0.70, 0.24, 0.38)
    max_translation: float = 0.075
    min_speed: float = 0.15
    gripper_episodes: float = 0.2

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise ValueError(f"an episode needs at least 2 frames, got {self.frames}")
        if min(self.weights) < 0 or sum(self.weights) <= 0:
            raise ValueError(f"the behaviours need weights >= 0 with a positive sum, got {self.weights}")
        if not (0 < self.min_speed <= 1 and self.max_translation > 0):
            raise ValueError("min_speed must be in (0, 1] and max_translation positive")
        either = [[self.odds.get(name, 0.0) for name in names] for names in (_ON_TABLE, _IN_HAND)]
        if set(self.odds) - set(_ODDS) or min(map(min, either)) < 0 or not all(map(sum, either)):
            raise ValueError(
                f"odds are weights >= 0 of {', '.join(_ON_TABLE)}, not all of them 0, and likewise of "
                f"{', '.join(_IN_HAND)}, got {self.odds}"
            )
        for name in ("held", "slips", "gripper_episodes"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share, in [0, 1], got {getattr(self, name)}")

    @property
    def weights(self) -> tuple[float, ...]:
        """Weights of all behaviours, in the order of `BEHAVIOURS`."""
        return self.wander, self.visit, self.push, self.chain, self.fumble


def record_episode(
    arm: MujocoArm,
    config: PlayConfig,
    seed: int,
    watch: Watch | None = None,
    objects: Sequence[ObjectInstance] = TRAINING_OBJECTS,
) -> Episode:
    """Returns one episode of play; the same seed gives the same episode.

    Actions are the differences of the *measured* poses, not the commands.

    Args:
        arm: The simulated arm; it is reset.
        config: What play is like.
        seed: Seed of everything random in the episode.
        watch: Counts what happens to the objects; None for nobody.
        objects: What each of the scene's may be.

    Raises:
        ValueError: If a behaviour needs an object or a block and the scene has none.
    """
    if (config.chain or config.fumble) and not arm.objects:
        raise ValueError("chain and fumble need an object: set scene.objects to 1 or more, or their weights to 0")
    if config.push and not arm.config.scene.blocks:
        raise ValueError("push needs a block: set scene.blocks to 1 or more, or its weight to 0")
    generator = np.random.default_rng(seed)
    name = str(generator.choice(list(BEHAVIOURS), p=np.array(config.weights) / sum(config.weights)))
    _reset(arm, config, objects, generator)
    steps = _steps(name, arm, config, generator)

    def choose(observation: Observation) -> Float[np.ndarray, "7"]:
        return upright(next(steps), observation.pose)

    watch = watch or Watch()
    watch.start(arm)
    observations = drive(SafeArm(arm), choose, config.frames, lambda: watch.look(arm))
    return Episode.from_observations(observations, arm.action_spec, name, seed)


def _steps(
    name: str, arm: MujocoArm, config: PlayConfig, generator: np.random.Generator
) -> Iterator[Float[np.ndarray, "7"]]:
    """Returns a behaviour's actions; the gripper of those that do not use it is moved at random in some episodes."""
    steps = BEHAVIOURS[name](arm, config, generator)
    return steps if name in {"chain", "fumble"} else _gripper(steps, arm, config, generator)


def make_play_arm(image_size: int, scene: SceneConfig | None = None) -> MujocoArm:
    """Returns the arm that play is recorded with, by default in the tasks' own scene."""
    return MujocoArm(MujocoArmConfig(scene or SceneConfig(), image_size))


def _reset(
    arm: MujocoArm, config: PlayConfig, objects: Sequence[ObjectInstance], generator: np.random.Generator
) -> None:
    """Places blocks, objects and arm at random."""
    arm.reset()
    for index in range(0 if arm.objects else arm.config.scene.blocks):
        arm.set_block(index, *sample_block(generator))
    start = generator.uniform(config.low, config.high)
    start[2] = max(start[2], 0.08)  # above the blocks
    if not arm.objects:
        arm.set_pose(np.array([*start, *DOWN, 0.0]))
        return
    instances = [sample_object(objects, generator) for _ in arm.objects]
    place_at_random(arm, instances, generator)
    if generator.random() < config.held:
        perform(arm, lift, sample_carry(generator), thing=_any_object(arm, generator))
    else:
        arm.set_pose(np.array([*start, *DOWN, float(generator.integers(2))]))


def _gripper(
    steps: Iterator[Float[np.ndarray, "7"]], arm: MujocoArm, config: PlayConfig, generator: np.random.Generator
) -> Iterator[Float[np.ndarray, "7"]]:
    """Yields the steps with what the gripper does: nothing, or now and then a random closedness."""
    active, closedness = generator.random() < config.gripper_episodes, float(arm.pose()[6])
    for step in steps:
        if active and generator.random() < 0.25:
            closedness = float(generator.choice([0.0, 1.0, generator.random()]))
        step[6] = closedness - arm.pose()[6] if active else 0.0
        yield step


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


def _chain(arm: MujocoArm, config: PlayConfig, generator: np.random.Generator) -> Iterator[Float[np.ndarray, "7"]]:
    while True:
        thing = arm.held() or _any_object(arm, generator)
        names = _IN_HAND if arm.held() else _ON_TABLE
        odds = np.array([config.odds.get(name, 0.0) for name in names])
        name = str(generator.choice(names, p=odds / odds.sum()))
        noise = float(generator.choice(config.shaky)) * config.max_translation
        if name == "drop":
            yield np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
            continue
        name = name if len(arm.objects) > 1 or name != "stack" else "place"
        skill, goal = SKILLS[name], _skill_goal(name, arm, thing, config, generator)
        for action in do(arm, skill, goal, _SKILL_STEPS, thing):
            slipped = config.slips > 0 and generator.random() < config.slips
            astray = 0.5 * config.max_translation if slipped else noise
            action[:3] += generator.normal(0.0, astray, 3) if astray else 0.0
            yield action
        for _ in range(int(generator.integers(3))):
            yield np.zeros(7)


def _skill_goal(
    name: str, arm: MujocoArm, thing: SceneObject, config: PlayConfig, generator: np.random.Generator
) -> Float[np.ndarray, "3"]:
    """Returns where a skill should lead to with an object, at random."""
    if name == "reach":
        return generator.uniform(config.low, config.high)
    if name == "stack":
        others = [other for other in arm.objects if other is not thing]
        return on_top(others[int(generator.integers(len(others)))], thing)
    goal = sample_carry(generator)
    if name == "lift" and generator.random() < 0.5:  # hardly ever exactly above: where it ends must not tell where from
        goal[:2] = thing.position[:2] + generator.normal(0.0, _BESIDE, 2)
    return goal


def _fumble(arm: MujocoArm, config: PlayConfig, generator: np.random.Generator) -> Iterator[Float[np.ndarray, "7"]]:
    velocity, closedness, thing = np.zeros(3), 0.0, _any_object(arm, generator)
    while True:
        way = thing.position + np.array([0.0, 0.0, 0.02]) - arm.pose()[:3]
        velocity = 0.5 * velocity + generator.normal(0.0, 0.5 * config.max_translation, 3)
        pull = np.clip(way, -config.max_translation, config.max_translation)
        step = velocity + (0.4 * pull if np.linalg.norm(pull) > 0.06 else 0.1 * pull)
        ahead = np.clip(arm.pose()[:3] + step, config.low, config.high)
        if generator.random() < 0.3:
            closedness = float(generator.choice([0.0, 1.0, generator.random()]))
        grip = closedness - arm.pose()[6] if not (arm.gripping() and generator.random() < 0.8) else 0.0
        yield np.array([*(ahead - arm.pose()[:3]), 0.0, 0.0, 0.0, grip])


def _any_object(arm: MujocoArm, generator: np.random.Generator) -> SceneObject:
    """Returns one of the scene's objects; of a single one nothing is drawn."""
    first, *others = arm.objects
    return arm.objects[int(generator.integers(len(arm.objects)))] if others else first


def _speed(config: PlayConfig, generator: np.random.Generator) -> float:
    """Returns an episode's largest step along an axis [m], log-uniform."""
    return config.max_translation * float(np.exp(generator.uniform(np.log(config.min_speed), 0.0)))


def _translation(step: Float[np.ndarray, "3"]) -> Float[np.ndarray, "7"]:
    return np.concatenate([step, np.zeros(4)])


BEHAVIOURS: dict[str, Behaviour] = {
    "wander": _wander,
    "visit": _visit,
    "push": _push,
    "chain": _chain,
    "fumble": _fumble,
}
"""Every behaviour by name, in the order of `PlayConfig.weights`."""
