"""Anybody's recordings, opened: what format a folder is in, what it holds, and its episodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from envs.episodes.columns import Columns, pick
from envs.episodes.episode import DatasetError, EpisodeSource
from envs.episodes.formats import droid, robomimic
from envs.episodes.formats import lerobot_layout as layout
from envs.episodes.formats.lerobot_info import is_ours, read_info
from envs.episodes.formats.lerobot_read import read_dataset, read_spec
from envs.episodes.formats.lerobot_recordings import describe_lerobot, open_lerobot
from envs.episodes.reading import Dimensions, Reading
from envs.episodes.recorded import index_recordings
from envs.episodes.recordings import Contents, Recordings
from envs.spec import ActionSpec

Format = Literal["ours", "lerobot v3.0", "lerobot v2.1", "lerobot v2.0", "droid", "robomimic"]

_LEROBOT: dict[str, Format] = {"v2.0": "lerobot v2.0", "v2.1": "lerobot v2.1", "v3.0": "lerobot v3.0"}


def find_format(folder: Path | str) -> Format:
    """Returns what format recordings are in.

    Args:
        folder: Of the recordings; robomimic's may be the HDF5 file itself.

    Raises:
        DatasetError: If it is none of them, saying what was found.
    """
    folder = Path(folder)
    if (folder / layout.INFO_FILE).is_file():
        info = read_info(folder)
        return "ours" if is_ours(info) else _LEROBOT[info["codebase_version"]]
    if next(droid.find_trajectories(folder), None) is not None:
        return "droid"
    if robomimic.find_files(folder):
        return "robomimic"
    there = sorted(item.name for item in folder.iterdir())[:10] if folder.is_dir() else "no such folder"
    inside = sorted(
        str(path.parent.parent) for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{layout.INFO_FILE}")
    )
    if inside:
        raise DatasetError(f"{folder} is no dataset, but has LeRobot's in it; open them one by one: {inside[:10]}")
    raise DatasetError(
        f"{folder} is none of the formats that are read (there: {there}): LeRobot has {layout.INFO_FILE}, DROID "
        f"{droid.TRAJECTORY} at any depth, robomimic an .hdf5 file. An interrupted collection is completed by running "
        "its command again."
    )


def describe_recordings(folder: Path | str) -> Contents:
    """Returns what recordings hold: format, rate, cameras and columns, from the index or the first whole episode.

    Raises:
        DatasetError: If nothing can be read.
    """
    folder = Path(folder)
    found = find_format(folder)
    if found == "droid":
        return droid.describe_droid(folder)
    if found == "robomimic":
        return robomimic.describe_robomimic(folder)
    return describe_lerobot(folder, found)


def open_dataset(folder: Path | str, reading: Reading | None = None) -> EpisodeSource:
    """Returns the episodes of recordings in any format that `find_format` knows.

    Args:
        folder: Of the recordings; robomimic's may be the HDF5 file itself.
        reading: How to read them; needed where the format does not say what the poses are. Of our own datasets it may
            set camera, crop, image_size, flip, rate and action_bounds.

    Raises:
        DatasetError: If nothing can be read, or a Reading is needed or names what is not there: with the keys that are.
    """
    folder, chosen = Path(folder), reading or Reading()
    found = find_format(folder)
    if found == "ours" and chosen == Reading(camera=chosen.camera):
        return read_dataset(folder, chosen.camera)
    if chosen.time_base != "physical" and found != "droid":
        raise DatasetError(f"{folder} is {found}; time_base {chosen.time_base} is for raw DROID only")
    if chosen.recorded_rate is not None and found in ("ours", "droid"):
        raise DatasetError(f"{folder} is {found}, which says its rate itself; leave recorded_rate out")
    spec = None
    if chosen.pose is not None:
        rule = chosen.pose
        _check_keys(folder, rule.keys)
    elif found == "ours":
        spec = read_spec(folder, read_info(folder))
        rule = _AsRecorded(spec)
    elif found == "droid":
        rule = droid.POSE
    elif found == "robomimic":
        rule = robomimic.POSE
        _check_keys(folder, rule.keys, "robosuite's Panda has; a Reading must name the pose")
    else:
        raise _reading_needed(folder, "says nothing of what its numbers mean, so a Reading must name the pose")
    if chosen.extrinsics is not None:
        _check_keys(folder, (chosen.extrinsics,))
    return index_recordings(_open(folder, found, chosen), chosen, rule, spec)


@dataclass(frozen=True)
class _AsRecorded:
    """Poses were recorded as they are wanted; an `envs.episodes.reading.PoseRule`."""

    spec: ActionSpec
    keys: tuple[str, ...] = (layout.STATE,)

    @property
    def dimensions(self) -> Dimensions:
        return Dimensions(self.spec.names, self.spec.units, self.spec.frame)

    def continuous(self, columns: Columns) -> tuple[Columns, str]:
        return columns, ""

    def poses(self, columns: Columns) -> Float[np.ndarray, "T P"]:
        return pick(columns, layout.STATE, None)


def _open(folder: Path, found: Format, reading: Reading) -> Recordings:
    """Returns the recordings as they are on disk."""
    if found in ("droid", "robomimic") and reading.extrinsics is not None:
        raise DatasetError(f"{folder} is {found}, whose camera poses need no naming; leave extrinsics out")
    if found == "droid":
        return droid.open_droid(folder, reading.camera)
    if found == "robomimic":
        return robomimic.open_robomimic(folder, reading.camera, reading.recorded_rate)
    return open_lerobot(folder, reading.camera, reading.extrinsics)


def _check_keys(folder: Path, keys: tuple[str, ...], whose: str = "the Reading names") -> None:
    """Returns if the recordings have the columns; raises DatasetError with those that there are."""
    columns = describe_recordings(folder).columns
    missing = [key for key in keys if key not in columns]
    if missing:
        raise _reading_needed(folder, f"lacks {missing}, which {whose}")


def _reading_needed(folder: Path, what: str) -> DatasetError:
    contents = describe_recordings(folder)
    return DatasetError(
        f"{folder} ({contents.format}) {what}. It has the columns {dict(contents.columns)} and the cameras "
        f"{list(contents.cameras)}; `python scripts/dataset.py inspect {folder}` proposes a Reading"
    )
