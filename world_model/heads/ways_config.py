"""Settings of what recordings say of the way from one latent to another."""

from __future__ import annotations

from dataclasses import dataclass, field

from envs.ranges import check_range


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
        check_range(self, "[1, inf)", "code", "reader", "longest", "width", "depth")
        check_range(self, "[0, 1)", "dropout")


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
        check_range(self, "[1, inf)", "modes")


@dataclass(frozen=True)
class FramesConfig:
    """The sizes of the frames that something is learnt on.

    Attributes:
        size: Numbers of a frame's latents, Z = N * D.
        pose_size: Numbers that a pose is given as, P.

    Raises:
        ValueError: If a size is not positive.
    """

    size: int
    pose_size: int

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "size", "pose_size")

    def check_poses(self, what: str, theirs: int) -> None:
        """Raises ValueError, naming what was learnt, if a model's poses have another number of numbers."""
        if self.pose_size != theirs:
            raise ValueError(f"{what} learnt from poses of {self.pose_size} numbers, the model has {theirs}")


@dataclass(frozen=True)
class ActionsConfig(FramesConfig):
    """The sizes of the frames, and of the actions between them, that something is learnt on.

    Attributes:
        action_size: Numbers of an action, A.
    """

    action_size: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "[1, inf)", "action_size")

    def check_actions(self, what: str, theirs: int) -> None:
        """Raises ValueError, naming what was learnt, if a model's actions have another number of numbers."""
        if self.action_size != theirs:
            raise ValueError(f"{what} learnt from actions of {self.action_size} numbers, the model has {theirs}")


@dataclass(frozen=True)
class InverseDynamicsConfig(ActionsConfig):
    """All that is fixed of `InverseDynamics`: the sizes of `ActionsConfig`, and the rest.

    Attributes:
        shape: The rest.
    """

    shape: InverseDynamicsShape = field(default_factory=InverseDynamicsShape)


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
        check_range(self, "[1, inf)", "members")


@dataclass(frozen=True)
class TemporalDistanceConfig(FramesConfig):
    """All that is fixed of `TemporalDistance`: the sizes of `FramesConfig`, and the rest.

    Attributes:
        shape: The rest.
    """

    shape: TemporalDistanceShape = field(default_factory=TemporalDistanceShape)


@dataclass(frozen=True)
class SubgoalGeneratorShape:
    """The shape of `SubgoalGenerator`, whatever the world model.

    Attributes:
        judge: Of what compares a frame with a goal.
        ahead: Frames that are generated, K: those after 1 .. K actions.
        width: Of the flow's network.
        depth: Its blocks.
        draws: Times of the flow that are learnt from for every pair of a batch: the judge is asked once for all.

    Raises:
        ValueError: If a number is out of its range.
    """

    judge: JudgeShape = field(default_factory=JudgeShape)
    ahead: int = 4
    width: int = 384
    depth: int = 3
    draws: int = 2

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "ahead", "width", "depth", "draws")


@dataclass(frozen=True)
class SubgoalGeneratorConfig(FramesConfig):
    """All that is fixed of `SubgoalGenerator`: the sizes of `FramesConfig`, and the rest.

    Attributes:
        shape: The rest.
    """

    shape: SubgoalGeneratorShape = field(default_factory=SubgoalGeneratorShape)


@dataclass(frozen=True)
class TransitionEnergyShape:
    """The shape of `TransitionEnergy`, whatever the world model.

    Attributes:
        judge: Of what compares a next frame with a goal.
    """

    judge: JudgeShape = field(default_factory=JudgeShape)


@dataclass(frozen=True)
class TransitionEnergyConfig(FramesConfig):
    """All that is fixed of `TransitionEnergy`: the sizes of `FramesConfig`, and the rest.

    Attributes:
        shape: The rest.
    """

    shape: TransitionEnergyShape = field(default_factory=TransitionEnergyShape)


@dataclass(frozen=True)
class MacroDynamicsShape:
    """The shape of `MacroDynamics`, whatever the world model.

    Attributes:
        actions: Of a macro, K.
        numbers: That a macro is told in, M: the fewer, the less a search can ask for that nobody has done.
        encoder: Width of the transformer over a macro's actions.
        width: Of the dynamics' residual stream.
        depth: Their blocks.

    Raises:
        ValueError: If a number is out of its range.
    """

    actions: int = 5
    numbers: int = 6
    encoder: int = 64
    width: int = 384
    depth: int = 3

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "actions", "numbers", "encoder", "width", "depth")
        if self.encoder % 4:
            raise ValueError(f"the macros' encoder has 4 heads, which divide its width, got {self.encoder}")


@dataclass(frozen=True)
class MacroDynamicsConfig(ActionsConfig):
    """All that is fixed of `MacroDynamics`: the sizes of `ActionsConfig`, and the rest.

    Attributes:
        shape: The rest.
    """

    shape: MacroDynamicsShape = field(default_factory=MacroDynamicsShape)
