"""Where things lie in a LeRobot v3.0 dataset: paths, keys and the meta/info.json that describes them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from envs.episodes.episode import DatasetError
from envs.episodes.files import suspect
from envs.episodes.video import VideoCodec
from envs.folders import write_bytes
from envs.spec import POSE_NAMES, ActionSpec

VERSION = "v3.0"
FILES_PER_CHUNK = 1000
PROJECT_KEY = "vjepa_planner"  # in meta/info.json, and in the metadata of each meta/episodes file
STATE = "observation.state"
ACTION = "action"
CAMERA = "observation.images.exterior"
EPISODES_FOLDER = Path("meta/episodes")
DATA_FOLDER = Path("data")
INFO_FILE = Path("meta/info.json")
STATS_FILE = Path("meta/stats.json")
TASKS_FILE = Path("meta/tasks.parquet")
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
FOREIGN = (
    "{root} holds a dataset of another program, as its {what} says: nothing was written. Name another folder; "
    "dataset.py convert writes a dataset of ours into one"
)
_CODEC_NAMES = {"libx264": "h264", "libx265": "hevc", "libsvtav1": "av1"}


def locate(shard: int) -> dict[str, int]:
    """Returns the chunk and file index of a shard, as the path templates take them."""
    return {"chunk_index": shard // FILES_PER_CHUNK, "file_index": shard % FILES_PER_CHUNK}


def describe_features(
    pose_size: int, image_shape: tuple[int, int, int], spec: ActionSpec, camera: str, codec: VideoCodec
) -> dict[str, Any]:
    """Returns the ``features`` of meta/info.json: what each column and video holds."""
    poses = list(POSE_NAMES) if pose_size == len(POSE_NAMES) else [f"state_{index}" for index in range(pose_size)]
    height, width, channels = image_shape
    video = {
        "video.height": height,
        "video.width": width,
        "video.channels": channels,
        "video.codec": _CODEC_NAMES.get(codec.name, codec.name),
        "video.pix_fmt": codec.pixel_format,
        "video.fps": whole(spec.rate),
        "video.crf": codec.quality,
        "video.g": codec.keyframe_interval,
        "video.is_depth_map": False,
        "has_audio": False,
    }
    scalars = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64"}
    scalars |= {"index": "int64", "task_index": "int64"}
    return {
        STATE: {"dtype": "float32", "shape": [pose_size], "names": poses},
        ACTION: {"dtype": "float32", "shape": [spec.size], "names": list(spec.names)},
        camera: {
            "dtype": "video",
            "shape": [height, width, channels],
            "names": ["height", "width", "channels"],
            "info": video,
        },
        **{name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in scalars.items()},
    }


def describe_dataset(
    shared: Mapping[str, Any], robot_type: str, episodes: int, frames: int, tasks: int
) -> dict[str, Any]:
    """Returns the content of meta/info.json.

    Args:
        shared: What all shards agree on: the ActionSpec, the features, the rate.
        robot_type: Name of the arm.
        episodes: How many episodes there are.
        frames: How many frames they have together.
        tasks: How many different tasks they name.
    """
    return {
        "codebase_version": VERSION,
        "robot_type": robot_type,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": whole(shared["action_spec"]["rate"]),
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH,
        "features": shared["features"],
        PROJECT_KEY: {"action_spec": shared["action_spec"]},
    }


def whole(rate: float) -> int | float:
    """Returns the rate [Hz] as an int if it is one, as LeRobot writes it."""
    return int(rate) if float(rate).is_integer() else rate


def check_ours(root: Path) -> None:
    """Returns if a folder has no dataset yet, or one that this module wrote.

    Raises:
        DatasetError: If its meta/info.json is another program's, or no JSON.
    """
    path = root / INFO_FILE
    if not path.is_file():
        return
    try:
        ours = PROJECT_KEY in json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path} is no JSON object ({error}): nothing was written; move that file away") from error
    if not ours:
        raise DatasetError(FOREIGN.format(root=root, what="meta/info.json"))


def write_table(path: Path, table: pa.Table) -> None:
    """Puts a parquet file in place whole or not at all."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_bytes(path, buffer.getvalue())


def read_table(
    path: Path, columns: tuple[str, ...], others: bool = True, without: Callable[[pa.Field], bool] | None = None
) -> pa.Table:
    """Returns a parquet file after checking that it has the columns.

    Args:
        path: The file.
        columns: That it must have.
        others: Whether to read its other columns too.
        without: Whether one of those is not read after all, by its name or type.

    Raises:
        DatasetError: If the file is missing, damaged or lacks a column.
    """
    with open_table(path) as file:
        there = file.schema_arrow.names
        wanted = [field.name for field in file.schema_arrow if not (without and without(field))]
        table = file.read(wanted if others else [name for name in columns if name in there])
    missing = [name for name in columns if name not in there]
    if missing:
        raise DatasetError(f"{path} lacks the columns {missing}; it has {there}")
    return table


@contextmanager
def open_table(path: Path) -> Iterator[pq.ParquetFile]:
    """Yields a parquet file; what fails while reading it is a DatasetError that names it."""
    if not path.is_file():
        raise DatasetError(f"{path} is missing; copy the dataset again, or rerun its collection")
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except UnicodeEncodeError as error:
        raise DatasetError(f"{path!r} is no path in UTF-8, which Arrow needs ({error}); rename it") from error
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as parquet, {suspect(path)}: {error}"
        ) from error
