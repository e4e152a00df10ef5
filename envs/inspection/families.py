"""Arms that LeRobot records: what its robot_type and its names of motors say about the numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

_SO_MOTORS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")


@dataclass(frozen=True)
class Family:
    """A kind of arm.

    Attributes:
        title: What to call it.
        robots: Pattern of its robot_type.
        make: Of its motors, see `envs.episodes.columns.JointAngles`; None where LeRobot does not calibrate them.
        gripper: The numbers that mean open and closed; None where recordings differ.
        driver: LeRobot's registered type and module of the arm, for `envs.arms.drivers.lerobot`; None where that is not
            how it is driven.
    """

    title: str
    robots: str
    make: Literal["feetech", "dynamixel"] | None
    gripper: tuple[float, float] | None
    driver: tuple[str, str] | None = None

    @property
    def normalises(self) -> bool:
        """Whether LeRobot may have normalised its joints to -100..100."""
        return self.make is not None


_SO = "lerobot.robots.so_follower"
FAMILIES = (
    Family("SO-101", r"(bi_)?so_?101", "feetech", (100.0, 0.0), ("so101_follower", _SO)),
    Family("SO-100", r"(bi_)?so(_?100|_follower)?", "feetech", (100.0, 0.0), ("so100_follower", _SO)),
    Family("Koch", r"(bi_)?koch", "dynamixel", (100.0, 0.0), ("koch_follower", "lerobot.robots.koch_follower")),
    Family("OMX", r"omx", "dynamixel", (100.0, 0.0), ("omx_follower", "lerobot.robots.omx_follower")),
    Family("LeKiwi", r"lekiwi", "feetech", (100.0, 0.0)),
    Family("ALOHA", r"aloha|(bi_)?viperx|widowx", None, (1.0, 0.0)),
    Family("DROID", r"droid", None, (0.0, 1.0)),
    Family("Franka", r"franka|panda|fr3", None, None),
)
_UNKNOWN_SO = Family("an arm with SO-100's motors", "", "feetech", None, None)

_OLD_SIGNS = {"shoulder_lift": -1.0}
_OLD_OFFSETS = {"shoulder_lift": np.pi / 2, "elbow_flex": -np.pi / 2}


def old_convention(names: Sequence[str]) -> tuple[Float[np.ndarray, "joints"], Float[np.ndarray, "joints"]]:
    """Returns signs and offsets [rad] that make today's angles of what LeRobot recorded of an SO-100 before June 2025.

    It counted some joints the other way round, and its zeros had the arm stretched out: degrees = 90 - old
    shoulder_lift, degrees = old elbow_flex - 90 (LeRobot's docs/source/backwardcomp.mdx).

    Args:
        names: Of the joints; those of other arms are not changed.
    """
    bases = [base_name(name) for name in names]
    signs = np.array([_OLD_SIGNS.get(base, 1.0) for base in bases])
    return signs, np.array([_OLD_OFFSETS.get(base, 0.0) for base in bases])


def find_family(robot_type: object, names: Sequence[str]) -> Family | None:
    """Returns the kind of arm that recordings are of, or None if neither its type nor its motors' names tell.

    Args:
        robot_type: As meta/info.json states it.
        names: Of the numbers of its state.
    """
    word = str(robot_type or "").lower().replace("-", "_")
    for family in FAMILIES:
        if re.match(rf"({family.robots})(_|\d|$)", word):
            return family
    return _UNKNOWN_SO if set(_SO_MOTORS[:-1]) <= {base_name(name) for name in names} else None


def motors_of(family: Family | None, count: int) -> tuple[str, ...]:
    """Returns what the numbers of an arm's state are called where no names were written, if the kind of arm says it."""
    known = family is not None and family.make is not None and count == len(_SO_MOTORS)
    return tuple(f"{motor}.pos" for motor in _SO_MOTORS) if known else ()


def base_name(name: str) -> str:
    """Returns a motor's name without what versions of LeRobot and its robots put around it."""
    return re.sub(r"^(main|arm|follower)_", "", name.removesuffix(".pos"))


def is_old(names: Sequence[str]) -> bool:
    """Returns whether motors are called as LeRobot did before June 2025, such as main_shoulder_pan or no .pos."""
    return any(base_name(name) in _SO_MOTORS for name in names) and not any(name.endswith(".pos") for name in names)


def arms_of(names: Sequence[str]) -> set[str]:
    """Returns the prefixes of several arms, left_ and right_, that motors are named with."""
    return {found[0] for name in names if (found := re.match(r"(left|right)_", name))}
