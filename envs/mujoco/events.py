"""What happens to an object while play is recorded: privileged, for people."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from envs.mujoco.arm import MujocoArm


@dataclass(frozen=True)
class Events:
    """What happened to the object, counted over frames and episodes.

    Attributes:
        frames: All frames.
        touched: Frames in which hand or fingers touch it.
        held: Frames in which it is in the hand.
        moved: Steps that moved it by more than 5 mm while it was not held.
        grasps: Times it was taken up.
        releases: Times it was let go.
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
    """Counts what happens to the object, over any number of episodes."""

    def __init__(self) -> None:
        self.events = Events()
        self._held, self._position = False, np.zeros(3)

    def start(self, arm: MujocoArm) -> None:
        """Begins an episode."""
        self.events += Events(frames=1)
        if arm.config.scene.graspable:
            self._held, self._position = arm.holding(), arm.object_position()

    def look(self, arm: MujocoArm) -> None:
        """Counts what has happened since the last look."""
        self.events += Events(frames=1)
        if not arm.config.scene.graspable:
            return
        held, position = arm.holding(), arm.object_position()
        moved = not held and not self._held and bool(np.linalg.norm(position - self._position) > 0.005)
        self.events += Events(
            0, int(arm.touching_object()), int(held), int(moved), held > self._held, held < self._held
        )
        self._held, self._position = held, position
