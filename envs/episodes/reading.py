"""How to read somebody's recordings: which pixels, at what rate, and which of their numbers are the pose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

import numpy as np
from jaxtyping import Float

from envs.config import Choice
from envs.episodes.columns import Columns, Frame, Gripper, JointAngles, Position, Rotation
from envs.episodes.episode import DatasetError
from envs.pose import euler_from_matrix, matrix_from_euler
from envs.registry import Registry
from envs.spec import POSE_NAMES, POSE_UNITS


@dataclass(frozen=True)
class Dimensions:
    """What the numbers of a pose, and of an action, are.

    Attributes:
        names: One a dimension.
        units: One a dimension.
        frame: What they are expressed in, see `ActionSpec.frame`.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    frame: str


_END_EFFECTOR = Dimensions(POSE_NAMES, POSE_UNITS, "base")


class PoseRule(Protocol):
    """What makes poses of a recording's numbers."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that it needs."""
        ...

    @property
    def dimensions(self) -> Dimensions:
        """What the numbers of a pose are."""
        ...

    def continuous(self, columns: Columns) -> tuple[Columns, str]:
        """Returns columns without jumps by whole turns, and where the first was, in words.

        Args:
            columns: All rows of an episode, before any are chosen.

        Raises:
            DatasetError: If a jump is neither motion nor a whole turn, naming column and rows.
        """
        ...

    def poses(self, columns: Columns) -> Float[np.ndarray, "T P"]:
        """Returns poses [m, rad, closedness].

        Raises:
            DatasetError: If numbers are not what they should be, naming column and row.
        """
        ...


POSE_RULES: Registry[type] = Registry(
    "pose rule",
    {
        "end_effector": "envs.episodes.reading:EndEffector",
        "forward_kinematics": "envs.episodes.reading:ForwardKinematics",
        "joints": "envs.episodes.reading:Joints",
    },
)
"""What makes poses of a recording's numbers, by its kind."""


@dataclass(frozen=True)
class EndEffector:
    """End-effector poses were recorded.

    Attributes:
        kind: "end_effector".
        position: Where the position is.
        rotation: Where the orientation is.
        gripper: Where the gripper's opening is; None: there is no gripper, its closedness is 0.
        frame: The frame that the poses are in; None: the robot's base frame.
    """

    kind: Literal["end_effector"]
    position: Position
    rotation: Rotation
    gripper: Gripper | None
    frame: Frame | None = None

    def __post_init__(self) -> None:
        _check_one_gripper(self.gripper)

    @property
    def keys(self) -> tuple[str, ...]:
        """See `PoseRule.keys`."""
        return _keys(self.position, self.rotation, self.gripper)

    @property
    def dimensions(self) -> Dimensions:
        """See `PoseRule.dimensions`."""
        return _END_EFFECTOR

    def continuous(self, columns: Columns) -> tuple[Columns, str]:
        """See `PoseRule.continuous`. Orientations have no turns to follow."""
        return columns, ""

    def poses(self, columns: Columns) -> Float[np.ndarray, "T 7"]:
        """See `PoseRule.poses`. In the base frame p' = t + R p, R' = R R_recorded."""
        position = self.position.read(columns)
        if self.frame is None:
            euler = self.rotation.euler(columns)
        else:
            turn = matrix_from_euler(np.array(self.frame.rotation))
            position = np.array(self.frame.translation) + position @ turn.T
            euler = euler_from_matrix(turn @ self.rotation.matrices(columns))
        return np.concatenate([position, euler, _closedness(self.gripper, columns, len(position))], axis=1)


@dataclass(frozen=True)
class ForwardKinematics:
    """Joint angles were recorded, and end-effector poses are wanted: a MuJoCo model of the arm gives them.

    Attributes:
        kind: "forward_kinematics".
        joints: Where the joint angles are, with the joints' names in the model.
        model: MJCF (or URDF) file.
        site: Of the model, whose pose is taken; or
        body: of the model.
        gripper: Where the gripper's opening is; None: there is no gripper, its closedness is 0.
        base: Body that is the robot's base; None: the model's world frame.

    Raises:
        ValueError: If not exactly one of site and body is named.
    """

    kind: Literal["forward_kinematics"]
    joints: JointAngles
    model: Path
    gripper: Gripper | None
    site: str | None = None
    body: str | None = None
    base: str | None = None

    def __post_init__(self) -> None:
        if (self.site is None) == (self.body is None):
            raise ValueError(f"name either a site or a body, got site {self.site!r} and body {self.body!r}")
        _check_one_gripper(self.gripper)

    @property
    def keys(self) -> tuple[str, ...]:
        """See `PoseRule.keys`."""
        return _keys(self.joints, self.gripper)

    @property
    def dimensions(self) -> Dimensions:
        """See `PoseRule.dimensions`."""
        return _END_EFFECTOR

    def continuous(self, columns: Columns) -> tuple[Columns, str]:
        """See `PoseRule.continuous`."""
        return self.joints.continuous(columns)

    def poses(self, columns: Columns) -> Float[np.ndarray, "T 7"]:
        """See `PoseRule.poses`.

        Raises:
            ValueError: If the model is missing, is none or lacks what is named.
        """
        from envs.episodes.kinematics import forward_kinematics  # MuJoCo is loaded for no other recordings

        joints = self.joints.read(columns)
        reached = forward_kinematics(self.model, self.joints.names, joints, self.site, self.body, self.base)
        return np.concatenate([reached, _closedness(self.gripper, columns, len(joints))], axis=1)


