"""Every format of recordings by its name: those that are built in, an installed package's, and somebody's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from envs.episodes.episode import DatasetError
from envs.episodes.reading import PoseRule, Reading
from envs.episodes.recordings import Contents, Recordings
from envs.registry import Registry


class Format(ABC):
    """How recordings of one kind lie on disk. It is made without arguments.

    Attributes:
        takes: Which of a Reading's time_base, recorded_rate and extrinsics mean something here.
    """

    takes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def name(self, folder: Path) -> str | None:
        """Returns what recordings in a folder are called, such as "lerobot v2.1"; None if they are of another format.

        Asked of every folder whose format nobody names, so it should be quick.
        """

    @abstractmethod
    def describe(self, folder: Path) -> Contents:
        """Returns what recordings hold.

        Raises:
            DatasetError: If nothing can be read.
        """

    def pose(self, folder: Path) -> PoseRule | None:
        """Returns what the numbers mean where the format says it; None if a Reading must name the pose.

        Raises:
            DatasetError: If they are not what the format says.
        """
        return None

    @abstractmethod
    def open(self, folder: Path, reading: Reading) -> Recordings:
        """Returns the recordings as they are on disk, through the Reading's camera.

        Raises:
            DatasetError: If nothing can be read or the camera is not there.
        """


FORMATS: Registry[type[Format]] = Registry(
    "format",
    {
        "ours": "envs.episodes.formats.lerobot_recordings:OurDataset",
        "lerobot": "envs.episodes.formats.lerobot_recordings:LeRobotFormat",
        "droid": "envs.episodes.formats.droid:DroidFormat",
        "robomimic": "envs.episodes.formats.robomimic:RobomimicFormat",
    },
)
"""Every format by its name. A folder is of the first that knows it."""


def find_named(name: str) -> Format:
    """Returns the format of a name, such as droid or ``mine.py:MyFormat``.

    Raises:
        ValueError: If there is none, or what has the name is no format.
    """
    found = FORMATS.find(name)
    if not (isinstance(found, type) and issubclass(found, Format)):
        raise DatasetError(f"{name} must be a class made from envs.episodes.formats.registry.Format, it is {found!r}")
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise DatasetError(f"the format {name} lacks {', '.join(missing)}: see envs.episodes.formats.registry.Format")
    return found()


def reading_needed(folder: Path, contents: Contents, what: str) -> DatasetError:
    """Returns the error of recordings whose numbers mean nothing without a Reading, with the keys that there are."""
    return DatasetError(
        f"{folder} ({contents.format}) {what}. It has the columns {dict(contents.columns)} and the cameras "
        f"{list(contents.cameras)}; `python scripts/dataset.py inspect {folder}` proposes a Reading"
    )
