"""Raw DROID: a folder a trajectory, with trajectory.h5, a metadata JSON and recordings/MP4/<serial>.mp4."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from envs.episodes.columns import Gripper, Position, Rotation
from envs.episodes.episode import DatasetError
from envs.episodes.files import walk_folders
from envs.episodes.formats.hdf5 import find_numbers, open_hdf5, read_numbers
from envs.episodes.formats.registry import Format
from envs.episodes.reading import EndEffector, PoseRule, Reading
from envs.episodes.recordings import Contents, Rows, first_extrinsics
from envs.episodes.video import Footage, decode_batches, read_header

logger = logging.getLogger(__name__)

TRAJECTORY = "trajectory.h5"
RATE = 15.0
"""Control rate [Hz]: of the frames too, about; headers of the videos say 60."""

_STATE = "observation/robot_state"
POSE = EndEffector(
    "end_effector",
    Position(f"{_STATE}/cartesian_position", (0, 1, 2)),
    Rotation(f"{_STATE}/cartesian_position", "euler", (3, 4, 5)),
    Gripper(f"{_STATE}/gripper_position", open=0.0, closed=1.0),
)
"""What DROID's own numbers mean."""

_VIDEOS = Path("recordings/MP4")
_CAMERAS = ("left", "right", "wrist")


@dataclass(frozen=True, eq=False)
class DroidRecordings:
    """DROID trajectories through one of their cameras; an `envs.episodes.recordings.Recordings`.

    Attributes:
        root: Folder that all are in, at any depth.
        trajectories: Each one's own folder, relative to the root.
        camera: left, right, wrist or a serial number.
    """

    root: Path
    trajectories: tuple[str, ...]
    camera: str = "left"
    rate: float = RATE
    spare_rows: int = 1  # the video may end a frame early

    @property
    def names(self) -> tuple[str, ...]:
        """See `Recordings.names`."""
        return tuple(f"{folder}/{TRAJECTORY}" for folder in self.trajectories)

    def read(self, episode: int, keys: tuple[str, ...]) -> Rows:
        """See `Recordings.read`. A camera without a clock of its own is taken to run at 15 Hz."""
        folder = self.root / self.trajectories[episode]
        metadata = _read_metadata(folder, self._key)
        serial, path = self._video(folder, metadata).stem, folder / TRAJECTORY
        with open_hdf5(path) as file:
            columns = {key: read_numbers(path, file, key) for key in keys}
            lengths = {key: len(values) for key, values in columns.items()}
            length = min(lengths.values())
            if len(set(lengths.values())) > 1:
                raise DatasetError(f"{path} has columns of different lengths: {lengths}")
            clock = f"observation/timestamp/cameras/{serial}_estimated_capture"  # ms
            times = read_numbers(path, file, clock)[:, 0] / 1000 if clock in file else np.arange(length) / RATE
            if len(times) != length:
                raise DatasetError(f"{path} has {len(times)} camera times and {length} rows of numbers")
            extrinsics = f"observation/camera_extrinsics/{serial}_left"
            extra = {}
            if extrinsics in file:
                values = read_numbers(path, file, extrinsics)
                extra["camera_extrinsics"] = first_extrinsics(extrinsics, values)
        return Rows(times, columns, str(metadata.get("current_task") or ""), extra=extra, exact=False)

    def footage(self, episode: int) -> Footage:
        """See `Recordings.footage`."""
        return read_header(self._film(episode))

    def images(self, episode: int, frames: Int[np.ndarray, "n"]) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """See `Recordings.images`."""
        return (images for images, _ in decode_batches(self._film(episode), frames.tolist()))

    def file_sizes(self, episode: int) -> Mapping[str, int]:
        """See `Recordings.file_sizes`."""
        film = self._film(episode)
        return {film.relative_to(self.root).as_posix(): film.stat().st_size}

    @property
    def _key(self) -> str:
        """The metadata's key of the camera's video; of the left one for a camera that is numbered."""
        return f"{self.camera if self.camera in _CAMERAS else _CAMERAS[0]}_mp4_path"

    def _film(self, episode: int) -> Path:
        folder = self.root / self.trajectories[episode]
        return self._video(folder, _read_metadata(folder, self._key))

    def _video(self, folder: Path, metadata: Mapping[str, Any]) -> Path:
        """Returns the camera's video: the metadata have its path at the place where it was first uploaded to."""
        if self.camera not in _CAMERAS:
            return folder / _VIDEOS / f"{self.camera}.mp4"
        if not isinstance(metadata.get(self._key), str):
            raise DatasetError(
                f"the metadata JSON in {folder} lacks {self._key}; it has {sorted(metadata) or 'nothing'}; a camera's "
                "serial number, as its video is called, needs none"
            )
        return folder / _VIDEOS / Path(metadata[self._key]).name


