"""Looks at recordings, makes a dataset to train on of them, and checks one.

    python scripts/dataset.py inspect FOLDER [--reading FILE.yaml] [--propose FILE.yaml] [--model ARM.xml --site NAME]
    python scripts/dataset.py convert FOLDER OUTPUT --reading FILE.yaml --image-size 256 --rate 4 --processes 2
    python scripts/dataset.py validate FOLDER [--reading FILE.yaml] [--cache FOLDER]
    python scripts/dataset.py arm FOLDER FILE.yaml --reading FILE.yaml --port /dev/ttyACM0 --camera 0

inspect says what is in a folder of LeRobot v2.1 or v3.0, raw DROID or robomimic recordings, what is suspicious about it
and how it might be read: a Reading (envs/episodes/reading.py) to start from, with a contact sheet on which camera and
poses can be seen to agree. convert writes a LeRobot v3.0 dataset of ours; interrupted, the same command goes on where
it stopped. validate reads and decodes everything and exits with 1 if anything is broken. arm writes the file of the arm
that the recordings were made with, for deploy.py.
"""

from __future__ import annotations

from envs.program import program
from envs.ranges import check_range

# isort: split

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from envs.bar import progress
from envs.episodes.check import find_problems
from envs.episodes.open import load_reading, open_dataset
from envs.inspection.arm import MakeArm, make_arm
from envs.inspection.convert import Convert, convert
from envs.inspection.inspect import Inspect, inspect


@dataclass(frozen=True)
class Validate:
    """Reads and decodes every episode, and names the broken ones.

    Attributes:
        folder: Of the recordings.
        reading: YAML file that says how to read them, or the name of a format; not needed where the format does.
        cache: Folder of latent caches, to be read in full as well.
        processes: Processes that decode.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    reading: Path | None = None
    cache: Path | None = None
    processes: int = 2

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "processes")


Command = (
    Annotated[Inspect, tyro.conf.subcommand("inspect")]
    | Annotated[Convert, tyro.conf.subcommand("convert")]
    | Annotated[Validate, tyro.conf.subcommand("validate")]
    | Annotated[MakeArm, tyro.conf.subcommand("arm")]
)


@program(resumes=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 1 if something is broken."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    command = tyro.cli(Command, args=arguments, description=__doc__)
    match command:
        case Inspect():
            inspect(command)
            return 0
        case Convert():
            print(convert(command))
            return 0
        case MakeArm():
            print(make_arm(command))
            return 0
        case _:
            return validate(command)


def validate(config: Validate) -> int:
    """Prints what is broken and returns 1 if anything is."""
    source = open_dataset(config.folder, load_reading(config.reading))
    with progress(total=len(source), unit="episode", desc="validate", smoothing=0.05) as bar:
        problems = find_problems(source, bar.update, config.processes)
    for problem in problems:
        print(problem)
    whole = len(source) - len(problems)
    print(f"{config.folder}: {whole} of {len(source)} episodes can be read in full")
    damages = check_cache(config.cache) if config.cache is not None else []
    return int(bool(problems or damages))


def check_cache(folder: Path) -> list[str]:
    """Prints and returns what is wrong with the latent caches in a folder."""
    from world_model.data.latents import verify_cache  # torch is loaded for nothing else here

    damages = verify_cache(folder)
    print("\n".join(damages) or f"{folder}: the latent caches are whole")
    return damages
