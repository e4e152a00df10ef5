"""The settings of a training run on a compact world model's latents: of its heads, and further of its dynamics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from envs.ranges import check_range
from world_model.heads.ways_config import (
    InverseDynamicsShape,
    MacroDynamicsShape,
    SubgoalGeneratorShape,
    TemporalDistanceShape,
    TransitionEnergyShape,
)
from world_model.training.run_config import DecodedRunConfig

Part: TypeAlias = Literal[
    "dynamics", "inverse_dynamics", "temporal_distance", "subgoals", "transition_energy", "macros"
]


@dataclass(frozen=True, kw_only=True)
class HeadsConfig(DecodedRunConfig):
    """One training run on the latents of a compact world model.

    Attributes:
        parent: The checkpoint whose latents they are learnt on, by name or path.
        checkpoint: Where the parent goes with its heads; None for checkpoint/ in the run directory.
        inverse_dynamics: Shape of the goal-conditioned inverse dynamics.
        temporal_distance: Shape of the temporal distance.
        subgoals: Shape of what generates the next frames on a way.
        transition_energy: Shape of what tells how likely a next frame is.
        macros: Shape of the dynamics at a slower clock.
        furthest: Actions to a goal at most, in what is learnt from.
        learn: What learns: "inverse_dynamics", "temporal_distance", "subgoals", "transition_energy", "macros", and
            "dynamics", which go on. The rest stays the parent's. A search goes where its model errs in its favour:
            recordings of what a search tried tell dynamics and distance what comes of it, but a policy learns nothing
            good from them.
        rollout_steps: Actions of the rollouts that the dynamics learn from, predictions fed back.
        rollouts: Rollouts a step.
        rollout_weight: Weight of their mean squared error.
        imagined: Share of the pairs whose frame is one of the rollouts': a search asks the heads of such alone.
        unrelated: Pairs with goals of other episodes, as a share of the batch, which are learnt not to be near: two
            thirds of them are of a like pose. Recordings alone say of no frame that it is far from what looks nearly
            like it.
        contrasted: Pairs a step, of the batch at most, that the transition energy learns from.
        contrast_steps: Actions of the ways that it compares; as many as it is searched ahead by.
        others: Ways that it tells from each recorded one.
        bank_frames: Frames, at most, of the bank of all these recordings that takes the place of the parent's; 0: that
            stays.
        noise: Std of the noise on latents, which have a std of about 1.
        blur: Std of the noise on poses, as a share of theirs: what a pose tells of the past tells what comes next
            without looking.
        held_out: Share of episodes that is judged by and not trained on in this run. With the parent's recordings and
            seed they are the parent's; with further ones the parent's heads may have been trained on them.

    Raises:
        ValueError: If a setting is out of its range.
    """

    session: ClassVar[tuple[str, ...]] = (*DecodedRunConfig.session, "bank_frames")

    parent: str
    inverse_dynamics: InverseDynamicsShape = field(default_factory=InverseDynamicsShape)
    temporal_distance: TemporalDistanceShape = field(default_factory=TemporalDistanceShape)
    subgoals: SubgoalGeneratorShape = field(default_factory=SubgoalGeneratorShape)
    transition_energy: TransitionEnergyShape = field(default_factory=TransitionEnergyShape)
    macros: MacroDynamicsShape = field(default_factory=MacroDynamicsShape)
    furthest: int = 24
    learn: tuple[Part, ...] = ("dynamics", "inverse_dynamics", "temporal_distance")
    rollout_steps: int = 6
    rollouts: int = 160
    rollout_weight: float = 10.0
    imagined: float = 0.5
    unrelated: float = 0.3
    contrasted: int = 288
    contrast_steps: int = 2
    others: int = 13
    bank_frames: int = 0
    noise: float = 0.1
    blur: float = 0.05
    steps: int = 5000
    batch: int = 512
    final_learning_rate: float = 0.001
    weight_decay: float = 1e-2
    save_every: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(
            self,
            "(0, inf)",
            "furthest",
            "rollout_steps",
            "rollouts",
            "rollout_weight",
            "contrasted",
            "others",
            "contrast_steps",
        )
        check_range(self, "[0, inf)", "noise", "blur", "bank_frames")
        check_range(self, "[0, 1]", "imagined", "unrelated")
        if not self.learn or len(set(self.learn)) < len(self.learn):
            raise ValueError(f"learn names what learns, each once, got {self.learn}")
