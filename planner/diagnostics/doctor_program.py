"""Checks a robot set-up against what a checkpoint was trained on, before anyone trusts it. See scripts/doctor.py."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envs.command_line import config_from_command_line
from envs.program import program
from world_model.choices import Precision


@dataclass(frozen=True)
class DoctorConfig:
    """Whom to examine.

    Attributes:
        checkpoint: Name of a folder in checkpoints/, or its path.
        arm: An arm to move by 2 cm at most, as deploy.py takes it: a file as in scripts/configs/deploy,
            ws://address:port, my_arm.py:make_arm or "twin"; "simulated" is the simulated arm without real time, moved
            as far as its checkpoint's data.
        yes: Whether to move without asking; real arms take it only where their file says so (unattended).
        dataset: Folder of recorded episodes, instead of an arm.
        episode: Which of them.
        steps: Moves to make, or steps of the episode to look at with the model.
        seed: Of the moves.
        output: Folder for looks.png, the recording's extremes for your own eyes.
        store: YAML file that gets the camera correction, made if missing; None to store nothing.
        device: Where the model runs: cpu, cuda, mps or auto.
        precision: Of the model: fp32, bf16, or auto for bf16 where the hardware is faster in it.
    """

    checkpoint: str = "franka-tiny"
    arm: str | None = None
    yes: bool = False
    dataset: Path | None = None
    episode: int = 0
    steps: int = 36
    seed: int = 0
    output: Path = Path("results/doctor")
    store: Path | None = None
    device: str = "cpu"
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        if (self.arm is None) == (self.dataset is None):
            raise ValueError(
                "name either an arm (--arm simulated, --arm FILE.yaml, --arm my_arm.py:make_arm) or a recording "
                "(--dataset FOLDER)"
            )
        if self.yes and self.arm is None:
            raise ValueError("--yes answers for a person before an arm moves; there is none without --arm")
        if self.steps < 12:
            raise ValueError(f"a dozen steps are the least that directions can be fitted to, got {self.steps}")


@program()
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 1 if something is wrong with the set-up."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    config = config_from_command_line(DoctorConfig, "Checks a robot set-up.", arguments)
    from planner.diagnostics.examination import consult  # torch takes seconds

    return consult(config)
