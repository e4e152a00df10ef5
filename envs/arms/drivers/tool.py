"""Where the point that poses speak of sits on the hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class ToolOffset:
    """From the robot's flange to the point between the fingertips that poses are poses of.

    Attributes:
        position: In the flange's frame [m].
        rotation: Extrinsic-xyz Euler angles [rad].

    Raises:
        ValueError: If the offset is longer than an arm's hand or an angle beyond a turn, as in mm or degrees.
    """

    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if max(map(abs, self.position)) > 1.0 or max(map(abs, self.rotation)) > 2 * np.pi:
            raise ValueError(f"a tool offset is in metres and radians, got {self.position}, {self.rotation}")

    def matrix(self) -> Float[np.ndarray, "4 4"]:
        """Returns the transform of the tool in the flange's frame."""
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_euler("xyz", self.rotation).as_matrix()
        matrix[:3, 3] = self.position
        return matrix
