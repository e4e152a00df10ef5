"""Experts and play for the Fetch tasks: things brought to random places, one after another, more or less shakily."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from envs.arms.base import drive
from envs.arms.safety import SafeArm
from envs.episodes import Episode
from envs.tasks.benchmark_play import ShakyPlay
from envs.tasks.expert import Action, Sight, carry, lift, push, reach
from envs.tasks.fetch import BLOCK, LONGEST, TABLE, FetchArm, FetchTask, fetch_limits

_DONE = 0.015  # m from where something is to be brought
_PUSH_STEP = 0.03  # m, of the hand that is at the block: pushed faster it slides on
_BESIDE = 0.07  # m between the centres of hand and block
_CARRIED = 0.06  # m: height of the block's centre while it is carried far
_GIVEN_UP = 24  # actions after which something else is done
_SPREAD = 0.15  # m: the benchmark's own, of blocks and goals around where the hand starts
_WANDERING = 6  # actions at most that go nowhere in particular


@dataclass(frozen=True)
class FetchPlay(ShakyPlay):
    """What an episode of play in a Fetch task is like: a `BenchmarkPlay`.

    Attributes:
        task: Which one.
    """

    kind: str = "fetch"
    task: FetchTask = "Push"
    robot_type: ClassVar[str] = "fetch-mujoco"

    @contextmanager
    def recorder(self, image_size: int) -> Iterator[Callable[[int], Episode]]:
        """See `BenchmarkPlay.recorder`."""
        with closing(FetchArm(self.task, image_size)) as arm:
            yield lambda seed: record_fetch_play(arm, self, seed)


def expert(arm: FetchArm, goal: Float[np.ndarray, "3"]) -> Action | None:
    """Returns what an expert does next to bring the block, or the hand, to a place [m]; None where it is there."""
    if np.linalg.norm(arm.achieved() - goal) < _DONE:
        return None
    sight, place = arm.sight(), goal - TABLE
    if arm.task == "Reach":
        return reach(sight, place)
    return _gently(sight, push(sight, place)) if arm.task == "Push" else _bring(sight, place)


def _gently(sight: Sight, action: Action) -> Action:
    """Returns a push that is short where the hand is at the block."""
    beside = sight.hand[2] < BLOCK and np.linalg.norm(sight.hand[:2] - sight.thing[:2]) < _BESIDE
    length = float(np.linalg.norm(action[:2]))
    return action if not beside or length < _PUSH_STEP else action * (_PUSH_STEP / length)


def _bring(sight: Sight, place: Float[np.ndarray, "3"]) -> Action:
    """Takes hold of the block and carries it to a place, over the table if it is far."""
    if not sight.gripped:
        return lift(sight, place)
    far = np.linalg.norm(place[:2] - sight.thing[:2]) > 0.03
    return carry(sight, np.array([*place[:2], max(place[2], _CARRIED) if far else place[2]]))


def record_fetch_play(arm: FetchArm, config: ShakyPlay, seed: int) -> Episode:
    """Returns one episode of play from one of the benchmark's starts; the same seed gives the same episode.

    Actions are the differences of the *measured* poses, not the commands.

    Args:
        arm: It is reset.
        config: What play is like.
        seed: Seed of everything random in the episode; from `envs.spec.HELD_OUT` on it is for evaluation.
    """
    generator = np.random.default_rng(seed)
    arm.reset(int(generator.integers(2**31)))
    steps = play(arm, config, generator)
    observations = drive(SafeArm(arm, fetch_limits()), lambda observation: next(steps), config.frames)
    return Episode.from_observations(observations, arm.action_spec, f"Fetch {arm.task}", seed)


def play(arm: FetchArm, config: ShakyPlay, generator: np.random.Generator) -> Iterator[Action]:
    """Yields what an expert does to one random end after another, with noise, and now and then random motion.

    Args:
        arm: As it stands.
        config: What play is like.
        generator: Of everything random.
    """
    home = arm.pose()[:3]
    while True:
        if generator.random() < config.wander:
            yield from _wander(arm, generator)
        noise, goal = config.draw_noise(generator) * LONGEST, _place(arm, home, generator)
        for _ in range(_GIVEN_UP):
            action = expert(arm, goal)
            if action is None:
                break
            astray = 0.5 * LONGEST if generator.random() < config.slips else noise
            action[:3] += generator.normal(0.0, astray, 3)
            yield action
        if arm.gripping() and generator.random() < 0.7:  # let go of it, mostly
            yield np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
        for _ in range(int(generator.integers(3))):
            yield np.zeros(7)


def _place(arm: FetchArm, home: Float[np.ndarray, "3"], generator: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Returns where something is to be brought, spread as the benchmark's goals are [m]."""
    place = home + generator.uniform(-_SPREAD, _SPREAD, 3)
    if arm.task == "Reach":
        return place
    in_the_air = arm.task == "PickAndPlace" and generator.random() < 0.5
    place[2] = TABLE[2] + BLOCK / 2 + (generator.uniform(0.0, 0.45) if in_the_air else 0.0)
    return place


def _wander(arm: FetchArm, generator: np.random.Generator) -> Iterator[Action]:
    """Yields a few actions that go smoothly in some direction."""
    velocity = generator.uniform(-LONGEST, LONGEST, 3)
    for _ in range(int(generator.integers(1, _WANDERING, endpoint=True))):
        velocity = 0.6 * velocity + generator.normal(0.0, 0.5 * LONGEST, 3)
        closing = generator.choice([-1.0, 0.0, 1.0]) if arm.task == "PickAndPlace" else 0.0
        yield np.array([*velocity, 0.0, 0.0, 0.0, closing])
