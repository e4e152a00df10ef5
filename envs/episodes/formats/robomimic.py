"""robomimic's HDF5 files: data/demo_i with numbers and images in obs, as LIBERO and Isaac Lab have them too."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from envs.episodes.columns import Gripper, Position, Rotation
from envs.episodes.episode import DatasetError
from envs.episodes.formats.hdf5 import find_numbers, image_size, open_hdf5, read_images, read_numbers
from envs.episodes.formats.registry import Format, reading_needed
from envs.episodes.reading import EndEffector, PoseRule, Reading
from envs.episodes.recordings import Contents, Rows
from envs.episodes.video import Footage

logger = logging.getLogger(__name__)

SUFFIXES = (".hdf5", ".h5")
POSE = EndEffector(
    "end_effector",
    Position("robot0_eef_pos"),
    Rotation("robot0_eef_quat", "quaternion_xyzw"),
    Gripper("robot0_gripper_qpos", open=0.04, closed=0.0, indices=(0,)),
)
"""What robosuite's Panda records: poses in the world frame, a finger's travel [m]."""

_BATCH = 32
_LOOKED_AT = 8  # demonstrations, for what columns and cameras there are


@dataclass(frozen=True, eq=False)
class RobomimicRecordings:
    """Demonstrations through one of their cameras; an `envs.episodes.recordings.Recordings`.

    Attributes:
        root: Folder that the files are in.
        demonstrations: File, relative to the root, and group of each.
        camera: Name of the images in obs.
        rate: Frames a second [Hz].
    """

    root: Path
    demonstrations: tuple[tuple[str, str], ...]
    camera: str
    rate: float
    spare_rows: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """See `Recordings.names`."""
        return tuple(f"{file} {demonstration}" for file, demonstration in self.demonstrations)

    def read(self, episode: int, keys: tuple[str, ...]) -> Rows:
        """See `Recordings.read`. The simulator's frames are evenly spaced."""
        path, demonstration = self._place(episode)
        with open_hdf5(path) as file:
            seen = _observations(path, file, demonstration)
            columns = {key: read_numbers(path, seen, key) for key in keys}
        lengths = {key: len(values) for key, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise DatasetError(f"{path} {demonstration} has columns of different lengths: {lengths}")
        return Rows(np.arange(min(lengths.values())) / self.rate, columns)

    def footage(self, episode: int) -> Footage:
        """See `Recordings.footage`."""
        path, demonstration = self._place(episode)
        with open_hdf5(path) as file:
            images = _images(path, file, demonstration, self.camera)
            _, height, width, _ = read_images(images, 0, 1, self._images_of(episode)).shape
            return Footage(len(images), height, width, self.rate)

    def images(self, episode: int, frames: Int[np.ndarray, "n"]) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """See `Recordings.images`."""
        path, demonstration = self._place(episode)
        for first in range(0, len(frames), _BATCH):
            batch = frames[first : first + _BATCH]
            with open_hdf5(path) as file:
                item = _images(path, file, demonstration, self.camera)
                images = read_images(item, int(batch[0]), int(batch[-1]) + 1, self._images_of(episode))
            yield images[batch - batch[0]]

    def file_sizes(self, episode: int) -> Mapping[str, int]:
        """See `Recordings.file_sizes`."""
        path, _ = self._place(episode)
        return {path.name: path.stat().st_size}

    def _images_of(self, episode: int) -> str:
        path, demonstration = self._place(episode)
        return f"{path} {demonstration}: {self.camera!r}"

    def _place(self, episode: int) -> tuple[Path, str]:
        file, demonstration = self.demonstrations[episode]
        return self.root / file, demonstration


class RobomimicFormat(Format):
    """robomimic's HDF5 files, those of a folder or one alone; see `Format`."""

    takes = ("recorded_rate",)

    def name(self, folder: Path) -> str | None:
        """See `Format.name`."""
        return "robomimic" if find_files(folder) else None

    def describe(self, folder: Path) -> Contents:
        """See `Format.describe`."""
        return describe_robomimic(folder)

    def pose(self, folder: Path) -> PoseRule:
        """See `Format.pose`. It is known of robosuite's Panda alone."""
        contents = describe_robomimic(folder)
        missing = [key for key in POSE.keys if key not in contents.columns]
        if missing:
            told = f"lacks {missing}, which robosuite's Panda has; a Reading must name the pose"
            raise reading_needed(folder, contents, told)
        return POSE

    def open(self, folder: Path, reading: Reading) -> RobomimicRecordings:
        """See `Format.open`."""
        return open_robomimic(folder, reading.camera, reading.recorded_rate)


def find_files(folder: Path) -> list[Path]:
    """Returns the HDF5 files that are in a folder, or the one that is named; hidden ones are none of anybody's data."""
    if folder.is_file():
        return [folder] if folder.suffix in SUFFIXES else []
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in there if path.is_file() and path.suffix in SUFFIXES and not path.name.startswith(".")]


