"""Reading LeRobot v3.0 datasets that carry an ActionSpec, episode by episode and frame-exactly."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from envs.episodes import lerobot_layout as layout
from envs.episodes.episode import DatasetError, Episode, check_rows
from envs.episodes.video import decode_frames
from envs.spec import ActionSpec, SpecError


@dataclass(frozen=True)
class EpisodePlace:
    """Where one episode lies.

    Attributes:
        length: Frames.
        task: What was being done, in words.
        data_file: Parquet file with its poses and actions.
        video_file: Video with its frames.
        first_frame: Index of its first frame in that video.
        seed: Its seed, if it has one.
        extra: What the recorder added.
    """

    length: int
    task: str
    data_file: Path
    video_file: Path
    first_frame: int
    seed: int | None
    extra: dict[str, Any]


@dataclass(frozen=True, eq=False)
class EpisodeDataset:
    """A LeRobot v3.0 dataset, opened by `read_dataset`; cheap to hold and to send to another process.

    Attributes:
        root: Its folder.
        spec: Meaning of its actions.
        rate: Frames a second [Hz].
        image_shape: (h, w, 3).
        pose_size: Numbers in a pose, P.
        camera: Key of the video that is read.
        robot_type: Name of the arm.
        places: Where each episode lies.
    """

    root: Path
    spec: ActionSpec
    rate: float
    image_shape: tuple[int, int, int]
    pose_size: int
    camera: str
    robot_type: str
    places: tuple[EpisodePlace, ...]

    def __len__(self) -> int:
        """Returns the number of episodes."""
        return len(self.places)

    def __iter__(self) -> Iterator[Episode]:
        """Yields each episode in order, decoding one at a time."""
        return (self[episode] for episode in range(len(self)))

    @property
    def lengths(self) -> tuple[int, ...]:
        """Frames of each episode."""
        return tuple(place.length for place in self.places)

    def __getitem__(self, episode: int) -> Episode:
        """Returns an episode with its frames decoded.

        Raises:
            DatasetError: If its data or its video is missing, damaged or not as long as the index says.
        """
        poses, actions = self.poses_actions(episode)
        place = self.places[episode]
        images = decode_frames(place.video_file, place.first_frame, place.length)
        if images.shape[1:] != self.image_shape:
            came = images.shape[1:]
            raise DatasetError(f"{place.video_file} has {came} images, meta/info.json says {self.image_shape}")
        return Episode(images, poses, actions, self.rate, self.spec, place.task, place.seed, place.extra)

    def poses_actions(self, episode: int) -> tuple[Float32[np.ndarray, "T P"], Float32[np.ndarray, "T-1 A"]]:
        """Returns poses and actions of an episode without touching its video; arrays of their own.

        Raises:
            DatasetError: If the data file is missing, damaged, not as long as the index says or not finite.
        """
        place = self.places[episode]
        stamp = place.data_file.stat().st_mtime_ns if place.data_file.is_file() else 0
        episodes, states, actions = _read_columns(place.data_file, stamp, self.pose_size, self.spec.size)
        rows = episodes == (episode if episode >= 0 else len(self) + episode)
        if rows.sum() != place.length:
            raise DatasetError(
                f"{place.data_file} has {rows.sum()} rows of episode {episode}, meta/episodes says {place.length}; "
                "copy the dataset again, or run finalize_dataset"
            )
        try:
            poses = check_rows("poses", states[rows], place.length)
            return poses, check_rows("actions", actions[rows][:-1], place.length - 1)  # the last row's is a filler
        except DatasetError as error:
            raise DatasetError(f"episode {episode} in {place.data_file}: {error}") from error

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all of meta/ and data/ and the sizes of the videos; our meta files carry the videos' hashes."""
        return self._fingerprint

    @functools.cached_property  # not public: pyright takes no cached_property for a protocol's property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for path in sorted(path for folder in ("meta", "data") for path in (self.root / folder).rglob("[!.]*")):
            if path.is_file():
                digest.update(path.relative_to(self.root).as_posix().encode() + b"\0")
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        for path in sorted({place.video_file for place in self.places}):
            digest.update(f"{path.relative_to(self.root).as_posix()} {path.stat().st_size}\0".encode())
        return digest.hexdigest()


def read_dataset(root: Path | str, camera: str | None = None) -> EpisodeDataset:
    """Returns a dataset after checking everything that can be checked without decoding.

    Args:
        root: Its folder.
        camera: Key of the video to read; needed only where there are several.

    Raises:
        DatasetError: If it is not a LeRobot v3.0 dataset with an ActionSpec, or is incomplete.
    """
    root = Path(root)
    info = _read_info(root)
    spec = _read_spec(root, info)
    camera, image_shape, pose_size = _check_features(root, info, spec, camera)
    places = _read_places(root, info, camera)
    frames = sum(place.length for place in places)
    if (len(places), frames) != (info["total_episodes"], info["total_frames"]):
        raise DatasetError(
            f"{root} has {len(places)} episodes with {frames} frames, its meta/info.json says {info['total_episodes']} "
            f"with {info['total_frames']}: shards came or went; run finalize_dataset (scripts/collect.py does)"
        )
    for path in sorted({path for place in places for path in (place.data_file, place.video_file)}):
        if not path.is_file():
            raise DatasetError(f"{path} is missing; copy the dataset again, or rerun its collection")
    rate = float(info["fps"])
    if not np.isclose(rate, spec.rate):
        raise DatasetError(f"{root} has {rate} frames a second, but its ActionSpec {spec.rate} actions a second")
    short = [number for number, place in enumerate(places) if place.length < 2]
    if short:
        raise DatasetError(f"episodes {short} of {root} have fewer than 2 frames, so no action; leave them out")
    return EpisodeDataset(root, spec, rate, image_shape, pose_size, camera, info.get("robot_type") or "", places)


