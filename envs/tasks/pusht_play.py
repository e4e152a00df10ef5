"""Play in Push-T: the T is pushed at one random place of its outline after another (extra `benchmarks`).

The peers' data are demonstrations towards one place, and noise on them (DINO-WM, arXiv 2411.04983). This is a script
with no place to bring the T to: goals drawn from it are as far away as it pushes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float

from envs.episodes import Episode
from envs.tasks.benchmark_play import ShakyPlay

if TYPE_CHECKING:
    from envs.tasks.pusht import PushT

Place = Float[np.ndarray, "2"]

_BESIDE = 32.0  # mm from the outline to the disc's centre before it pushes; its radius is 15
_CLEAR = 17.0  # mm from the outline to the centre of a disc that passes
_AROUND = 125.0  # mm from the T's middle, where the disc goes around it
_ARC = 0.6  # rad of that circle in one action, at most
_MIDDLE = np.array([256.0, 256.0])
_SIDE = 40.0  # mm from the walls, where pushes begin
_TRIES = 30
_ARRIVED = 8.0  # mm
_APPROACH = 12  # actions at most to get beside the place; it pushes from wherever it is then

PUSHES = (1, 5)
"""Actions of a push, fewest and most."""

SPEEDS = (0.25, 1.0)
"""Of a push, as shares of the longest action."""

ASTRAY = 0.25
"""How far a push goes from the way straight into the T, as a standard deviation [rad]."""

GAP = _BESIDE - _CLEAR
"""What a disc beside the T goes before it pushes [mm]."""


@dataclass(frozen=True)
class PushTPlay(ShakyPlay):
    """What an episode of play in Push-T is like: a `BenchmarkPlay`."""

    kind: str = "pusht"
    robot_type: ClassVar[str] = "pusht"

    @contextmanager
    def recorder(self, image_size: int) -> Iterator[Callable[[int], Episode]]:
        """See `BenchmarkPlay.recorder`."""
        from envs.tasks.pusht import PushT

        with closing(PushT(image_size)) as pusht:
            yield lambda seed: record_pusht_play(pusht, self, seed)


class Contact(NamedTuple):
    """A place of the T's outline, in the T's own frame.

    Attributes:
        place: From the T's middle [mm].
        inward: The way into the T there, of length 1.
    """

    place: Place
    inward: Place


class Ways:
    """How a disc gets about the T, from where both are in a simulation [mm].

    Attributes:
        longest: How far it goes along an axis in one action, at most.
    """

    def __init__(self, pusht: PushT) -> None:
        """Takes the simulation, which it looks at only."""
        self._pusht, self.longest = pusht, 1000 * pusht.action_spec.high[0]

    def contact(self, generator: np.random.Generator) -> Contact | None:
        """Returns a random place of the outline; None if a disc can't get beside it."""
        block, bar = self._pusht.block(), self._pusht.outline()[int(generator.integers(2))]
        side = int(generator.integers(4))
        first, second = bar[side], bar[(side + 1) % 4]
        place = first + generator.uniform(0.1, 0.9) * (second - first)
        normal = np.array([first[1] - second[1], second[0] - first[0]]) / np.linalg.norm(second - first)
        way = normal if normal @ (bar.mean(axis=0) - place) > 0 else -normal
        start = place - _BESIDE * way
        if np.any(np.abs(start - _MIDDLE) > 256.0 - _SIDE) or self.nearest(start) < _CLEAR:
            return None
        back = turn(-block[2])
        return Contact(back @ (place - block[:2]), back @ way)

    def beside(self, contact: Contact) -> tuple[Place, Place]:
        """Returns where a push begins, and the way straight into the T, where that is now."""
        block = self._pusht.block()
        way = turn(block[2]) @ contact.inward
        return block[:2] + turn(block[2]) @ contact.place - _BESIDE * way, way

    def approach(self, contact: Contact) -> Iterator[Place]:
        """Yields the way to where a push begins, one action after another."""
        for _ in range(_APPROACH):
            place, _ = self.beside(contact)
            if np.linalg.norm(place - self._pusht.disc()) < _ARRIVED:
                return
            yield self.to(place)

    def to(self, place: Place, beside: bool = False) -> Place:
        """Returns the way of the next action to a place: straight if the T is not in it, else around the T.

        Args:
            place: Where to.
            beside: Whether the place itself may be closer to the T than a disc passes.
        """
        clear = min(_CLEAR, self.nearest(place) - 1.0) if beside else _CLEAR
        disc, middle = self._pusht.disc(), np.mean(self._pusht.outline(), axis=(0, 1))
        way = place - disc
        between = disc + np.linspace(0.0, 1.0, 12)[:, None] * way
        if min(self.nearest(point) for point in between[1:]) > clear:
            return way * min(1.0, self.longest / np.abs(way).max())
        here, there = (np.arctan2(*(point - middle)[::-1]) for point in (disc, place))
        angle = np.clip(half_turn(there - here), -_ARC, _ARC)
        ahead = middle + _AROUND * np.array([np.cos(here + angle), np.sin(here + angle)])
        return np.clip(ahead, _MIDDLE - 230.0, _MIDDLE + 230.0) - disc

    def nearest(self, point: Place) -> float:
        """Returns how far a place is from the T; 0 within [mm]."""
        return min(_distance(point, bar) for bar in self._pusht.outline())


