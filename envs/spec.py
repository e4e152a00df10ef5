"""What is seen and what may be done: the vocabulary every room shares. NumPy only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # a robot's side has NumPy alone
    from jaxtyping import Bool, Float, UInt8

POSE_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
POSE_UNITS = ("m", "m", "m", "rad", "rad", "rad", "1")


HELD_OUT = 10_000
"""Seeds of tasks from here on are held out for evaluation: nothing is recorded or tuned with them."""


class SpecError(ValueError):
    """Two sides do not mean the same thing by an action or an observation."""


@dataclass(frozen=True)
class Observation:
    """One look at the world.

    Attributes:
        image: RGB camera image, (h, w, 3) uint8.
        pose: End effector in the arm's base frame, (P,): position [m], extrinsic-xyz Euler angles [rad],
            gripper closedness [0 open .. 1 closed].
        time: When the image was taken, monotonic clock of the arm [s].

    Raises:
        SpecError: If the image is not (h, w, 3) uint8, the pose is not a finite vector or the time is not finite.
    """

    image: UInt8[np.ndarray, "h w 3"]
    pose: Float[np.ndarray, "P"]
    time: float

    def __post_init__(self) -> None:
        _check_image(self.image, "an observation's")
        _check_pose(self.pose, "an observation's")
        if not np.isfinite(self.time):
            raise SpecError(f"an observation's time must be a finite number of seconds, got {self.time}")


@dataclass(frozen=True)
class Goal:
    """What is wanted; what is None is open.

    Attributes:
        image: RGB image of how things are to look, (h, w, 3) uint8.
        pose: End effector there, (P,) as `Observation.pose`; None where it is not known or does not matter.
        mask: What of the image counts, (h, w), truth values or grey levels in uint8 (0 nothing, 255 all); None for
            all of it.

    Raises:
        SpecError: If the image is not (h, w, 3) uint8, the pose is not a finite vector, or the mask is of another size
            or kind or says that nothing counts.
    """

    image: UInt8[np.ndarray, "h w 3"]
    pose: Float[np.ndarray, "P"] | None = None
    mask: UInt8[np.ndarray, "h w"] | Bool[np.ndarray, "h w"] | None = None

    def __post_init__(self) -> None:
        _check_image(self.image, "a goal's")
        if self.pose is not None:
            _check_pose(self.pose, "a goal's")
        if self.mask is not None:
            _check_mask(self.mask, self.image.shape[:2])


def _check_image(image: Any, whose: str) -> None:
    """Returns if it is an RGB image."""
    if not isinstance(image, np.ndarray):
        raise SpecError(f"{whose} image must be (height, width, 3) uint8 RGB, got a {type(image).__name__}")
    if image.ndim != 3 or image.shape[-1] != 3 or not image.size or image.dtype != np.uint8:
        raise SpecError(f"{whose} image must be (height, width, 3) uint8 RGB, got {image.shape} {image.dtype}")


def _check_pose(pose: Any, whose: str) -> None:
    """Returns if it is a finite vector."""
    number = isinstance(pose, np.ndarray) and pose.ndim == 1 and pose.dtype.kind in "fiu"
    if not number or not np.isfinite(pose).all():
        raise SpecError(f"{whose} pose must be a vector of finite numbers, got {pose!r}")


def _check_mask(mask: Any, shape: tuple[int, ...]) -> None:
    """Returns if it says of each pixel how much it counts, and of any that it does."""
    if not isinstance(mask, np.ndarray) or mask.shape != shape or mask.dtype not in (np.uint8, np.bool_):
        came = f"{mask.shape} {mask.dtype}" if isinstance(mask, np.ndarray) else f"a {type(mask).__name__}"
        raise SpecError(f"a goal's mask must be as large as its image, {shape}, of bool or uint8, got {came}")
    if not mask.any():
        raise SpecError("a goal's mask is 0 everywhere: nothing of the goal would count; leave it out for all of it")


@dataclass(frozen=True)
class ActionSpec:
    """What an action vector means and how far it may go.

    Attributes:
        names: One name a dimension, such as ("x", ..., "gripper").
        units: One unit a dimension, such as ("m", ..., "1").
        low: Lower bounds a control period. ``low == high`` fixes a dimension.
        high: Upper bounds a control period.
        frame: The frame that translations and rotations are expressed in, such as "base".
        rate: Control rate [Hz]; one action lasts 1 / rate seconds.

    Raises:
        SpecError: If the lengths differ, a bound is not finite or low exceeds high.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    frame: str
    rate: float

    def __post_init__(self) -> None:
        for field in ("names", "units", "low", "high"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        lengths = {field: len(getattr(self, field)) for field in ("names", "units", "low", "high")}
        if len(set(lengths.values())) != 1:
            raise SpecError(f"an ActionSpec's names, units, low and high must be equally long, got {lengths}")
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if not (np.isfinite(low) and np.isfinite(high) and low <= high):
                raise SpecError(f"bounds of action dimension {name!r} must be finite with low <= high: {low}, {high}")
        if not (np.isfinite(self.rate) and self.rate > 0):
            raise SpecError(f"an ActionSpec's rate must be a positive number of Hz, got {self.rate}")

    @property
    def size(self) -> int:
        """Number of action dimensions, A."""
        return len(self.names)

    @property
    def period(self) -> float:
        """Duration of one action [s]."""
        return 1.0 / self.rate

    @property
    def gripper(self) -> int | None:
        """Which number of an action, and of a pose alike, is a gripper's closedness, 0..1; None if none is."""
        numbered = list(zip(self.names, self.units, strict=True))
        return numbered.index(("gripper", "1")) if ("gripper", "1") in numbered else None

    def check_same_meaning(self, other: ActionSpec) -> None:
        """Returns if both specs mean the same by a vector; bounds are limits, not meaning, and may differ.

        Raises:
            SpecError: Naming every field that differs.
        """
        differing = [
            f"{field}: {getattr(self, field)!r} here, {getattr(other, field)!r} there"
            for field in ("names", "units", "frame", "rate")
            if getattr(self, field) != getattr(other, field)
        ]
        if differing:
            remedy = "Use a checkpoint trained for this arm, or convert the actions at the arm (envs/arms/base.py)."
            if len(differing) == 1 and self.rate != other.rate:
                remedy = (
                    f"Recordings can be read at another rate, here rate: {self.rate:g} in a Reading (--reading, "
                    "docs/recordings.md); an arm is driven at the checkpoint's (rate in the arm's file)."
                )
            if self.frame != other.frame and "joints" in (self.frame, other.frame):
                remedy = (
                    "A checkpoint in joint space drives LeRobot's arms in deploy.py, no other: for this one read the "
                    "joints through a model of the arm (dataset.py inspect FOLDER --propose FILE.yaml --model ARM.xml "
                    "--site NAME), then train on the poses."
                )
            raise SpecError("the two action specs do not mean the same: " + "; ".join(differing) + ". " + remedy)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain lists, strings and numbers for YAML or JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ActionSpec:
        """Returns the spec that `to_dict` wrote.

        Raises:
            SpecError: If a field is missing or unknown.
        """
        expected = set(cls.__dataclass_fields__)
        if set(values) != expected:
            raise SpecError(f"an ActionSpec has exactly the fields {sorted(expected)}, got {sorted(values)}")
        return cls(**values)