def _read_info(root: Path) -> dict[str, Any]:
    """Returns meta/info.json after checking its version and that it has what is needed."""
    path = root / layout.INFO_FILE
    if not path.is_file():
        there = sorted(item.name for item in root.iterdir())[:10] if root.is_dir() else "no such folder"
        raise DatasetError(
            f"{path} is missing, so {root} is no finished LeRobot dataset (there: {there}). An interrupted collection "
            "is completed by running its command again."
        )
    try:
        info = json.loads(path.read_bytes())
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON: {error}") from error
    version = info.get("codebase_version") if isinstance(info, dict) else None
    if version != layout.VERSION:
        raise DatasetError(
            f"{path} has codebase_version {version!r}; only {layout.VERSION!r} is read. Convert it first."
        )
    needed = ("fps", "features", "total_episodes", "total_frames", "data_path", "video_path")
    missing = [name for name in needed if name not in info]
    if missing:
        raise DatasetError(f"{path} lacks {missing}; it has {sorted(info)}")
    return info


def _read_spec(root: Path, info: dict[str, Any]) -> ActionSpec:
    """Returns the ActionSpec that meta/info.json carries."""
    values = (info.get(layout.PROJECT_KEY) or {}).get("action_spec")
    if values is None:
        raise DatasetError(
            f"{root / layout.INFO_FILE} carries no ActionSpec ({layout.PROJECT_KEY}.action_spec), so what its actions "
            f"mean is unknown; it has {sorted(info)} and the features {sorted(info['features'])}"
        )
    try:
        return ActionSpec.from_dict(values)
    except (SpecError, TypeError) as error:
        raise DatasetError(f"the ActionSpec in {root / layout.INFO_FILE} is broken: {error}") from error


def _check_features(
    root: Path, info: dict[str, Any], spec: ActionSpec, camera: str | None
) -> tuple[str, tuple[int, int, int], int]:
    """Returns the camera's key, the shape of its images and the size of a pose."""
    features = info["features"]
    missing = [name for name in (layout.STATE, layout.ACTION) if name not in features]
    if missing:
        raise DatasetError(f"{root / layout.INFO_FILE} lacks the features {missing}; it has {sorted(features)}")
    cameras = [name for name, feature in features.items() if feature["dtype"] == "video"]
    if camera is None and len(cameras) == 1:
        camera = str(cameras[0])
    if camera is None or camera not in cameras:
        raise DatasetError(f"{root} has the cameras {cameras}; name one of them, got {camera!r}")
    if features[layout.ACTION]["shape"] != [spec.size]:
        raise DatasetError(
            f"the ActionSpec of {root} names {spec.size} dimensions, its action has {features[layout.ACTION]['shape']}"
        )
    height, width, channels = features[camera]["shape"]
    return camera, (height, width, channels), features[layout.STATE]["shape"][0]


def _read_places(root: Path, info: dict[str, Any], camera: str) -> tuple[EpisodePlace, ...]:
    """Returns where each episode lies, in order of episode_index."""
    video = f"videos/{camera}"
    needed = ("episode_index", "tasks", "length", "data/chunk_index", "data/file_index")
    needed += (f"{video}/chunk_index", f"{video}/file_index", f"{video}/from_timestamp")
    paths = sorted((root / layout.EPISODES_FOLDER).glob("chunk-*/file-*.parquet"))
    if not paths:
        raise DatasetError(f"{root / layout.EPISODES_FOLDER} has no chunk-*/file-*.parquet")
    rows = [row for path in paths for row in _without_stats(layout.read_table(path, needed)).to_pylist()]
    rows.sort(key=lambda row: row["episode_index"])
    if [row["episode_index"] for row in rows] != list(range(len(rows))):
        raise DatasetError(f"the episodes of {root} are not numbered 0..{len(rows) - 1}; run finalize_dataset")
    return tuple(_place(root, info, row, video) for row in rows)


def _without_stats(table: pa.Table) -> pa.Table:
    """Returns the table without LeRobot's per-episode statistics."""
    return table.select([name for name in table.column_names if not name.startswith("stats/")])


def _place(root: Path, info: dict[str, Any], row: dict[str, Any], video: str) -> EpisodePlace:
    """Returns where the episode of one row of meta/episodes lies."""
    data = {name: row[f"data/{name}"] for name in ("chunk_index", "file_index")}
    film = {name: row[f"{video}/{name}"] for name in ("chunk_index", "file_index")}
    return EpisodePlace(
        length=row["length"],
        task=row["tasks"][0] if row["tasks"] else "",
        data_file=root / info["data_path"].format(**data),
        video_file=root / info["video_path"].format(video_key=video.removeprefix("videos/"), **film),
        first_frame=round(row[f"{video}/from_timestamp"] * info["fps"]),
        seed=row.get("seed"),
        extra=json.loads(row.get("extra") or "{}"),
    )


@functools.lru_cache(maxsize=64)
def _read_columns(path: Path, stamp: int, pose_size: int, action_size: int) -> tuple[np.ndarray, ...]:
    """Returns episode_index (n,), states (n, P) and actions (n, A) of a data file; ``stamp`` tells versions apart."""
    table = layout.read_table(path, ("episode_index", layout.STATE, layout.ACTION))
    columns = [table["episode_index"].to_numpy()]
    for name, size in ((layout.STATE, pose_size), (layout.ACTION, action_size)):
        values = np.asarray(table[name].combine_chunks().flatten(), np.float32)
        if len(values) != len(table) * size:
            raise DatasetError(f"{path}: {name} should have {size} numbers a frame, as meta/info.json says")
        columns.append(values.reshape(-1, size))
    return tuple(columns)