class DroidFormat(Format):
    """Raw DROID, at any depth of a folder; see `Format`."""

    takes = ("time_base",)

    def name(self, folder: Path) -> str | None:
        """See `Format.name`."""
        return "droid" if next(find_trajectories(folder), None) is not None else None

    def describe(self, folder: Path) -> Contents:
        """See `Format.describe`."""
        return describe_droid(folder)

    def pose(self, folder: Path) -> PoseRule:
        """See `Format.pose`."""
        return POSE

    def open(self, folder: Path, reading: Reading) -> DroidRecordings:
        """See `Format.open`."""
        return _recordings(folder, find_trajectories(folder, remark=True), reading.camera)


def find_trajectories(root: Path, remark: bool = False) -> Iterator[Path]:
    """Yields the folders with a trajectory, at any depth, through links too, each folder once.

    Args:
        root: Where to look.
        remark: Whether to log what is passed over: folders seen before, and those with videos but no trajectory.
    """

    def repeated(folder: Path, real: Path) -> None:
        if remark:
            logger.warning("%s is %s once more; it is passed over", folder, real)

    for folder, inside, files in walk_folders(root, repeated):
        if TRAJECTORY in files:
            yield folder
        elif remark and _VIDEOS.parts[0] in inside and (folder / _VIDEOS).is_dir():
            logger.warning("%s has %s but no %s; it is passed over", folder, _VIDEOS, TRAJECTORY)


def _recordings(root: Path, found: Iterator[Path], camera: str | None) -> DroidRecordings:
    folders = sorted(folder.relative_to(root).as_posix() for folder in found)
    if not folders:
        raise DatasetError(f"{root} has no {TRAJECTORY}, at any depth")
    return DroidRecordings(root, tuple(folders), camera or "left")


def describe_droid(root: Path) -> Contents:
    """Returns what the first whole trajectory has.

    Raises:
        DatasetError: If there is none.
    """
    recordings, reason = _recordings(root, find_trajectories(root), None), ""
    for episode, folder in enumerate(recordings.trajectories):
        try:
            with open_hdf5(root / folder / TRAJECTORY) as file:
                columns = {key: tuple(map(str, range(size))) for key, size in find_numbers(file).items()}
            footage = recordings.footage(episode)
            cameras: dict[str, tuple[int, int] | None] = dict.fromkeys(_CAMERAS, (footage.height, footage.width))
            return Contents("droid", len(recordings.trajectories), RATE, cameras, columns)
        except DatasetError as error:
            reason = reason or str(error)
    raise DatasetError(f"no trajectory in {root} is whole: {reason}")


def _read_metadata(folder: Path, key: str) -> dict[str, Any]:
    """Returns the trajectory's metadata: of the JSON files beside it the one with a key, else one; {} without any.

    Raises:
        DatasetError: If none has the key and one can't be read, or is no mapping.
    """
    found, problem = [], ""
    for path in sorted(path for path in folder.glob("*.json") if not path.name.startswith(".")):
        try:
            metadata = json.loads(path.read_bytes())
        except ValueError as error:
            problem = problem or f"{path} is not JSON: {error}"
            continue
        if isinstance(metadata, dict):
            found.append(metadata)
        else:
            problem = problem or f"{path} should be a mapping, it is a {type(metadata).__name__}"
    chosen = next((metadata for metadata in found if isinstance(metadata.get(key), str)), None)
    if chosen is None and problem:
        raise DatasetError(problem)
    return chosen or (found[0] if found else {})
