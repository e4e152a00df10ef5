"""Shows whether a checkpoint's energy singles out the action that was really taken. See scripts/landscape.py."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from envs.command_line import config_from_command_line
from envs.program import program
from envs.ranges import check_range
from planner.objectives.objective_config import GoalDistanceConfig
from world_model.choices import Precision


@dataclass(frozen=True)
class LandscapeConfig:
    """Which checkpoint, which observations.

    Attributes:
        checkpoint: Name of a folder in checkpoints/, or its path.
        npz: File with observations (1, T, h, w, 3) uint8 and states (1, T, 7).
        images: Two pictures, before and after.
        poses: Their poses, 2 x 7 numbers [m, rad, closedness].
        dataset: Folder of recorded episodes, see envs.episodes.
        seed: First episode of fresh play in simulation where nothing else is named; also of the random directions.
        steps: Steps to look at, of a dataset or of play, spread over the episodes.
        ahead: Frames from an observation to its goal.
        min_translation: Steps that move less are passed over [m].
        shell: Random actions of the true one's length that it is compared with.
        points: Grid points along a side of the pictures.
        drawn: Steps that landscape.png shows.
        output: Folder for the results.
        device: Where the model runs: cpu, cuda, mps or auto.
        precision: Of the model: fp32, bf16, or auto for bf16 where the hardware is faster in it.
        objective: The energy.
    """

    checkpoint: str = "franka-tiny"
    npz: Path | None = None
    images: tuple[Path, Path] | None = None
    poses: tuple[float, ...] | None = None
    dataset: Path | None = None
    seed: int = 10000
    steps: int = 100
    ahead: int = 1
    min_translation: float = 0.01
    shell: int = 256
    points: int = 21
    drawn: int = 3
    output: Path = Path("results/landscape")
    device: str = "cpu"
    precision: Precision = "fp32"
    objective: GoalDistanceConfig = field(default_factory=GoalDistanceConfig)

    def __post_init__(self) -> None:
        named = [name for name in ("npz", "images", "dataset") if getattr(self, name) is not None]
        if len(named) > 1:
            raise ValueError(f"name one source of observations, got {' and '.join(named)}")
        if (self.images is None) != (self.poses is None) or (self.poses is not None and len(self.poses) != 14):
            raise ValueError("images need poses, 2 x 7 numbers: x y z [m], roll pitch yaw [rad], closedness of each")
        check_range(self, "[1, inf)", "steps", "ahead", "shell", "drawn")
        check_range(self, "[3, inf)", "points")


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    config = config_from_command_line(LandscapeConfig, "Shows the energy around recorded steps.", arguments)
    from planner.diagnostics.landscape_steps import look  # torch takes seconds

    look(config)
