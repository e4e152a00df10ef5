"""robomimic's HDF5 files: data/demo_i with numbers and images in obs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from envs.episodes.columns import Gripper, Position, Rotation
from envs.episodes.episode import DatasetError
from envs.episodes.hdf5 import find_numbers, open_hdf5, read_numbers
from envs.episodes.reading import EndEffector
from envs.episodes.recordings import Contents, Rows
from envs.episodes.video import Footage

SUFFIXES = (".hdf5", ".h5")
POSE = EndEffector(
    "end_effector",
    Position("robot0_eef_pos"),
    Rotation("robot0_eef_quat", "quaternion_xyzw"),
    Gripper("robot0_gripper_qpos", open=0.04, closed=0.0, indices=(0,)),
)
"""What robosuite's Panda records: poses in the world frame, a finger's travel [m]."""

_BATCH = 32


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
            frames, height, width, _ = _images(path, file, demonstration, self.camera).shape
        return Footage(frames, height, width, self.rate)

    def images(self, episode: int, frames: Int[np.ndarray, "n"]) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """See `Recordings.images`."""
        path, demonstration = self._place(episode)
        for first in range(0, len(frames), _BATCH):
            batch = frames[first : first + _BATCH]
            with open_hdf5(path) as file:
                images = _images(path, file, demonstration, self.camera)[batch[0] : batch[-1] + 1]
            yield images[batch - batch[0]]

    def file_sizes(self, episode: int) -> Mapping[str, int]:
        """See `Recordings.file_sizes`."""
        path, _ = self._place(episode)
        return {path.name: path.stat().st_size}

    def _place(self, episode: int) -> tuple[Path, str]:
        file, demonstration = self.demonstrations[episode]
        return self.root / file, demonstration


def find_files(folder: Path) -> list[Path]:
    """Returns the HDF5 files that are in a folder, or the one that is named."""
    there = [folder] if folder.is_file() else sorted(folder.iterdir()) if folder.is_dir() else []
    seen = [path for path in there if path.is_file() and path.suffix in SUFFIXES]
    return [path for path in seen if not path.name.startswith("._")]  # macOS writes such a file beside another


def open_robomimic(folder: Path, camera: str | None, recorded_rate: float | None = None) -> RobomimicRecordings:
    """Returns the demonstrations in a file, or in the files of a folder.

    Args:
        folder: The files' or the file.
        camera: Name of the images in obs; None: the only ones.
        recorded_rate: Frames a second [Hz], for files that do not say it.

    Raises:
        DatasetError: If there are none, they do not say their rate or the camera is not there.
    """
    contents, root = describe_robomimic(folder, recorded_rate), folder.parent if folder.is_file() else folder
    cameras = list(contents.cameras)
    if camera is None and len(cameras) == 1:
        camera = cameras[0]
    if camera is None or camera not in cameras:
        raise DatasetError(f"{folder} has the cameras {cameras} in obs; name one of them, got {camera!r}")
    places = [(path.name, name) for path in find_files(folder) for name in _demonstrations(path)]
    return RobomimicRecordings(root, tuple(places), camera, contents.rate)


def describe_robomimic(folder: Path, recorded_rate: float | None = None) -> Contents:
    """Returns what the first demonstration has.

    Args:
        folder: The files' or the file.
        recorded_rate: Frames a second [Hz], for files that do not say it.

    Raises:
        DatasetError: If there is none or the files do not say, all the same, their rate.
    """
    counts = {path: len(_demonstrations(path)) for path in find_files(folder)}
    if not sum(counts.values()):
        raise DatasetError(f"{folder} has no HDF5 file with data/demo_0, demo_1...")
    rates = {path.name: _read_rate(path, recorded_rate) for path in counts}
    if len(set(rates.values())) > 1:
        raise DatasetError(
            f"the files in {folder} were recorded at different rates [Hz]: {rates}; open them one by one"
        )
    path = next(path for path, count in counts.items() if count)
    demonstration = _demonstrations(path)[0]
    with open_hdf5(path) as file:
        seen = _observations(path, file, demonstration)
        cameras = {key: item.shape[1:3] for key, item in seen.items() if getattr(item, "ndim", 0) == 4}
        columns = {key: tuple(map(str, range(size))) for key, size in find_numbers(seen).items()}
    return Contents("robomimic", sum(counts.values()), next(iter(rates.values())), cameras, columns)


def _demonstrations(path: Path) -> list[str]:
    """Returns the demonstrations of a file in the order of their numbers."""
    with open_hdf5(path) as file:
        names = [name for name in file.get("data", {}) if re.fullmatch(r"demo_\d+", name)]
    return sorted(names, key=lambda name: int(name.removeprefix("demo_")))


def _read_rate(path: Path, recorded_rate: float | None) -> float:
    """Returns the control rate [Hz] that a file's env_args has, or the recorded one where it has none."""
    with open_hdf5(path) as file:
        written = file["data"].attrs.get("env_args", "{}") if "data" in file else "{}"
    try:
        said = float(json.loads(written)["env_kwargs"]["control_freq"])
    except (ValueError, KeyError, TypeError) as error:
        if recorded_rate is not None:
            return recorded_rate
        raise DatasetError(
            f"{path} does not say how many frames a second it has: the attribute env_args of its group data should be "
            f"JSON with env_kwargs.control_freq, it is {written!r:.200}. Say it in the "
            "Reading, recorded_rate: 20 for example"
        ) from error
    if recorded_rate is not None and not np.isclose(said, recorded_rate):
        raise DatasetError(f"{path} says {said:g} Hz, the Reading's recorded_rate {recorded_rate:g}; leave that out")
    return said


def _observations(path: Path, file: Any, demonstration: str) -> Any:
    """Returns the group with what was observed in a demonstration."""
    key = f"data/{demonstration}/obs"
    if key not in file:
        raise DatasetError(f"{path} lacks {key}")
    return file[key]


def _images(path: Path, file: Any, demonstration: str, camera: str) -> Any:
    """Returns the dataset with a camera's images."""
    seen = _observations(path, file, demonstration)
    if camera not in seen:
        raise DatasetError(f"{path} {demonstration} lacks the images {camera!r}; it has {sorted(seen)}")
    images = seen[camera]
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise DatasetError(
            f"{path} {demonstration}: {camera!r} should be (T, height, width, 3) uint8, it is "
            f"{images.shape} {images.dtype}"
        )
    return images
