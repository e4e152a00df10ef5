"""Which rows of a LeRobot dataset's data files are which episode's, and columns of them as numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64

from envs.episodes.episode import DatasetError
from envs.episodes.files import read_once
from envs.episodes.formats import lerobot_layout as layout
from envs.episodes.formats.lerobot_index import EpisodePlace
from envs.episodes.formats.lerobot_info import is_old
from envs.episodes.recordings import Remarks

_NAMED = 10  # of many episodes, how many a message lists
_FIELD = re.compile(r"\{(\w+)[^}]*\}")


@read_once(8)
def read_numbers(path: Path) -> Int64[np.ndarray, "n"]:
    """Returns the episode_index of each row of a data file; raises DatasetError if it can't be read."""
    column = layout.read_table(path, ("episode_index",), others=False)["episode_index"]
    return to_numbers(path, "episode_index", column)[:, 0].astype(np.int64)


def to_numbers(path: Path, key: str, column: pa.ChunkedArray) -> Float64[np.ndarray, "n D"]:
    """Returns a column of numbers or of equally long lists of them; what is not there is NaN."""
    width, values = 1, column.combine_chunks()
    while (
        pa.types.is_list(values.type) or pa.types.is_large_list(values.type) or pa.types.is_fixed_size_list(values.type)
    ):
        lengths = set(values.value_lengths().to_pylist())
        if len(lengths) > 1 or None in lengths:
            raise DatasetError(f"{path}: {key!r} has rows of {sorted(map(str, lengths))} numbers, they should be alike")
        width, values = width * (lengths.pop() if lengths else 0), values.flatten()
    try:
        numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise DatasetError(f"{path}: {key!r} is {column.type}, not numbers") from error
    return numbers.reshape(len(column), width)


def settle_places(
    root: Path, info: Mapping[str, Any], places: Sequence[EpisodePlace], remarks: Remarks
) -> tuple[EpisodePlace, ...]:
    """Returns the places in somebody's dataset after comparing what its meta folder says with its data files.

    Where they differ and what is meant is certain it is read, with a remark: an episode that is whole in another file
    than it is said to be in, episodes that were left out, counts in meta/info.json that were not kept up.

    Raises:
        DatasetError: If the data files have episodes that the meta folder seems to have lost.
    """
    listed, frames = [place.number for place in places], sum(place.length for place in places)
    said = (info.get("total_episodes", len(listed)), info.get("total_frames", frames))
    gaps = sorted({*range(max(listed, default=-1) + 1)} - set(listed))
    rows: Mapping[int, Mapping[Path, int]] = {}
    if not is_old(info):
        rows = _count_rows(root, info)
        places = [_find_file(root, place, rows.get(place.number, {}), remarks) for place in places]
    elif gaps or said != (len(listed), frames):
        rows = _list_files(root, info)
    unlisted = sorted(set(rows) - set(listed))
    if unlisted and said[0] != len(listed):
        raise DatasetError(
            f"{root} has data of the episodes {_some(unlisted)}, which its meta folder does not list: "
            f"{len(listed)} with {frames} frames are listed, meta/info.json says {said[0]} with {said[1]}. Copy meta "
            f"again; or, if they were left out on purpose, set total_episodes to {len(listed)} and total_frames to "
            f"{frames} there"
        )
    if unlisted:
        remarks.add(f"{root}", f"the meta folder leaves out the episodes {_some(unlisted)}, so they are not read")
    if gaps:
        remarks.add(f"{root}", f"there are no episodes {_some(gaps)}; the others keep their numbers")
    if said != (len(listed), frames):
        here = f"{len(listed)} episodes with {frames} frames"
        remarks.add(
            f"{root}", f"meta/info.json says {said[0]} episodes with {said[1]} frames; {here} are listed and read"
        )
    return tuple(places)


def _find_file(root: Path, place: EpisodePlace, rows: Mapping[Path, int], remarks: Remarks) -> EpisodePlace:
    """Returns the place with the only file that has rows of the episode, if those are as many as it is long.

    Converters of 2025 left the first episode of a file with the index of the file before.
    """
    if rows.get(place.data_file) == place.length or list(rows.values()) != [place.length]:
        return place
    found, said = next(iter(rows)), place.data_file.relative_to(root).as_posix()
    remarks.add(f"{found.relative_to(root).as_posix()} episode {place.number}", f"the meta folder says it is in {said}")
    image_file = found if place.image_file == place.data_file else place.image_file
    return replace(place, data_file=found, image_file=image_file)


def _count_rows(root: Path, info: Mapping[str, Any]) -> dict[int, dict[Path, int]]:
    """Returns how many rows of each episode each data file of v3.0 has; nothing of files that can't be read."""
    rows: dict[int, dict[Path, int]] = {}
    for path in sorted(root.glob(_FIELD.sub("*", info["data_path"]))):
        try:
            numbers, counts = np.unique(read_numbers(path), return_counts=True)
        except DatasetError:  # its episodes' problem, which they tell when they are read
            continue
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            rows.setdefault(number, {})[path] = count
    return rows


def _list_files(root: Path, info: Mapping[str, Any]) -> dict[int, dict[Path, int]]:
    """Returns the data file of each episode of v2.0 or v2.1, by the number in its name."""
    before, field, after = info["data_path"].rpartition("{episode_index")
    if not field:
        return {}
    parts = (before, after.partition("}")[2])
    pattern = r"(?P<episode>\d+)".join(r"\d+".join(map(re.escape, _FIELD.split(part)[::2])) for part in parts)
    found: dict[int, dict[Path, int]] = {}
    for path in root.glob(_FIELD.sub("*", info["data_path"])):
        match = re.fullmatch(pattern, path.relative_to(root).as_posix())
        if match:
            found[int(match["episode"])] = {path: 0}
    return found


def _some(numbers: Sequence[int]) -> str:
    """Returns some of many numbers, for people."""
    text = ", ".join(map(str, numbers[:_NAMED]))
    return f"{text} and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else text
