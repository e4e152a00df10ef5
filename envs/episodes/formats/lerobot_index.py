"""Where each episode of a LeRobot dataset lies, as its meta folder says: v2.0 and v2.1, or v3.0."""

from __future__ import annotations

import bisect
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from envs.episodes.episode import DatasetError
from envs.episodes.formats import lerobot_layout as layout
from envs.episodes.formats.lerobot_info import fill_path, is_old, is_ours, is_video

_OLD_EPISODES_FILE = Path("meta/episodes.jsonl")
_ON_BEAT = 0.1  # frames: what rounding does to when an episode begins
_OLD_TASKS_FILE = Path("meta/tasks.jsonl")


@dataclass(frozen=True)
class EpisodePlace:
    """Where one episode lies.

    Attributes:
        number: Its episode_index.
        length: Frames, as the meta folder says.
        task: What was being done, in words; None where only the task_index of its rows says it.
        data_file: Parquet file with its poses and actions.
        image_file: Video with its frames, or the data file itself.
        start: When it begins in that video [s].
        end: When it ends in that video [s]; None: when the video does.
        seed: Its seed, if it has one.
        extra: What the recorder added.
        shared: Whether other episodes may be in the same files.
        before: Frames of the episodes that begin earlier in the same video.
        together: Frames of all episodes in that video.
        on_beat: Whether all of them begin at a whole number of frames.
    """

    number: int
    length: int
    task: str | None
    data_file: Path
    image_file: Path
    start: float
    end: float | None
    seed: int | None
    extra: dict[str, Any]
    shared: bool = True
    before: int = 0
    together: int = 0
    on_beat: bool = True

    def name(self, root: Path) -> str:
        """Returns what people call it."""
        file = self.data_file.relative_to(root).as_posix()
        return f"{file} episode {self.number}" if self.shared else file

    def first_frame(self, rate: float) -> int:
        """Returns the index of its first frame in the video, which shows ``rate`` frames a second."""
        return round(self.start * rate)


def read_places(root: Path, info: dict[str, Any], camera: str) -> tuple[EpisodePlace, ...]:
    """Returns where each episode lies, in order of episode_index, which may have gaps.

    Raises:
        DatasetError: If the index is missing or damaged, or has an episode twice.
    """
    rows = _read_old_rows(root) if is_old(info) else _read_rows(root, info, camera)
    places = [_place(root, info, row, camera) for row in rows]
    twice = [number for number, count in Counter(place.number for place in places).items() if count > 1]
    if twice:
        raise DatasetError(f"the meta folder of {root} lists the episodes {sorted(twice)[:10]} more than once")
    infinite = [place for place in places if not math.isfinite(place.start)]
    if infinite:
        raise DatasetError(f"the meta folder of {root} says that episode {infinite[0].number} begins at no time")
    return tuple(sorted(_with_neighbours(places, info["fps"]), key=lambda place: place.number))


def check_complete(root: Path, info: dict[str, Any], places: Sequence[EpisodePlace]) -> None:
    """Returns if a dataset of ours has the episodes that it was finished with.

    Raises:
        DatasetError: If it has gaps or is not as long as meta/info.json says.
    """
    frames, expected = sum(place.length for place in places), (info.get("total_episodes"), info.get("total_frames"))
    if [place.number for place in places] != list(range(len(places))) or (len(places), frames) != expected:
        raise DatasetError(
            f"{root} has {len(places)} episodes with {frames} frames, its meta/info.json says {expected[0]} with "
            f"{expected[1]}: files came or went. Copy the dataset again, or run the command that made it again"
        )


def task_of(row: dict[str, Any]) -> str | None:
    """Returns the task that a row of the index names, the first of several, or None where it names none."""
    tasks = row.get("tasks", row.get("task"))
    first = tasks[0] if isinstance(tasks, list) and tasks else tasks
    return first if isinstance(first, str) else None


def read_tasks(root: Path, info: dict[str, Any]) -> dict[int, str]:
    """Returns the tasks by task_index, none where there is no list of them.

    Raises:
        DatasetError: If the list is damaged.
    """
    path = root / (_OLD_TASKS_FILE if is_old(info) else layout.TASKS_FILE)
    if not path.is_file():
        return {}
    rows = read_lines(path) if is_old(info) else layout.read_table(path, ("task_index",)).to_pylist()
    texts = [[value for value in row.values() if isinstance(value, str)] for row in rows]
    return {
        int(row["task_index"]): text[0] for row, text in zip(rows, texts, strict=True) if "task_index" in row and text
    }


