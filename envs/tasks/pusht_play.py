"""Play in Push-T: the T is pushed at one random place of its outline after another (extra `benchmarks`).

The peers' data are demonstrations towards one place, and noise on them (DINO-WM, arXiv 2411.04983). This is a script
with no place to bring the T to: goals drawn from it are as far away as it pushes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

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
_APPROACH = 12  # actions at most to get beside the place; it pushes from wherever it is then
_PUSHES = (1, 5)  # actions of a push, fewest and most
_SPEEDS = (0.25, 1.0)  # of a push, as shares of the longest action


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


class Pusher:
    """One episode of play; the same seed acts the same. It looks at the simulation, which it resets."""

    def __init__(self, pusht: PushT, config: ShakyPlay | None, seed: int) -> None:
        """Resets the simulation at random.

        Args:
            pusht: The simulation.
            config: What play is like; None for the default.
            seed: Seed of everything random in the episode.
        """
        self._pusht, self._config = pusht, config or PushTPlay()
        self._generator = np.random.default_rng(seed)
        pusht.reset(int(self._generator.integers(2**31)))
        self._longest = 1000 * pusht.action_spec.high[0]
        self._steps = self._play()

    def action(self) -> Place:
        """Returns the next action (2,) [m]."""
        return np.clip(next(self._steps), -self._longest, self._longest) / 1000

    def _play(self) -> Iterator[Place]:
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
        local, inward = self._choose()
        for _ in range(_APPROACH):
            place, way = self._beside(local, inward)
            missing = place - self._pusht.disc()
            if np.linalg.norm(missing) < 8.0:
                break
            yield self._detour(place)
        _, way = self._beside(local, inward)
        way = _turn(self._generator.normal(0.0, 0.25)) @ way
        speed = self._longest * self._generator.uniform(*_SPEEDS)
        yield (_BESIDE - _CLEAR) * way
        for _ in range(int(self._generator.integers(*_PUSHES, endpoint=True))):
            yield speed * way

    def _choose(self) -> tuple[Place, Place]:
        """Returns a place of the outline and the way into it, in the T's own frame: one that can be got at.

        The further the T is from the middle of the table, the rather it is pushed back.
        """
        block = self._pusht.block()
        away = (block[:2] - _MIDDLE) / 150.0
        best, least = None, np.inf
        for _ in range(_TRIES):
            bar = self._pusht.outline()[int(self._generator.integers(2))]
            side = int(self._generator.integers(4))
            first, second = bar[side], bar[(side + 1) % 4]
            place = first + self._generator.uniform(0.1, 0.9) * (second - first)
            normal = np.array([first[1] - second[1], second[0] - first[0]]) / np.linalg.norm(second - first)
            way = normal if normal @ (bar.mean(axis=0) - place) > 0 else -normal
            start = place - _BESIDE * way
            if np.any(np.abs(start - _MIDDLE) > 256.0 - _SIDE) or self._nearest(start) < _CLEAR:
                continue
            cost = float(way @ away) + self._generator.uniform(0.0, 1.0)
            if cost < least:
                best, least = (place, way), cost
        place, way = best if best is not None else (block[:2], np.array([1.0, 0.0]))
        back = _turn(-block[2])
        return back @ (place - block[:2]), back @ way

    def _beside(self, local: Place, inward: Place) -> tuple[Place, Place]:
        """Returns where a push begins and its way, where the T is now."""
        block = self._pusht.block()
        turn = _turn(block[2])
        way = turn @ inward
        return block[:2] + turn @ local - _BESIDE * way, way

    def _detour(self, place: Place) -> Place:
        """Returns the way of the next action to a place: straight if the T is not in it, else around the T."""
        disc, middle = self._pusht.disc(), np.mean(self._pusht.outline(), axis=(0, 1))
        way = place - disc
        between = disc + np.linspace(0.0, 1.0, 12)[:, None] * way
        if min(self._nearest(point) for point in between[1:]) > _CLEAR:
            return way * min(1.0, self._longest / np.abs(way).max())
        here, there = (np.arctan2(*(point - middle)[::-1]) for point in (disc, place))
        turn = np.clip((there - here + np.pi) % (2 * np.pi) - np.pi, -_ARC, _ARC)
        ahead = middle + _AROUND * np.array([np.cos(here + turn), np.sin(here + turn)])
        return np.clip(ahead, _MIDDLE - 230.0, _MIDDLE + 230.0) - disc

    def _nearest(self, point: Place) -> float:
        """Returns how far a place is from the T; 0 within [mm]."""
        return min(_distance(point, bar) for bar in self._pusht.outline())

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
    observations = [pusht.observe()]
    while len(observations) < config.frames:
        pusht.command(pusher.action())
        observations.append(pusht.observe())
    return Episode.from_observations(observations, pusht.action_spec, "Push-T", seed)


def _turn(angle: float) -> Float[np.ndarray, "2 2"]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _distance(point: Place, corners: Float[np.ndarray, "4 2"]) -> float:
    """Returns how far a point is from a rectangle; 0 within."""
    first, second = corners[1] - corners[0], corners[3] - corners[0]
    along = np.array([(point - corners[0]) @ side / np.linalg.norm(side) for side in (first, second)])
    most = np.array([np.linalg.norm(first), np.linalg.norm(second)])
    return float(np.linalg.norm(along - np.clip(along, 0.0, most)))
