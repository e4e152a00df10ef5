"""Push-T's expert, which knows where everything is: the best of pushes that are tried in a simulation of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from envs.tasks.pusht import PushT
from envs.tasks.pusht_play import ASTRAY, GAP, PUSHES, SPEEDS, Contact, Place, Ways, half_turn, turn

_TRIED = 60  # places of the outline, of which a disc gets beside about half
_SLOWEST = 0.05  # of a push, as a share of the longest action: the last ones are by millimetres
_TURN = 60.0  # mm that a radian of the T counts as: its parts are about so far from its middle
_NEAR = 5.0  # mm of the T's error that no push is worth
_GAIN = 1.0  # mm by which a push must be better than none
_ARRIVED = 2.0  # mm of the disc from its place
_HOME = 10  # actions at most until it is there
_PUSHED = 12  # pushes at most


class _Push(NamedTuple):
    """A push.

    Attributes:
        contact: Where.
        angle: From the way straight into the T [rad].
        length: Of an action [mm].
        actions: How many.
    """

    contact: Contact
    angle: float
    length: float
    actions: int


class PushTExpert:
    """Brings T and disc to where they shall be. See `envs.tasks.contract.Practicable.finish`."""

    def __init__(self, pusht: PushT, goal: Float[np.ndarray, "5"], generator: np.random.Generator) -> None:
        """Takes the simulation.

        Args:
            pusht: What it acts in.
            goal: See `PushT.places`.
            generator: Draws the pushes that are tried.
        """
        self._pusht, self._goal, self._generator = pusht, goal, generator
        self._ways, self._imagined = Ways(pusht), PushT(pusht.image_size)
        self._imagined.reset(0)

    def actions(self) -> Iterator[Place]:
        """Yields actions (2,) [m] until both are there, or no push that is tried is of use."""
        for _ in range(_PUSHED):
            push = self._best()
            if push is None:
                break
            for way in self._carried_out(push):
                yield way / 1000
        for _ in range(_HOME):
            missing = self._goal[:2] - self._pusht.disc()
            if np.linalg.norm(missing) < _ARRIVED:
                return
            yield self._ways.to(self._goal[:2], beside=True) / 1000

    def _carried_out(self, push: _Push) -> Iterator[Place]:
        """Yields the way to where a push begins, and the push [mm]."""
        yield from self._ways.approach(push.contact)
        way = turn(push.angle) @ self._ways.beside(push.contact)[1]
        yield GAP * way
        for _ in range(push.actions):
            yield push.length * way

    def _best(self) -> _Push | None:
        """Returns the push that is found to bring the T closest; None if none does it much good."""
        generator, longest = self._generator, self._ways.longest
        block, best = self._pusht.block(), None
        error = self._error(block)
        if error < _NEAR:
            return None
        least = error - _GAIN
        for _ in range(_TRIED):
            contact = self._ways.contact(generator)
            if contact is None:
                continue
            angle, length = generator.normal(0.0, ASTRAY), longest * generator.uniform(_SLOWEST, SPEEDS[1])
            begin, inward = self._ways.beside(contact)
            way = turn(angle) @ inward
            self._imagined.put(np.concatenate([begin, block]))
            self._imagined.command(GAP * way / 1000)
            for actions in range(1, PUSHES[1] + 1):
                self._imagined.command(length * way / 1000)
                error = self._error(self._imagined.block())
                if error < least:
                    least, best = error, _Push(contact, angle, length, actions)
        return best

    def _error(self, block: Float[np.ndarray, "3"]) -> float:
        """Returns how far a T is from where it shall be [mm]."""
        turned = abs(half_turn(block[2] - self._goal[4]))
        return float(np.linalg.norm(block[:2] - self._goal[2:4]) + _TURN * turned)
