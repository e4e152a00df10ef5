"""What a robot's numbers mean in LeRobot, and what a checkpoint means by them. NumPy alone, no LeRobot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.pose import motion_of
from envs.spec import ActionSpec, SpecError

_TURN = 2 * np.pi + 0.1  # no joint or Euler angle is measured beyond a turn [rad]
_SLACK = 0.1  # by which a closedness may be measured beyond 0 and 1
_FEW = 1e-3  # share by which rates may differ


@dataclass(frozen=True)
class Units:
    """Turns a robot's numbers in LeRobot into a checkpoint's poses and back.

    ::

        angle [rad] = angle [degrees] * pi / 180        closedness = (gripper - open) / (closed - open)

    Attributes:
        spec: What the checkpoint means by an action.
        degrees: Whether the robot's angles are in degrees.
        gripper: Of the robot: where it is open, and where it is closed.

    Raises:
        SpecError: If the two are the same.
    """

    spec: ActionSpec
    degrees: bool = False
    gripper: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.gripper[0] == self.gripper[1]:
            raise SpecError(f"a gripper that is open and closed at {self.gripper[0]} does not move")

    def check_robot(self, names: Sequence[str] | None, rate: float) -> None:
        """Returns if numbers of these names, at this rate, are the checkpoint's.

        Args:
            names: As LeRobot has them, such as "shoulder_pan.pos"; None where it does not tell.
            rate: Actions a second [Hz].

        Raises:
            SpecError: Naming what the checkpoint knows and what came.
        """
        plain = None if names is None else tuple(name.removesuffix(".pos") for name in names)
        if plain is not None and plain != tuple(self.spec.names):
            raise SpecError(
                f"the checkpoint acts on {', '.join(self.spec.names)} (frame {self.spec.frame}), the robot on "
                f"{', '.join(plain)}: take a checkpoint that was trained for this robot"
            )
        if abs(rate / self.spec.rate - 1.0) > _FEW:
            raise SpecError(f"the checkpoint acts {self.spec.rate:g} times a second, LeRobot {rate:g}: set its fps")

    def to_pose(self, state: np.ndarray) -> np.ndarray:
        """Returns the pose (P,) of a robot's state (P,).

        Raises:
            SpecError: If no arm has such a pose: its units are others than was said.
        """
        size = self.spec.size
        if state.shape != (size,) or not np.isfinite(state).all():
            raise SpecError(f"the state must be {size} finite numbers ({', '.join(self.spec.names)}), got {state}")
        pose = (state - self._zeros()) / self._scales()
        turned = [i for i in self._angles() if abs(pose[i]) > _TURN]
        if turned:
            told = "in degrees" if self.degrees else "not in degrees"
            raise SpecError(
                f"{self.spec.names[turned[0]]} is at {state[turned[0]]:g}, more than a turn if the robot's angles are "
                f"{told} (--policy.degrees={str(self.degrees).lower()})"
            )
        if self.spec.gripper is not None and not -_SLACK <= pose[self.spec.gripper] <= 1.0 + _SLACK:
            raise SpecError(
                f"the gripper is at {state[self.spec.gripper]:g}, but it was said to be open at {self.gripper[0]:g} "
                f"and closed at {self.gripper[1]:g}: --policy.gripper='[OPEN, CLOSED]' says where this robot's is"
            )
        return pose

    def to_changes(self, actions: np.ndarray) -> np.ndarray:
        """Returns actions (H, A) of the checkpoint's in the robot's units."""
        return actions * self._scales()

    def to_targets(self, pose: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Returns the robot's states (H, A) that the checkpoint's actions (H, A) lead to one after another."""
        targets = []
        for action in actions:
            pose = motion_of(self.spec).compose(pose, action)
            if self.spec.gripper is not None:
                pose[self.spec.gripper] = np.clip(pose[self.spec.gripper], 0.0, 1.0)
            targets.append(pose * self._scales() + self._zeros())
        return np.stack(targets)

    def _angles(self) -> list[int]:
        """Returns which numbers are angles."""
        return [i for i, unit in enumerate(self.spec.units) if unit == "rad"]

    def _scales(self) -> np.ndarray:
        """Returns by what each of the checkpoint's numbers is multiplied for the robot's, (A,)."""
        scales = np.ones(self.spec.size)
        if self.degrees:
            scales[self._angles()] = 180.0 / np.pi
        if self.spec.gripper is not None:
            scales[self.spec.gripper] = self.gripper[1] - self.gripper[0]
        return scales

    def _zeros(self) -> np.ndarray:
        """Returns the robot's numbers where the checkpoint's are 0, (A,)."""
        zeros = np.zeros(self.spec.size)
        if self.spec.gripper is not None:
            zeros[self.spec.gripper] = self.gripper[0]
        return zeros
