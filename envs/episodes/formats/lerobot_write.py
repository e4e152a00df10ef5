"""Writing LeRobot v3.0 datasets shard by shard, by several processes, resumably.

A shard is one data parquet, one MP4 and one meta/episodes parquet, holding a few episodes; nothing in it depends on
another shard. Each file is put in place whole, the meta file last: a shard exists once that file does. Indices that run
over the whole dataset (episode_index, index, task_index) count from 0 in each shard until `finalize_dataset` sets them
and writes meta/info.json, without which the dataset counts as unfinished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from envs.episodes.episode import DatasetError, Episode
from envs.episodes.formats import lerobot_layout as layout
from envs.episodes.formats.lerobot_stats import STATS, describe_images, describe_values, merge_images
from envs.episodes.video import VideoCodec, encode_frames

_NUMBERED = ("episode_index", "index", "task_index")  # what is set when all shards are there


def shard_exists(root: Path | str, shard: int, camera: str = layout.CAMERA) -> bool:
    """Returns whether a shard was written completely.

    Args:
        root: Folder of the dataset.
        shard: Number of the shard, from 0.
        camera: Key of its video.
    """
    return all(path.is_file() for path in _shard_paths(Path(root), shard, camera))


def write_shard(
    root: Path | str,
    shard: int,
    episodes: Sequence[Episode],
    camera: str = layout.CAMERA,
    codec: VideoCodec | None = None,
) -> None:
    """Writes one shard; several processes may write different shards of one dataset at the same time.

    Args:
        root: Folder of the dataset, made if need be.
        shard: Number of the shard, from 0; an existing one is replaced.
        episodes: At least one episode, all of one ActionSpec, image size and pose size.
        camera: Key of the video.
        codec: Compression of the video.

    Raises:
        DatasetError: If there is no episode, they differ in what must be shared, or the folder holds another program's
            dataset.
        ImportError: If torchcodec or FFmpeg's libraries are missing.
    """
    codec = codec or VideoCodec()
    _check_alike(episodes)
    layout.check_ours(Path(root))
    first = episodes[0]
    video_path, data_path, meta_path = _shard_paths(Path(root), shard, camera)
    video = encode_frames(np.concatenate([episode.images for episode in episodes]), first.rate, codec)
    shared = {
        "action_spec": first.spec.to_dict(),
        "features": layout.describe_features(first.poses.shape[1], first.images.shape[1:], first.spec, camera, codec),
    }
    metadata = {layout.PROJECT_KEY: json.dumps(shared), "video_sha256": hashlib.sha256(video).hexdigest()}
    for finished in (Path(root) / layout.INFO_FILE, meta_path):  # from here on neither dataset nor shard is complete
        finished.unlink(missing_ok=True)
    layout.write_bytes(video_path, video)
    layout.write_table(data_path, _data_table(episodes))
    layout.write_table(meta_path, _episodes_table(episodes, shard, camera).replace_schema_metadata(metadata))


def finalize_dataset(root: Path | str, robot_type: str) -> None:
    """Makes the shards one dataset: numbers episodes and frames through, writes meta/{info,stats}.json and tasks.

    Killed half-way, it is simply run again, as it is when shards were added or replaced. What is wrong is said before
    anything is changed.

    Args:
        root: Folder of the dataset.
        robot_type: Name of the arm, for meta/info.json.

    Raises:
        DatasetError: If this is no dataset of ours, there are no shards, one is missing or incomplete, or they do not
            share ActionSpec, rate and features.
    """
    root = Path(root)
    layout.check_ours(root)
    metas = _read_metas(root)
    shared = _shared_description(metas)
    _check_data(root, metas)
    (root / layout.INFO_FILE).unlink(missing_ok=True)
    tasks = sorted({task for meta in metas.values() for row in meta["tasks"].to_pylist() for task in row})
    columns: dict[str, list[np.ndarray]] = {}
    image_stats: dict[str, list[Any]] = {stat: [] for stat in STATS}
    camera = next(name for name, feature in shared["features"].items() if feature["dtype"] == "video")
    episode, frame = 0, 0
    for shard, meta in metas.items():
        numbered = _number_shard(root, shard, meta, tasks, (episode, frame))
        for name in numbered.column_names:
            columns.setdefault(name, []).append(_to_numpy(numbered[name]))
        for stat in STATS:
            image_stats[stat] += meta[f"stats/{camera}/{stat}"].to_pylist()
        episode, frame = episode + len(meta), frame + len(numbered)
    stats = {name: describe_values(np.concatenate(parts)) for name, parts in columns.items()}
    stats[camera] = merge_images(image_stats)
    layout.write_table(root / layout.TASKS_FILE, _tasks_table(tasks))
    _write_json(root / layout.STATS_FILE, stats)
    _write_json(root / layout.INFO_FILE, layout.describe_dataset(shared, robot_type, episode, frame, len(tasks)))


def _shard_paths(root: Path, shard: int, camera: str) -> tuple[Path, Path, Path]:
    """Returns the video, data and meta file of a shard, in the order they are written."""
    place = layout.locate(shard)
    templates = (layout.VIDEO_PATH, layout.DATA_PATH, layout.EPISODES_PATH)
    video, data, meta = (root / template.format(video_key=camera, **place) for template in templates)
    return video, data, meta


def _check_alike(episodes: Sequence[Episode]) -> None:
    """Returns if all episodes share what the features of a dataset fix."""
    if not episodes:
        raise DatasetError("a shard holds at least one episode, got none")
    first = episodes[0]
    for number, episode in enumerate(episodes):
        for name, here, there in (
            ("image size", episode.images.shape[1:], first.images.shape[1:]),
            ("pose size", episode.poses.shape[1], first.poses.shape[1]),
            ("ActionSpec", episode.spec, first.spec),
        ):
            if here != there:
                raise DatasetError(f"episodes of one dataset share their {name}; episode {number}: {here}, 0: {there}")


def _data_table(episodes: Sequence[Episode]) -> pa.Table:
    """Returns one row a frame; the last action of each episode, which leads nowhere, is zeros."""
    lengths = [len(episode) for episode in episodes]
    frame_index = np.concatenate([np.arange(length) for length in lengths])
    actions = np.concatenate([np.pad(episode.actions, ((0, 1), (0, 0))) for episode in episodes])
    return pa.table(
        {
            layout.STATE: _fixed_lists(np.concatenate([episode.poses for episode in episodes])),
            layout.ACTION: _fixed_lists(actions),
            "timestamp": (frame_index / episodes[0].rate).astype(np.float32),
            "frame_index": frame_index,
            "episode_index": np.repeat(np.arange(len(episodes)), lengths),
            "index": np.arange(sum(lengths)),
            "task_index": np.zeros(sum(lengths), np.int64),
        }
    )


def _fixed_lists(values: np.ndarray) -> pa.FixedSizeListArray:
    """Returns an (n, d) float32 array as a parquet column of lists of d."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _episodes_table(episodes: Sequence[Episode], shard: int, camera: str) -> pa.Table:
    """Returns one row an episode: where its frames lie in the data and in the video, and its image statistics."""
    place = layout.locate(shard)
    ends = np.cumsum([len(episode) for episode in episodes])
    starts = ends - [len(episode) for episode in episodes]
    columns: dict[str, Any] = {
        "episode_index": np.arange(len(episodes)),
        "tasks": [[episode.task] for episode in episodes],
        "length": ends - starts,
        "dataset_from_index": starts,
        "dataset_to_index": ends,
        f"videos/{camera}/from_timestamp": starts / episodes[0].rate,
        f"videos/{camera}/to_timestamp": ends / episodes[0].rate,
        "seed": pa.array([episode.seed for episode in episodes], pa.int64()),
        "extra": [json.dumps(dict(episode.extra)) for episode in episodes],
    }
    for kind in ("data", "meta/episodes", f"videos/{camera}"):
        for name, index in place.items():
            columns[f"{kind}/{name}"] = np.full(len(episodes), index)
    described = [describe_images(episode.images) for episode in episodes]
    for stat in STATS:
        columns[f"stats/{camera}/{stat}"] = [values[stat] for values in described]
    return pa.table(columns)


