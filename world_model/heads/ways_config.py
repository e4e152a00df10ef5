"""Settings of what recordings say of the way from one latent to another."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class JudgeShape:
    """The shape of what compares a frame with a goal.

    Attributes:
        code: Numbers that are read from an image beside the pose.
        reader: Width of what reads an image.
        longest: Actions that are told apart at most, K; what takes longer counts as that many.
        width: Of what compares, W.
        depth: Of its blocks.
        dropout: In all blocks, while training.

    Raises:
        ValueError: If a number is out of its range.
    """

    code: int = 48
    reader: int = 256
    longest: int = 24
    width: int = 320
    depth: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _check_sizes(self, "code", "reader", "longest", "width", "depth")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")


@dataclass(frozen=True)
class InverseDynamicsShape:
    """The shape of `InverseDynamics`, whatever the world model.

    Attributes:
        judge: Of what tells the number of actions; two blocks that follow tell the first one.
        modes: Typical actions that the first one is told by, see `ActionModes`.

    Raises:
        ValueError: If a number is out of its range.
    """

    judge: JudgeShape = field(default_factory=JudgeShape)
    modes: int = 96

    def __post_init__(self) -> None:
        _check_sizes(self, "modes")


@dataclass(frozen=True)
class InverseDynamicsConfig:
    """All that is fixed of `InverseDynamics`.

    Attributes:
        size: Numbers of a frame's latents, Z = N * D.
        pose_size: Numbers of a pose, P.
        action_size: Numbers of an action, A.
        shape: The rest.

    Raises:
        ValueError: If a number is out of its range.
    """

    size: int
    pose_size: int
    action_size: int
    shape: InverseDynamicsShape = field(default_factory=InverseDynamicsShape)

    def __post_init__(self) -> None:
        _check_sizes(self, "size", "pose_size", "action_size")


@dataclass(frozen=True)
class TemporalDistanceShape:
    """The shape of `TemporalDistance`, whatever the world model.

    Attributes:
        judge: Of each member.
        members: Networks of the ensemble.

    Raises:
        ValueError: If a number is out of its range.
    """

    judge: JudgeShape = field(default_factory=lambda: JudgeShape(code=32, reader=160, width=160))
    members: int = 2

    def __post_init__(self) -> None:
        _check_sizes(self, "members")


@dataclass(frozen=True)
class TemporalDistanceConfig:
    """All that is fixed of `TemporalDistance`.

    Attributes:
        size: Numbers of a frame's latents, Z = N * D.
        pose_size: Numbers of a pose, P.
        shape: The rest.

    Raises:
        ValueError: If a size is not positive.
    """

    size: int
    pose_size: int
    shape: TemporalDistanceShape = field(default_factory=TemporalDistanceShape)

    def __post_init__(self) -> None:
        _check_sizes(self, "size", "pose_size")


def _check_sizes(config: object, *names: str) -> None:
    """Returns if the named numbers are positive."""
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