def _read_rows(root: Path, info: dict[str, Any], camera: str) -> list[dict[str, Any]]:
    """Returns the rows of meta/episodes of v3.0, without LeRobot's statistics of each episode."""
    video = f"videos/{camera}"
    needed = ("episode_index", "length", "data/chunk_index", "data/file_index")
    if is_video(info, camera):
        needed += (f"{video}/chunk_index", f"{video}/file_index", f"{video}/from_timestamp")
    paths = sorted((root / layout.EPISODES_FOLDER).glob("chunk-*/file-*.parquet"))
    if not paths:
        raise DatasetError(
            f"{root / layout.EPISODES_FOLDER} has no chunk-*/file-*.parquet{_half_converted(root, _OLD_EPISODES_FILE)}"
        )
    rows: list[dict[str, Any]] = []
    for path in paths:
        table = layout.read_table(path, needed, without=lambda field: field.name.startswith("stats/"))
        holes = [name for name in needed if table[name].null_count]
        if holes:
            raise DatasetError(f"{path} has rows without {holes}; copy the dataset again")
        rows += table.to_pylist()
    return rows


def _whole(root: Path, row: dict[str, Any], key: str) -> int:
    """Returns a whole number of a row of the index, which tools that know only floats write as 3.0."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise DatasetError(f"the index of {root} in meta has an episode whose {key} is {value!r}, no number: {row}")
    return int(value)


def _place(root: Path, info: dict[str, Any], row: dict[str, Any], camera: str) -> EpisodePlace:
    """Returns where the episode of one row of the index lies: of v2.0 and v2.1 in files of its own."""
    number, old, ours, video = _whole(root, row, "episode_index"), is_old(info), is_ours(info), f"videos/{camera}"

    def find(template: Literal["data_path", "video_path"], kind: str, **names: Any) -> Path:
        if old:
            names |= {"episode_chunk": number // info.get("chunks_size", layout.FILES_PER_CHUNK)}
            names |= {"episode_index": number}
        else:
            names |= {name: _whole(root, row, f"{kind}/{name}") for name in ("chunk_index", "file_index")}
        return fill_path(root, info, template, **names)

    data_file = find("data_path", "data")
    return EpisodePlace(
        number=number,
        length=_whole(root, row, "length"),
        task=task_of(row),
        data_file=data_file,
        image_file=find("video_path", video, video_key=camera) if is_video(info, camera) else data_file,
        start=row.get(f"{video}/from_timestamp", 0.0),
        end=row.get(f"{video}/to_timestamp"),
        seed=row.get("seed") if ours else None,
        extra=json.loads(row.get("extra") or "{}") if ours else {},
        shared=not old,
    )


def _with_neighbours(places: Sequence[EpisodePlace], rate: float) -> Iterator[EpisodePlace]:
    """Yields the places, with what is told by those in the same video: the next one's start ends one at the latest."""
    videos: dict[Path, list[EpisodePlace]] = {}
    for place in places:
        videos.setdefault(place.image_file, []).append(place)
    for inside in videos.values():
        ordered = sorted(inside, key=lambda place: place.start)
        sums = np.cumsum([0, *(place.length for place in ordered)]).tolist()
        on_beat = all(abs(place.start * rate - place.first_frame(rate)) <= _ON_BEAT for place in ordered)
        starts = [place.start for place in ordered]
        for place, before in zip(ordered, sums, strict=False):
            following = bisect.bisect_right(starts, place.start)
            ends = [
                end for end in (place.end, *starts[following : following + 1]) if end is not None and end > place.start
            ]
            end = min(ends, default=None)
            yield replace(place, end=end, before=before, together=sums[-1], on_beat=on_beat)


def _read_old_rows(root: Path) -> list[dict[str, Any]]:
    """Returns the lines of the meta/episodes.jsonl of v2.0 and v2.1."""
    path = root / _OLD_EPISODES_FILE
    if not path.is_file():
        raise DatasetError(f"{path} is missing{_half_converted(root, layout.EPISODES_FOLDER)}")
    return read_lines(path)


def _half_converted(root: Path, of_other: Path) -> str:
    """Returns what may be wrong where an index is missing, if there is one of the other version."""
    if not (root / of_other).exists():
        return "; copy the dataset again"
    return (
        f", but there is {of_other}, which belongs to another version than {layout.INFO_FILE} says (codebase_version): "
        "a conversion that was broken off? Convert or copy the dataset again"
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a file of JSON lines; raises DatasetError naming the one that is no mapping."""
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        try:
            row = json.loads(line.decode("utf-8-sig")) if line.strip() else None
        except ValueError as error:
            raise DatasetError(f"line {number} of {path} should be JSON in UTF-8: {error}") from error
        if row is not None and not isinstance(row, dict):
            raise DatasetError(f"line {number} of {path} should be a mapping, it is {row!r:.100}")
        rows += [] if row is None else [row]
    return rows