def _read_metas(root: Path) -> dict[int, pa.Table]:
    """Returns the meta table of each shard, in order, after checking that none is missing or incomplete."""
    found: dict[Path, set[int]] = {}
    for folder in (layout.DATA_FOLDER, layout.EPISODES_FOLDER):
        paths = (root / folder).glob("chunk-*/file-*.parquet")
        found[folder] = {
            int(path.parent.name.removeprefix("chunk-")) * layout.FILES_PER_CHUNK + int(path.stem.removeprefix("file-"))
            for path in paths
        }
    begun = set.union(*found.values())
    if not begun:
        raise DatasetError(
            f"{root} has no shards that scripts/collect.py or dataset.py convert wrote; nothing is changed"
        )
    needed = ("tasks", "length", "data/chunk_index")
    metas = {
        shard: layout.read_table(root / layout.EPISODES_PATH.format(**layout.locate(shard)), needed)
        for shard in sorted(found[layout.EPISODES_FOLDER])
    }
    if any(layout.PROJECT_KEY.encode() not in (meta.schema.metadata or {}) for meta in metas.values()):
        raise DatasetError(layout.FOREIGN.format(root=root, what="meta/episodes"))
    missing = sorted(set(range(max(begun) + 1)) - set.intersection(*found.values()))
    if missing:
        raise DatasetError(f"shards {missing} of {root} are missing or incomplete; rerun the collection, it adds them")
    return metas


