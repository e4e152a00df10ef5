"""Recordings of runs made episodes of a LeRobot v3.0 dataset, in the folder that they are in."""

from __future__ import annotations

import fcntl
import json
import logging
from dataclasses import replace
from pathlib import Path

from envs.episodes.episode import DatasetError
from envs.episodes.formats import lerobot, lerobot_layout
from envs.episodes.recorder import FOLDER, SUFFIX, read_recording

logger = logging.getLogger(__name__)


def add_to_dataset(path: Path | str, root: Path | str, robot_type: str) -> None:
    """Adds a recording as an episode to a LeRobot v3.0 dataset of ours, made if need be; scripts/train.py reads it.

    Args:
        path: The recording.
        root: Folder of the dataset.
        robot_type: Name of the arm.

    Raises:
        DatasetError: If the recording has fewer than two steps, or the dataset's are of another kind.
        OSError: If the dataset can't be written; the recording stays, and the shards that were there.
    """
    path, root = Path(path), Path(root)
    _complete(root, robot_type)
    episode = replace(read_recording(path).episode(), extra={"recording": path.name})
    lerobot_layout.check_ours(root)
    info = root / lerobot_layout.INFO_FILE
    if info.is_file():
        there = json.loads(info.read_text(encoding="utf-8"))
        shape = tuple(there["features"][lerobot.CAMERA]["shape"])
        spec = there[lerobot_layout.PROJECT_KEY]["action_spec"]
        if shape != episode.images.shape[1:] or spec != json.loads(json.dumps(episode.spec.to_dict())):
            raise DatasetError(
                f"{root} holds images of {shape} and actions {spec}, {path} has {episode.images.shape[1:]} and "
                f"{episode.spec.to_dict()}: record each setting into a folder of its own"
            )
    shard = 0
    while lerobot.shard_exists(root, shard):
        shard += 1
    lerobot.write_shard(root, shard, [episode])
    lerobot.finalize_dataset(root, robot_type)


def add_missing(root: Path | str, robot_type: str) -> list[Path]:
    """Adds the recordings that a killed program, or a full disk, kept out of their dataset; returns which.

    What is being recorded, has fewer than two steps or is of another kind than the dataset is left out; of the last a
    warning tells.

    Args:
        root: Folder of recordings and of their dataset.
        robot_type: Name of the arm.
    """
    root, added, there = Path(root), [], set()
    _complete(root, robot_type)
    for path in (root / lerobot_layout.EPISODES_FOLDER).glob("chunk-*/file-*.parquet"):
        extras = lerobot_layout.read_table(path, ("extra",), others=False)["extra"].to_pylist()
        there |= {json.loads(extra).get("recording") for extra in extras}
    for path in sorted((root / FOLDER).glob(f"*{SUFFIX}")):
        if path.name in there or _is_open(path):
            continue
        try:
            if len(read_recording(path).steps) > 1:
                add_to_dataset(path, root, robot_type)
                added.append(path)
        except DatasetError as error:
            logger.warning("not added to the dataset: %s", error)
    return added


def _complete(root: Path, robot_type: str) -> None:
    """Writes the index of a dataset whose first shard is there and whose index a killed program did not write."""
    if lerobot.shard_exists(root, 0) and not (root / lerobot_layout.INFO_FILE).is_file():
        lerobot.finalize_dataset(root, robot_type)


def _is_open(path: Path) -> bool:
    """Returns whether a recorder is writing a recording."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
