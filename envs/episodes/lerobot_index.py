"""What the meta folder of a LeRobot dataset, v3.0 or v2.1, says: its description and where each episode lies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from envs.episodes import lerobot_layout as layout
from envs.episodes.episode import DatasetError

OLD_VERSION = "v2.1"
_NEEDED = ("fps", "features", "total_episodes", "total_frames", "data_path", "video_path")
_OLD_EPISODES_FILE = Path("meta/episodes.jsonl")


@dataclass(frozen=True)
class EpisodePlace:
    """Where one episode lies.

    Attributes:
        length: Frames.
        task: What was being done, in words.
        data_file: Parquet file with its poses and actions.
        video_file: Video with its frames.
        start: When it begins in that video [s].
        seed: Its seed, if it has one.
        extra: What the recorder added.
        shared: Whether other episodes may be in the same files.
    """

    length: int
    task: str
    data_file: Path
    video_file: Path
    start: float
    seed: int | None
    extra: dict[str, Any]
    shared: bool = True

    def name(self, root: Path, episode: int) -> str:
        """Returns what people call it."""
        file = self.data_file.relative_to(root).as_posix()
        return f"{file} episode {episode}" if self.shared else file

    def first_frame(self, rate: float) -> int:
        """Returns the index of its first frame in the video, which shows ``rate`` frames a second."""
        return round(self.start * rate)


def read_info(root: Path) -> dict[str, Any]:
    """Returns meta/info.json after checking its version and that it has what is needed.

    Raises:
        DatasetError: If it is missing, of another version or incomplete.
    """
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
    if version not in (layout.VERSION, OLD_VERSION):
        raise DatasetError(
            f"{path} has codebase_version {version!r}; {layout.VERSION!r} and {OLD_VERSION!r} are read. Convert it "
            "with LeRobot's scripts first."
        )
    missing = [name for name in _NEEDED if name not in info]
    if missing:
        raise DatasetError(f"{path} lacks {missing}; it has {sorted(info)}")
    return info


def choose_camera(root: Path, info: dict[str, Any], camera: str | None) -> str:
    """Returns the key of the video to read, the only one there is or the one that is named.

    Raises:
        DatasetError: If it is not there or none of several is named.
    """
    cameras = [name for name, feature in info["features"].items() if feature["dtype"] == "video"]
    if camera is None and len(cameras) == 1:
        return str(cameras[0])
    if camera is None or camera not in cameras:
        raise DatasetError(
            f"{root} has the cameras {cameras} (videos; images inside its parquet files are not read); name one of "
            f"them, got {camera!r}"
        )
    return camera


def image_size(feature: dict[str, Any]) -> tuple[int, int]:
    """Returns (h, w) of a video's feature, which says in its names where height and width are."""
    names: list[str] = list(feature.get("names") or ())
    shape = feature["shape"]
    if "height" in names and "width" in names:
        return shape[names.index("height")], shape[names.index("width")]
    return (shape[1], shape[2]) if shape[0] in (1, 3) else (shape[0], shape[1])


def read_places(root: Path, info: dict[str, Any], camera: str) -> tuple[EpisodePlace, ...]:
    """Returns where each episode lies, in order of episode_index.

    Raises:
        DatasetError: If the index is missing, damaged, has gaps or is not as long as meta/info.json says.
    """
    if info["codebase_version"] == OLD_VERSION:
        rows = _read_old_rows(root)
        places = [_old_place(root, info, row, camera) for row in rows]
    else:
        rows = _read_rows(root, f"videos/{camera}")
        places = [_place(root, info, row, camera) for row in rows]
    if [row["episode_index"] for row in rows] != list(range(len(rows))):
        raise DatasetError(f"the episodes of {root} are not numbered 0..{len(rows) - 1}; run finalize_dataset")
    frames, expected = sum(place.length for place in places), (info["total_episodes"], info["total_frames"])
    if (len(places), frames) != expected:
        raise DatasetError(
            f"{root} has {len(places)} episodes with {frames} frames, its meta/info.json says {expected[0]} with "
            f"{expected[1]}: files came or went. Copy the dataset again, or run finalize_dataset (scripts/collect.py "
            "does)"
        )
    return tuple(places)


def _read_rows(root: Path, video: str) -> list[dict[str, Any]]:
    """Returns the rows of meta/episodes of v3.0, in order, without LeRobot's statistics of each episode."""
    needed = ("episode_index", "tasks", "length", "data/chunk_index", "data/file_index")
    needed += (f"{video}/chunk_index", f"{video}/file_index", f"{video}/from_timestamp")
    paths = sorted((root / layout.EPISODES_FOLDER).glob("chunk-*/file-*.parquet"))
    if not paths:
        raise DatasetError(f"{root / layout.EPISODES_FOLDER} has no chunk-*/file-*.parquet")
    rows = [row for path in paths for row in _without_stats(layout.read_table(path, needed)).to_pylist()]
    return sorted(rows, key=lambda row: row["episode_index"])


def _without_stats(table: pa.Table) -> pa.Table:
    return table.select([name for name in table.column_names if not name.startswith("stats/")])


def _place(root: Path, info: dict[str, Any], row: dict[str, Any], camera: str) -> EpisodePlace:
    """Returns where the episode of one row of v3.0's meta/episodes lies."""
    video = f"videos/{camera}"
    data = {name: row[f"data/{name}"] for name in ("chunk_index", "file_index")}
    film = {name: row[f"{video}/{name}"] for name in ("chunk_index", "file_index")}
    return EpisodePlace(
        length=row["length"],
        task=row["tasks"][0] if row["tasks"] else "",
        data_file=root / info["data_path"].format(**data),
        video_file=root / info["video_path"].format(video_key=camera, **film),
        start=row[f"{video}/from_timestamp"],
        seed=row.get("seed"),
        extra=json.loads(row.get("extra") or "{}"),
    )


def _read_old_rows(root: Path) -> list[dict[str, Any]]:
    """Returns the lines of v2.1's meta/episodes.jsonl, in order."""
    path = root / _OLD_EPISODES_FILE
    if not path.is_file():
        raise DatasetError(f"{path} is missing; copy the dataset again")
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return sorted(rows, key=lambda row: (row["episode_index"], row["length"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path} should have a line of JSON with episode_index, tasks and length for each episode: {error!r}"
        ) from error


def _old_place(root: Path, info: dict[str, Any], row: dict[str, Any], camera: str) -> EpisodePlace:
    """Returns where the episode of one line of v2.1's meta/episodes.jsonl lies: in files of its own."""
    episode = row["episode_index"]
    names = {"episode_chunk": episode // info.get("chunks_size", layout.FILES_PER_CHUNK), "episode_index": episode}
    return EpisodePlace(
        length=row["length"],
        task=(row.get("tasks") or [""])[0],
        data_file=root / info["data_path"].format(**names),
        video_file=root / info["video_path"].format(video_key=camera, **names),
        start=0.0,
        seed=None,
        extra={},
        shared=False,
    )
