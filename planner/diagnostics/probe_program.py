"""Tells where a checkpoint's latents, seen and predicted, say that objects and hand are, in simulated play."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from envs.command_line import config_from_command_line
from envs.program import program
from envs.ranges import check_range
from envs.simulation.scene_config import MANIPULATION_SCENE, SceneConfig
from envs.simulation.variation import Variation
from envs.tasks.play import PlayConfig
from world_model.checkpoints.folder import find_checkpoint

_PLAY = PlayConfig(frames=33, wander=0.1, visit=0.08, push=0.0, chain=0.76, fumble=0.06)


@dataclass(frozen=True)
class Gates:
    """What the network probe must find, or else the program fails; None where anything does.

    Attributes:
        object: Largest median error of objects' places [mm].
        hand: The same of the hand [mm].
        held: Smallest share of frames in which it is told whether something is held.
        predicted: Largest median error, after most predicted actions, of objects that moved [mm].
    """

    object: float | None = None
    hand: float | None = None
    held: float | None = None
    predicted: float | None = None


@dataclass(frozen=True)
class ProbeConfig:
    """What is probed, and how.

    Attributes:
        checkpoint: A world model: a folder, or the name of one in checkpoints/.
        encoder: A folder with an encoder alone, instead of a checkpoint: nothing is predicted then.
        scene: Where play happens; it must have objects.
        variation: How scenes differ from episode to episode; all with as many objects.
        play: What an episode is like.
        image_size: Side of the images [pixels].
        episodes: Of play with training objects, to learn from.
        judged: Of play with held-out objects, to judge by.
        ahead: After how many predicted actions latents are read.
        steps: Optimiser steps of each probe.
        pictures: Where to draw what happened, marked with where things are imagined; None for nowhere.
        gates: What must be found.
        seed: Of play and probes.

    Raises:
        ValueError: If a setting is out of its range.
    """

    checkpoint: str | None = None
    encoder: Path | None = None
    scene: SceneConfig = MANIPULATION_SCENE
    variation: Variation = field(default_factory=Variation)
    play: PlayConfig = _PLAY
    image_size: int = 168
    episodes: int = 300
    judged: int = 60
    ahead: tuple[int, ...] = (1, 4, 8)
    steps: int = 3000
    pictures: Path | None = None
    gates: Gates = field(default_factory=Gates)
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.encoder is None):
            raise ValueError("name either a --checkpoint or an --encoder folder")
        check_range(self, "[1, inf)", "episodes", "judged", "steps")
        if self.pictures is not None and self.checkpoint is None:
            raise ValueError("an encoder imagines nothing: pictures need a --checkpoint")
        if not 1 <= self.scene.objects <= 3 or self.variation.objects:
            raise ValueError(
                "a probe reads the places of 1 to 3 objects, as many in every episode: set scene.objects, and leave "
                f"variation.objects out; got {self.scene.objects} and {self.variation.objects}"
            )
        if not self.ahead or min(self.ahead) < 1 or max(self.ahead) >= self.play.frames:
            raise ValueError(f"ahead are numbers of actions, 1 to play.frames - 1, got {self.ahead}")


@program()
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; what a user can get wrong ends it in one line."""
    config = config_from_command_line(ProbeConfig, "Tells what latents say of objects and hand.", arguments)
    if config.checkpoint is not None:
        find_checkpoint(config.checkpoint)  # what is not there is said before torch is imported
    from planner.diagnostics.probe import run  # torch takes seconds

    return run(config)
