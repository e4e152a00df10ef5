"""Anybody's recordings, opened: what format a folder is in, what it holds, and its episodes."""

from __future__ import annotations

from pathlib import Path

from envs.config import find_config, load_config
from envs.episodes.episode import DatasetError, EpisodeSource
from envs.episodes.formats import lerobot_layout as layout
from envs.episodes.formats.droid import TRAJECTORY
from envs.episodes.formats.lerobot_read import read_dataset
from envs.episodes.formats.lerobot_recordings import AsRecorded, OurDataset
from envs.episodes.formats.registry import FORMATS, Format, find_named, reading_needed
from envs.episodes.reading import Reading
from envs.episodes.recorded import index_recordings
from envs.episodes.recordings import Contents

_NOT_TAKEN = {
    "time_base": "{folder} is {name}; time_base {value} is for raw DROID only",
    "recorded_rate": "{folder} is {name}, which says its rate itself; leave recorded_rate out",
    "extrinsics": "{folder} is {name}, whose camera poses need no naming; leave extrinsics out",
}


def load_reading(source: Path | str | None) -> Reading:
    """Returns the Reading of a YAML file, or of the name of a format alone, such as ``mine.py:MyFormat``.

    Args:
        source: The file or the name; None for what a format says itself.

    Raises:
        ValueError: If there is no such file or format, or the file is wrong.
    """
    if source is None:
        return Reading()
    if not find_config(source).is_file() and (":" in str(source) or str(source) in FORMATS.names):
        return Reading(format=str(source))
    return load_config(Reading, source)


def find_format(folder: Path | str, named: str | None = None) -> str:
    """Returns what format recordings are in, such as "droid" or "lerobot v2.1".

    Args:
        folder: Of the recordings; robomimic's may be the HDF5 file itself.
        named: The only format that it may be, see `Reading.format`; None for any that is known.

    Raises:
        DatasetError: If it is none of them, saying what was found.
    """
    return _find(Path(folder), named)[0]


def describe_recordings(folder: Path | str, named: str | None = None) -> Contents:
    """Returns what recordings hold: format, rate, cameras and columns, from the index or the first whole episode.

    Args:
        folder: See `find_format`.
        named: See `find_format`.

    Raises:
        DatasetError: If nothing can be read.
    """
    folder = Path(folder)
    return _find(folder, named)[1].describe(folder)


def open_dataset(folder: Path | str, reading: Reading | None = None) -> EpisodeSource:
    """Returns the episodes of recordings in any format that `find_format` knows, or that the Reading names.

    Args:
        folder: Of the recordings; robomimic's may be the HDF5 file itself.
        reading: How to read them; needed where the format does not say what the poses are. Of our own datasets it may
            set camera, crop, image_size, flip, rate and action_bounds.

    Raises:
        DatasetError: If nothing can be read, or a Reading is needed or names what is not there: with the keys that are.
    """
    folder, chosen = Path(folder), reading or Reading()
    name, found = _find(folder, chosen.format)
    if isinstance(found, OurDataset) and chosen == Reading(camera=chosen.camera, format=chosen.format):
        return read_dataset(folder, chosen.camera)  # it holds episodes as they are wanted
    if isinstance(found, OurDataset) and chosen.pose is not None:
        raise DatasetError(
            f"{folder} is a dataset of this project, whose poses need no rule: leave pose out of the Reading. If the "
            "Reading is of raw recordings in another folder, convert those first (scripts/dataset.py convert)"
        )
    for setting, problem in _NOT_TAKEN.items():
        value = getattr(chosen, setting)
        if value != getattr(Reading(), setting) and setting not in found.takes:
            raise DatasetError(problem.format(folder=folder, name=name, value=value))
    if chosen.pose is not None:
        _check_keys(folder, found, chosen.pose.keys)
    if chosen.extrinsics is not None:
        _check_keys(folder, found, (chosen.extrinsics,))
    rule = chosen.pose or found.pose(folder)
    if rule is None:
        told = "says nothing of what its numbers mean, so a Reading must name the pose"
        raise reading_needed(folder, found.describe(folder), told)
    spec = rule.spec if isinstance(rule, AsRecorded) else None
    return index_recordings(found.open(folder, chosen), chosen, rule, spec)


def _find(folder: Path, named: str | None) -> tuple[str, Format]:
    """Returns what recordings are called, and their format."""
    for known in FORMATS.names if named is None else (named,):
        found = find_named(known)
        name = found.name(folder)
        if name is not None:
            return name, found
    there = sorted(item.name for item in folder.iterdir())[:10] if folder.is_dir() else "no such folder"
    if named is not None:
        raise DatasetError(f"{folder} is not of the format {named}, which does not know it (there: {there})")
    inside = sorted(
        str(path.parent.parent) for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{layout.INFO_FILE}")
    )
    if inside:
        raise DatasetError(f"{folder} is no dataset, but has LeRobot's in it; open them one by one: {inside[:10]}")
    raise DatasetError(
        f"{folder} is none of the formats that are read (there: {there}): LeRobot has {layout.INFO_FILE}, DROID "
        f"{TRAJECTORY} at any depth, robomimic an .hdf5 file; one of your own is named, `format: mine.py:MyFormat` in "
        "a Reading. An interrupted collection is completed by running its command again."
    )


def _check_keys(folder: Path, found: Format, keys: tuple[str, ...]) -> None:
    """Returns if the recordings have the columns that a Reading names."""
    contents = found.describe(folder)
    missing = [key for key in keys if key not in contents.columns]
    if missing:
        raise reading_needed(folder, contents, f"lacks {missing}, which the Reading names")
