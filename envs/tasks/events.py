"""What happens to the objects while play is recorded: privileged, for people."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from envs.simulation.arm import MujocoArm
from envs.simulation.objects import SceneObject


@dataclass(frozen=True)
class Events:
    """What happened to the objects, counted over frames and episodes.

    Attributes:
        frames: All frames.
        touched: Frames in which hand or fingers touch one.
        held: Frames in which one is in the hand.
        moved: Steps that moved one by more than 5 mm while it was not held.
        grasps: Times one was taken up.
        releases: Times one was let go.
    """

    frames: int = 0
    touched: int = 0
    held: int = 0
    moved: int = 0
    grasps: int = 0
    releases: int = 0

    def __add__(self, other: Events) -> Events:
        """Returns the sums."""
        return Events(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


class Watch:
    """Counts what happens to the objects, over any number of episodes."""

    def __init__(self) -> None:
        self.events = Events()
        self._held: SceneObject | None = None
        self._positions = np.zeros((0, 3))

    def start(self, arm: MujocoArm) -> None:
        """Begins an episode."""
        self.events += Events(frames=1)
        self._held, self._positions = arm.held(), positions_of(arm)

    def look(self, arm: MujocoArm) -> None:
        """Counts what has happened since the last look."""
        held, positions, before = arm.held(), positions_of(arm), self._held
        far = np.linalg.norm(positions - self._positions, axis=1) > 0.005
        moved = [one for one, went in zip(arm.objects, far, strict=True) if went and one not in (held, before)]
        self.events += Events(
            frames=1,
            touched=int(any(arm.touching(one) for one in arm.objects)),
            held=int(held is not None),
            moved=int(bool(moved)),
            grasps=int(held is not None and held is not before),
            releases=int(before is not None and held is not before),
        )
        self._held, self._positions = held, positions


def positions_of(arm: MujocoArm) -> Float[np.ndarray, "objects 3"]:
    """Returns the centres of all objects [m]."""
    return np.array([one.position for one in arm.objects]).reshape(-1, 3)
