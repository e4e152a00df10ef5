"""Settings of what recordings say of the way from one latent to another."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ReaderShape:
    """The shape of what reads frames and goals alike.

    Attributes:
        code: Numbers that are read from an image beside the pose.
        width: Of its residual stream.
        dropout: In its blocks, while training.

    Raises:
        ValueError: If a number is out of its range.
    """

    code: int = 48
    width: int = 256
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _check_sizes(self, "code", "width")
        _check_dropout(self.dropout)


@dataclass(frozen=True)
class InverseDynamicsShape:
    """The shape of `InverseDynamics`, whatever the world model.

    Attributes:
        reader: Of what reads frames and goals.
        longest: Actions that are told apart at most, K; what takes longer counts as that many.
        modes: Typical actions that the first one is told by, see `ActionModes`.
        width: Of the residual stream, W.
        depth: Blocks before the number of actions is told; two follow it.
        dropout: In the blocks, while training.

    Raises:
        ValueError: If a number is out of its range.
    """

    reader: ReaderShape = field(default_factory=ReaderShape)
    longest: int = 24
    modes: int = 96
    width: int = 384
    depth: int = 3
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _check_sizes(self, "longest", "modes", "width", "depth")
        _check_dropout(self.dropout)


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
        longest: Actions that are told apart at most; what takes longer counts as that many.
        members: Networks of the ensemble.
        width: Of the residual stream.
        depth: Blocks.
        dropout: In the blocks, while training.

    Raises:
        ValueError: If a number is out of its range.
    """

    longest: int = 24
    members: int = 3
    width: int = 256
    depth: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _check_sizes(self, "longest", "members", "width", "depth")
        _check_dropout(self.dropout)


@dataclass(frozen=True)
class TemporalDistanceConfig:
    """All that is fixed of `TemporalDistance`.

    Attributes:
        size: Numbers of a frame's latents, Z = N * D.
        shape: The rest.

    Raises:
        ValueError: If the size is not positive.
    """

    size: int
    shape: TemporalDistanceShape = field(default_factory=TemporalDistanceShape)

    def __post_init__(self) -> None:
        _check_sizes(self, "size")


def _check_sizes(config: object, *names: str) -> None:
    """Returns if the named numbers are positive."""
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")


def _check_dropout(dropout: float) -> None:
    """Returns if it is a share."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")