def _shared_description(metas: dict[int, pa.Table]) -> dict[str, Any]:
    """Returns the ActionSpec and features that all shards have in common."""
    key = layout.PROJECT_KEY.encode()
    descriptions = {shard: json.loads((meta.schema.metadata or {}).get(key, b"null")) for shard, meta in metas.items()}
    first = descriptions[0]
    for shard, description in descriptions.items():
        if description != first:
            raise DatasetError(
                f"shard {shard} was recorded with other settings than shard 0: {description} against {first}. Collect "
                "each setting into a folder of its own."
            )
    return first


def _check_data(root: Path, metas: dict[int, pa.Table]) -> None:
    """Returns if the data of each shard can be numbered: it has the rows and columns that its episodes need."""
    for shard, meta in metas.items():
        path = root / layout.DATA_PATH.format(**layout.locate(shard))
        rows, lengths = len(layout.read_table(path, _NUMBERED, others=False)), meta["length"].to_pylist()
        if rows != sum(lengths):
            raise DatasetError(
                f"{path} has {rows} rows, its episodes {lengths}; move that file away and run the collection again"
            )


def _number_shard(root: Path, shard: int, meta: pa.Table, tasks: list[str], offsets: tuple[int, int]) -> pa.Table:
    """Rewrites the indices of one shard, counting from (episodes, frames) before it, and returns its data table."""
    lengths = meta["length"].to_numpy()
    ends = offsets[1] + np.cumsum(lengths)
    episodes = offsets[0] + np.arange(len(meta))
    task_index = [tasks.index(row[0]) for row in meta["tasks"].to_pylist()]
    data_path = root / layout.DATA_PATH.format(**layout.locate(shard))
    data = layout.read_table(data_path, _NUMBERED)
    numbered = _replace(data, "episode_index", np.repeat(episodes, lengths))
    numbered = _replace(numbered, "index", offsets[1] + np.arange(len(data)))
    numbered = _replace(numbered, "task_index", np.repeat(task_index, lengths))
    placed = _replace(meta, "episode_index", episodes)
    placed = _replace(placed, "dataset_from_index", ends - lengths)
    placed = _replace(placed, "dataset_to_index", ends)
    if not numbered.equals(data):
        layout.write_table(data_path, numbered)
    if not placed.equals(meta):
        layout.write_table(root / layout.EPISODES_PATH.format(**layout.locate(shard)), placed)
    return numbered


def _replace(table: pa.Table, name: str, values: np.ndarray) -> pa.Table:
    """Returns the table with one column of int64 exchanged."""
    return table.set_column(table.column_names.index(name), name, pa.array(values, pa.int64()))


def _to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """Returns a column as (n,), or (n, d) for a column of lists of d."""
    if not pa.types.is_fixed_size_list(column.type):
        return column.to_numpy()
    return column.combine_chunks().flatten().to_numpy().reshape(len(column), -1)


def _tasks_table(tasks: list[str]) -> pa.Table:
    """Returns what pandas reads as a frame indexed by task with the column task_index."""
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, kind, numpy in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Puts a JSON file in place whole or not at all."""
    layout.write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())