def open_robomimic(folder: Path, camera: str | None, recorded_rate: float | None = None) -> RobomimicRecordings:
    """Returns the demonstrations in a file, or in the files of a folder.

    Args:
        folder: The files' or the file.
        camera: Name of the images in obs; None: the only ones.
        recorded_rate: Frames a second [Hz], for files that do not say it.

    Raises:
        DatasetError: If there are none, their rate is not known or the camera is not there.
    """
    contents, root = describe_robomimic(folder), folder.parent if folder.is_file() else folder
    cameras = list(contents.cameras)
    if camera is None and len(cameras) == 1:
        camera = cameras[0]
    if camera is None or camera not in cameras:
        raise DatasetError(f"{folder} has the cameras {cameras} in obs; name one of them, got {camera!r}")
    found = _find_demonstrations(folder)
    rates = {path.name: _settle_rate(path, recorded_rate) for path in found}
    if len(set(rates.values())) > 1:
        raise DatasetError(
            f"the files in {folder} were recorded at different rates [Hz]: {rates}; open them one by one"
        )
    for path in find_files(folder):
        if path not in found:
            logger.warning("%s has no data/demo_0, demo_1...; it is passed over", path)
    places = [(path.name, name) for path, names in found.items() for name in names]
    return RobomimicRecordings(root, tuple(places), camera, next(iter(rates.values())))


def describe_robomimic(folder: Path) -> Contents:
    """Returns what the first demonstrations have; the rate is None where a file does not say it.

    Raises:
        DatasetError: If there is none, or none with what was observed.
    """
    found, reason = _find_demonstrations(folder), ""
    cameras: dict[str, tuple[int, int] | None] = {}
    columns: dict[str, tuple[str, ...]] = {}
    for path, name in [(path, name) for path, names in found.items() for name in names][:_LOOKED_AT]:
        with open_hdf5(path) as file:
            try:
                seen = _observations(path, file, name)
            except DatasetError as error:
                reason = reason or str(error)
                continue
            sizes = {key: image_size(item) for key, item in seen.items()}
            cameras = {key: size for key, size in sizes.items() if size is not None} | cameras
            columns = {key: tuple(map(str, range(size))) for key, size in find_numbers(seen).items()} | columns
    if not cameras and not columns:
        raise DatasetError(reason or f"{folder} has demonstrations with neither images nor numbers in obs")
    rates = [_read_rate(path) for path in found]
    rate = None if None in rates else rates[0]
    return Contents("robomimic", sum(map(len, found.values())), rate, cameras, columns)


def _find_demonstrations(folder: Path) -> dict[Path, list[str]]:
    """Returns the demonstrations of each file that has any, in the order of their numbers; some may be missing.

    Raises:
        DatasetError: If there are none.
    """
    found: dict[Path, list[str]] = {}
    for path in find_files(folder):
        with open_hdf5(path) as file:
            data = file.get("data")
            names = [name for name in data if re.fullmatch(r"demo_\d+", name)] if hasattr(data, "keys") else []
        if names:
            found[path] = sorted(names, key=lambda name: int(name.removeprefix("demo_")))
    if not found:
        raise DatasetError(f"{folder} has no HDF5 file with data/demo_0, demo_1...")
    return found


def _settle_rate(path: Path, recorded_rate: float | None) -> float:
    """Returns the rate [Hz] that a file says, or the Reading where it does not.

    Raises:
        DatasetError: If neither does, or they differ.
    """
    said = _read_rate(path)
    if said is None and recorded_rate is None:
        raise DatasetError(
            f"{path} does not say how many frames a second it has: the attribute env_args of its group data should be "
            f"JSON with env_kwargs.control_freq (robosuite), or sim_args.dt and decimation (Isaac Lab). Say it in the "
            "Reading, recorded_rate: 20 for example"
        )
    if said is not None and recorded_rate is not None and not np.isclose(said, recorded_rate):
        raise DatasetError(f"{path} says {said:g} Hz, the Reading's recorded_rate {recorded_rate:g}; leave that out")
    rate = recorded_rate if said is None else said
    assert rate is not None
    return rate


def _read_rate(path: Path) -> float | None:
    """Returns the control rate [Hz] that a file says as robosuite or as Isaac Lab does, None if it does not."""
    with open_hdf5(path) as file:
        written = file["data"].attrs.get("env_args", "{}")
    try:
        said = json.loads(written)
    except (ValueError, TypeError):
        return None
    for rate in (
        lambda: float(said["env_kwargs"]["control_freq"]),
        lambda: 1 / (float(said["sim_args"]["dt"]) * int(said["sim_args"]["decimation"])),
    ):
        try:
            if 0 < rate() < np.inf:
                return rate()
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            continue
    return None


def _observations(path: Path, file: Any, demonstration: str) -> Any:
    """Returns the group with what was observed in a demonstration."""
    key = f"data/{demonstration}/obs"
    if key not in file or not hasattr(file[key], "keys"):
        there = list(getattr(file[f"data/{demonstration}"], "keys", list)())
        raise DatasetError(f"{path} lacks {key}, the group of what was observed; data/{demonstration} has {there}")
    return file[key]


def _images(path: Path, file: Any, demonstration: str, camera: str) -> Any:
    """Returns the dataset with a camera's images."""
    seen = _observations(path, file, demonstration)
    if camera not in seen:
        raise DatasetError(f"{path} {demonstration} lacks the images {camera!r}; it has {sorted(seen)}")
    return seen[camera]
