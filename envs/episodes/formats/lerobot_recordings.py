"""LeRobot datasets of anybody, v2.0, v2.1 or v3.0: images and columns as they were recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int, Int64, UInt8

from envs.episodes.columns import Columns, pick
from envs.episodes.episode import DatasetError
from envs.episodes.files import read_once
from envs.episodes.formats import lerobot_layout as layout
from envs.episodes.formats.lerobot_film import Film, TableFilm, VideoFilm
from envs.episodes.formats.lerobot_index import EpisodePlace, check_complete, read_places, read_tasks
from envs.episodes.formats.lerobot_info import choose_camera, image_size, is_ours, is_video, list_cameras, read_info
from envs.episodes.formats.lerobot_read import read_spec
from envs.episodes.formats.lerobot_rows import read_numbers, settle_places, to_numbers
from envs.episodes.formats.registry import Format
from envs.episodes.reading import Dimensions, PoseRule, Reading
from envs.episodes.recordings import Contents, Remarks, Rows, first_extrinsics
from envs.episodes.video import Footage, count_frames
from envs.spec import ActionSpec

_COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True, eq=False)
class LeRobotRecordings:
    """A LeRobot dataset through one of its cameras; an `envs.episodes.recordings.Recordings`.

    Attributes:
        root: Its folder.
        rate: Frames a second [Hz].
        places: Where each episode lies.
        camera: Key of the camera.
        in_video: Whether its images are in videos; else they are in the data files, or beside them.
        tasks: By task_index, for the episodes whose place does not say.
        extrinsics: Key of the camera's pose, if it has one.
        remarks: Where what is unusual is said.
    """

    root: Path
    rate: float
    places: tuple[EpisodePlace, ...]
    camera: str
    in_video: bool
    tasks: Mapping[int, str]
    extrinsics: str | None = None
    remarks: Remarks = field(default_factory=Remarks)
    spare_rows: int = 1  # the video may end a frame early, see footage

    @property
    def names(self) -> tuple[str, ...]:
        """See `Recordings.names`."""
        return tuple(place.name(self.root) for place in self.places)

    def read(self, episode: int, keys: tuple[str, ...]) -> Rows:
        """See `Recordings.read`. Frames of videos are found by their number, whatever the times say."""
        place, rows = self.places[episode], self._rows(episode)
        wanted = {*keys, "timestamp", *([self.extrinsics] if self.extrinsics else ())}
        wanted |= {"task_index"} if place.task is None and self.tasks else set()
        table = _read_columns(place.data_file, tuple(sorted(wanted)))
        columns = {key: table[key][rows] for key in keys}
        task, extra = place.task or "", place.extra
        if place.task is None and "task_index" in table and len(rows):
            task = self.tasks.get(int(np.nan_to_num(table["task_index"][rows[0], 0], nan=-1)), "")
        if self.extrinsics:
            seen_from = first_extrinsics(self.extrinsics, table[self.extrinsics][rows])
            extra = {**extra, "camera_extrinsics": seen_from}
        return Rows(table["timestamp"][rows, 0], columns, task, place.seed, extra)

    def _rows(self, episode: int) -> Int64[np.ndarray, "T"]:
        """Returns which rows of its data file are the episode's.

        Raises:
            DatasetError: If they are not as many as the index says, unless a video of its own has as many frames.
        """
        place = self.places[episode]
        numbers = read_numbers(place.data_file)
        rows = np.flatnonzero(numbers == place.number)
        if not place.shared and not len(rows) and len(set(numbers.tolist())) == 1:
            self.remarks.add(place.name(self.root), "its rows have another episode_index than its name")
            rows = np.arange(len(numbers))
        if len(rows) == place.length:
            return rows
        if place.shared or not self.in_video or count_frames(place.image_file) != len(rows):
            raise DatasetError(
                f"{place.data_file} has {len(rows)} rows of episode {place.number}, the index in meta says "
                f"{place.length}; copy the dataset again, or leave the episode out"
            )
        self.remarks.add(
            place.name(self.root), "it has as many rows as frames, but the index in meta says another length"
        )
        return rows

    def footage(self, episode: int) -> Footage:
        """See `Recordings.footage`. A frame more than rows at the end is not shown; a frame fewer is let pass."""
        rows = self._rows(episode)
        seen = self._film(episode).footage(rows)
        name, more = self.places[episode].name(self.root), seen.frames - len(rows)
        if more == 0 and not self.places[episode].shared and not np.isclose(seen.rate, self.rate, rtol=1e-3):
            times = f"its video says {seen.rate:g} Hz, its rows {self.rate:g} Hz"
            self.remarks.add(name, f"{times}; there are as many, so each frame is taken for its row's")
        if self.in_video and not self.places[episode].on_beat:
            self.remarks.add(
                name,
                "episodes of its video are said to begin between frames; frames are counted, or found by their times",
            )
        if abs(more) != 1 or len(rows) < 2:
            return seen
        what = "a frame without a row" if more == 1 else "a row without a frame"
        self.remarks.add(name, f"it ends with {what}, which is left out")
        return Footage(min(seen.frames, len(rows)), seen.height, seen.width, seen.rate)

    def images(self, episode: int, frames: Int[np.ndarray, "n"]) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """See `Recordings.images`."""
        return self._film(episode).images(self._rows(episode), frames)

    def file_sizes(self, episode: int) -> Mapping[str, int]:
        """See `Recordings.file_sizes`."""
        file = self.places[episode].image_file
        return {file.relative_to(self.root).as_posix(): file.stat().st_size}

    def _film(self, episode: int) -> Film:
        place = self.places[episode]
        if self.in_video:
            return VideoFilm(place, self.rate)
        return TableFilm(self.root, place.data_file, self.camera, self.rate)


class LeRobotFormat(Format):
    """LeRobot datasets of others, v2.0, v2.1 or v3.0; see `Format`."""

    takes = ("recorded_rate", "extrinsics")

    def name(self, folder: Path) -> str | None:
        """See `Format.name`."""
        info = read_info(folder) if (folder / layout.INFO_FILE).is_file() else None
        return None if info is None or is_ours(info) else f"lerobot {info['codebase_version']}"

    def describe(self, folder: Path) -> Contents:
        """See `Format.describe`."""
        return describe_lerobot(folder, self.name(folder) or "lerobot")

    def open(self, folder: Path, reading: Reading) -> LeRobotRecordings:
        """See `Format.open`."""
        return open_lerobot(folder, reading.camera, reading.extrinsics)


class OurDataset(LeRobotFormat):
    """LeRobot v3.0 datasets that were written here and say what their poses are; see `Format`."""

    takes = ("extrinsics",)

    def name(self, folder: Path) -> str | None:
        """See `Format.name`."""
        ours = (folder / layout.INFO_FILE).is_file() and is_ours(read_info(folder))
        return "ours" if ours else None

    def pose(self, folder: Path) -> PoseRule:
        """See `Format.pose`."""
        return AsRecorded(read_spec(folder, read_info(folder)))


@dataclass(frozen=True)
class AsRecorded:
    """Poses were recorded as they are wanted; an `envs.episodes.reading.PoseRule`.

    Attributes:
        spec: Of the actions that were recorded beside them.
    """

    spec: ActionSpec
    keys: tuple[str, ...] = (layout.STATE,)

    @property
    def dimensions(self) -> Dimensions:
        """See `PoseRule.dimensions`."""
        return Dimensions(self.spec.names, self.spec.units, self.spec.frame)

    def continuous(self, columns: Columns) -> tuple[Columns, str]:
        """See `PoseRule.continuous`. They were recorded without jumps."""
        return columns, ""

    def poses(self, columns: Columns) -> Float[np.ndarray, "T P"]:
        """See `PoseRule.poses`."""
        return pick(columns, layout.STATE, None)


def open_lerobot(root: Path, camera: str | None, extrinsics: str | None = None) -> LeRobotRecordings:
    """Returns a LeRobot dataset through one of its cameras.

    Raises:
        DatasetError: If its index is broken or the camera is not there.
    """
    info, remarks = read_info(root), Remarks()
    camera = choose_camera(root, info, camera)
    places = read_places(root, info, camera)
    if is_ours(info):
        check_complete(root, info, places)
    else:
        places = settle_places(root, info, places, remarks)
    tasks = read_tasks(root, info) if any(place.task is None for place in places) else {}
    return LeRobotRecordings(
        root, float(info["fps"]), places, camera, is_video(info, camera), tasks, extrinsics, remarks
    )


def describe_lerobot(root: Path, name: str) -> Contents:
    """Returns what meta/info.json says that there is, and how many episodes are listed, in the format of a name.

    Raises:
        DatasetError: If either is missing or damaged.
    """
    info = read_info(root)
    features: dict[str, dict[str, Any]] = info["features"]
    cameras: dict[str, tuple[int, int] | None] = {key: image_size(features[key]) for key in list_cameras(info)}
    numbers = {
        key: feature for key, feature in features.items()
        if feature["dtype"] not in ("video", "image", "string") and key not in _COUNTERS
    }  # fmt: skip
    columns = {key: _names_of(feature) for key, feature in numbers.items()}
    episodes = len(read_places(root, info, next(iter(cameras)))) if cameras else info.get("total_episodes", 0)
    return Contents(name, episodes, float(info["fps"]), cameras, columns)


def _names_of(feature: dict[str, Any]) -> tuple[str, ...]:
    """Returns what the numbers of a feature are called; LeRobot has lists and, older, mappings to lists."""
    names, size = feature.get("names"), int(np.prod(feature.get("shape") or (1,)))
    if isinstance(names, dict):
        names = next(iter(names.values())) if len(names) == 1 else list(names)
    if isinstance(names, list) and len(names) == size:
        return tuple(map(str, names))
    return tuple(map(str, range(size)))


@read_once(8)
def _read_columns(path: Path, keys: tuple[str, ...]) -> dict[str, Float64[np.ndarray, "n D"]]:
    """Returns columns of a data file."""
    table = layout.read_table(path, keys, others=False)
    return {key: to_numbers(path, key, table[key]) for key in keys}