class Pusher:
    """One episode of play; the same seed acts the same. It looks at the simulation, which it resets."""

    def __init__(self, pusht: PushT, config: ShakyPlay | None, seed: int) -> None:
        """Resets the simulation at random.

        Args:
            pusht: The simulation.
            config: What play is like; None for the default.
            seed: Seed of everything random in the episode.
        """
        generator = np.random.default_rng(seed)
        pusht.reset(int(generator.integers(2**31)))
        self._actions = Pushes(pusht, config or PushTPlay(), generator).actions()

    def action(self) -> Place:
        """Returns the next action (2,) [m]."""
        return next(self._actions)


class Pushes:
    """Play, from wherever disc and T are."""

    def __init__(self, pusht: PushT, config: ShakyPlay, generator: np.random.Generator) -> None:
        """Takes the simulation, what play is like, and what draws everything random."""
        self._pusht, self._ways, self._config, self._generator = pusht, Ways(pusht), config, generator
        self._longest = self._ways.longest

    def actions(self) -> Iterator[Place]:
        """Yields actions (2,) [m] without an end."""
        for way in self._steps():
            yield np.clip(way, -self._longest, self._longest) / 1000

    def _steps(self) -> Iterator[Place]:
        """Yields one push after another, and now and then random motion [mm]."""
        generator, config = self._generator, self._config
        while True:
            if generator.random() < config.wander:
                yield from self._wander()
            noise = config.draw_noise(generator) * self._longest
            for way in self._push():
                astray = 0.5 * self._longest if generator.random() < config.slips else noise
                yield way + generator.normal(0.0, astray, 2)

    def _push(self) -> Iterator[Place]:
        """Yields the way to a place beside the T, and a push from there."""
        contact = self._choose()
        yield from self._ways.approach(contact)
        _, way = self._ways.beside(contact)
        way = turn(self._generator.normal(0.0, ASTRAY)) @ way
        speed = self._longest * self._generator.uniform(*SPEEDS)
        yield GAP * way
        for _ in range(int(self._generator.integers(*PUSHES, endpoint=True))):
            yield speed * way

    def _choose(self) -> Contact:
        """Returns one that can be got at; the further the T is from the middle, the rather one to push it back."""
        block = self._pusht.block()
        away = (block[:2] - _MIDDLE) / 150.0
        best, least = Contact(np.zeros(2), turn(-block[2]) @ np.array([1.0, 0.0])), np.inf
        for _ in range(_TRIES):
            contact = self._ways.contact(self._generator)
            if contact is None:
                continue
            cost = float(self._ways.beside(contact)[1] @ away) + self._generator.uniform(0.0, 1.0)
            if cost < least:
                best, least = contact, cost
        return best

    def _wander(self) -> Iterator[Place]:
        """Yields a few actions that go smoothly in some direction."""
        velocity = self._generator.uniform(-self._longest, self._longest, 2)
        for _ in range(int(self._generator.integers(1, 4))):
            velocity = 0.6 * velocity + self._generator.normal(0.0, 0.4 * self._longest, 2)
            yield velocity


def record_pusht_play(pusht: PushT, config: ShakyPlay, seed: int) -> Episode:
    """Returns one episode of play; the same seed gives the same episode.

    Actions are the differences of the *measured* places of the disc, not the commands.

    Args:
        pusht: The simulation; it is reset.
        config: What play is like.
        seed: Seed of everything random in the episode; from `envs.spec.HELD_OUT` on it is for evaluation.
    """
    pusher = Pusher(pusht, config, seed)
    observations = pusht.drive(lambda _: pusher.action(), config.frames)
    return Episode.from_observations(observations, pusht.action_spec, "Push-T", seed)


def turn(angle: float) -> Float[np.ndarray, "2 2"]:
    """Returns the matrix that turns by an angle [rad]."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def half_turn(angle: float) -> float:
    """Returns the same angle, of half a turn at most either way [rad]."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _distance(point: Place, corners: Float[np.ndarray, "4 2"]) -> float:
    """Returns how far a point is from a rectangle; 0 within."""
    first, second = corners[1] - corners[0], corners[3] - corners[0]
    along = np.array([(point - corners[0]) @ side / np.linalg.norm(side) for side in (first, second)])
    most = np.array([np.linalg.norm(first), np.linalg.norm(second)])
    return float(np.linalg.norm(along - np.clip(along, 0.0, most)))