@dataclass(frozen=True)
class Joints:
    """Joint angles were recorded, and the model is to learn in joint space.

    Attributes:
        kind: "joints".
        joints: Where the joint angles are, with the names that poses and actions have.
        gripper: Where the openings of the grippers are, any number of them; they come after the joints.
    """

    kind: Literal["joints"]
    joints: JointAngles
    gripper: Gripper | None = None

    def __post_init__(self) -> None:
        if self.gripper is not None and self.gripper.indices is None:
            raise ValueError("in joint space a gripper names its indices, one a gripper")

    @property
    def keys(self) -> tuple[str, ...]:
        """See `PoseRule.keys`."""
        return _keys(self.joints, self.gripper)

    @property
    def dimensions(self) -> Dimensions:
        """See `PoseRule.dimensions`. Several grippers are gripper_0, gripper_1..."""
        count = 0 if self.gripper is None or self.gripper.indices is None else len(self.gripper.indices)
        grippers = ("gripper",) if count == 1 else tuple(f"gripper_{index}" for index in range(count))
        units = ("rad",) * len(self.joints.names) + ("1",) * count
        return Dimensions(self.joints.names + grippers, units, "joints")

    def continuous(self, columns: Columns) -> tuple[Columns, str]:
        """See `PoseRule.continuous`."""
        return self.joints.continuous(columns)

    def poses(self, columns: Columns) -> Float[np.ndarray, "T P"]:
        """See `PoseRule.poses`."""
        joints = self.joints.read(columns)
        if self.gripper is None:
            return joints
        return np.concatenate([joints, self.gripper.read(columns)], axis=1)


@dataclass(frozen=True)
class ActionBounds:
    """How far an action may go, one number a dimension [m, rad, 1].

    Attributes:
        low: Smallest.
        high: Largest.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Reading:
    """How to read somebody's recordings.

    Attributes:
        format: Name of the recordings' format, such as mine.py:MyFormat; None: any that knows them.
        camera: LeRobot: key of a video. DROID: left, right, wrist or a serial number; left if None. robomimic: name of
            an image in obs. None elsewhere: the only one there is.
        rate: Frames a second that the model learns at [Hz], chosen nearest in time; None: as recorded.
        recorded_rate: Frames a second that were recorded, evenly [Hz], where HDF5 demonstrations do not say it or
            LeRobot's clock is wrong: it is not read then.
        gaps: What to do where a clock leaves out two frames or more. refuse: the recording. cut: it there, each part
            is an episode.
        time_base: When a frame of DROID was taken. physical: when its clock says, or at 15 Hz where it has none.
            vjepa2_compat: at the rate in the video's header, which is wrong, but the released V-JEPA 2-AC learnt so.
        crop: none: the whole frame. square: its centre. official_squash: its centre 1.35 times as wide as high,
            squeezed to a square, which the released V-JEPA 2-AC learnt from.
        image_size: Side of the square images [pixels]; None: as many as the crop has.
        flip: vertical: the images are stored upside down.
        pose: Which numbers are the pose; None where the format says it: DROID, robomimic, our own datasets.
        extrinsics: LeRobot: key of the camera's pose, six numbers. Other formats say it themselves.
        action_bounds: None: as far, either way, as the recordings go.

    Raises:
        ValueError: If a number is out of its range or the image size has no crop.
    """

    format: str | None = None
    camera: str | None = None
    rate: float | None = None
    recorded_rate: float | None = None
    gaps: Literal["refuse", "cut"] = "refuse"
    time_base: Literal["physical", "vjepa2_compat"] = "physical"
    crop: Literal["none", "square", "official_squash"] = "none"
    image_size: int | None = None
    flip: Literal["none", "vertical"] = "none"
    pose: Annotated[PoseRule | None, Choice("kind", POSE_RULES)] = None
    extrinsics: str | None = None
    action_bounds: ActionBounds | None = None

    def __post_init__(self) -> None:
        for name, rate in (("rate", self.rate), ("recorded_rate", self.recorded_rate)):
            if rate is not None and not (np.isfinite(rate) and rate > 0):
                raise ValueError(f"{name} must be a positive number of Hz, got {rate}")
        if self.image_size is not None and self.image_size < 1:
            raise ValueError(f"image_size must be a positive number of pixels, got {self.image_size}")
        if self.image_size is not None and self.crop == "none":
            raise ValueError("image_size makes square images, so crop must say how: square or official_squash")
        if self.time_base == "vjepa2_compat" and self.rate is None:
            raise ValueError("time_base vjepa2_compat needs a rate; the released V-JEPA 2-AC learnt at 4 Hz")


def _keys(*parts: Position | Rotation | JointAngles | Gripper | None) -> tuple[str, ...]:
    """Returns the columns that some parts of a pose are in, each once."""
    return tuple(dict.fromkeys(part.key for part in parts if part is not None))


def _check_one_gripper(gripper: Gripper | None) -> None:
    """Returns if an end-effector pose's gripper is one number."""
    if gripper is not None and gripper.indices is not None and len(gripper.indices) != 1:
        raise ValueError(f"an end-effector pose has one gripper, one index, got {gripper.indices}")


def _closedness(gripper: Gripper | None, columns: Columns, rows: int) -> Float[np.ndarray, "T 1"]:
    """Returns the closedness of an end effector's gripper, 0 where it has none."""
    if gripper is None:
        return np.zeros((rows, 1))
    closedness = gripper.read(columns)
    if closedness.shape[1] != 1:
        raise DatasetError(
            f"{gripper.key!r} has {closedness.shape[1]} numbers a frame where one gripper's is needed; give its index"
        )
    return closedness
