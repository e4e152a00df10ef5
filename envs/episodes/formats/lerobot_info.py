"""meta/info.json of a LeRobot dataset: its version, what it needs to have, its cameras."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from envs.episodes.episode import DatasetError
from envs.episodes.formats import lerobot_layout as layout

VERSIONS = ("v2.0", "v2.1", layout.VERSION)
"""That are read. Of v2.0 and v2.1 all that is read here is the same; they differ in their statistics."""

_CAMERAS = ("video", "image")
_NEEDED = ("fps", "features", "data_path")
_V1_CONVERTER = "lerobot/common/datasets/v2/convert_dataset_v1_to_v2.py of LeRobot 0.1"


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
    _check_version(path, info.get("codebase_version") if isinstance(info, dict) else None)
    needed = _NEEDED + (("video_path",) if "video" in _kinds(path, info) else ())
    missing = [name for name in needed if info.get(name) is None]
    if missing:
        raise DatasetError(f"{path} lacks {missing}; it has {sorted(info)}")
    rate = info["fps"]
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0:
        raise DatasetError(f"{path}: fps should be the frames a second, it is {rate!r}")
    return info


def is_old(info: Mapping[str, Any]) -> bool:
    """Returns whether an episode has files of its own, as in v2.0 and v2.1."""
    return info["codebase_version"] != layout.VERSION


def is_ours(info: Mapping[str, Any]) -> bool:
    """Returns whether a dataset was written here, so that only damage can make it differ from its description."""
    return layout.PROJECT_KEY in info


def is_video(info: Mapping[str, Any], camera: str) -> bool:
    """Returns whether a camera's images are in videos; else they are in the data files, or beside them."""
    return info["features"][camera]["dtype"] == "video"


def list_cameras(info: Mapping[str, Any]) -> list[str]:
    """Returns the keys of all cameras."""
    return [key for key, feature in info["features"].items() if feature["dtype"] in _CAMERAS]


def choose_camera(root: Path, info: dict[str, Any], camera: str | None) -> str:
    """Returns the key of the camera to read, the only one there is or the one that is named.

    Raises:
        DatasetError: If it is not there or none of several is named.
    """
    cameras = list_cameras(info)
    if camera is None and len(cameras) == 1:
        return cameras[0]
    if not cameras:
        raise DatasetError(f"{root} has no camera, no feature of dtype video or image: {sorted(info['features'])}")
    if camera is None or camera not in cameras:
        raise DatasetError(f"{root} has the cameras {cameras}; name one of them, got {camera!r}")
    return camera


def image_size(feature: dict[str, Any]) -> tuple[int, int]:
    """Returns (h, w) of a camera's feature, which says in its names where height and width are."""
    names: list[str] = list(feature.get("names") or ())
    shape = feature["shape"]
    if "height" in names and "width" in names:
        return shape[names.index("height")], shape[names.index("width")]
    return (shape[1], shape[2]) if shape[0] in (1, 3) else (shape[0], shape[1])


def fill_path(root: Path, info: Mapping[str, Any], template: Literal["data_path", "video_path"], **place: Any) -> Path:
    """Returns the file that a path template of meta/info.json names.

    Raises:
        DatasetError: If the template has a field that this version has not.
    """
    try:
        return root / info[template].format(**place)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise DatasetError(
            f"{root / layout.INFO_FILE}: {template} is {info[template]!r}; of {info['codebase_version']} it may have "
            f"the fields {sorted(place)}"
        ) from error


def _check_version(path: Path, version: Any) -> None:
    """Returns if datasets of a version are read."""
    if version in VERSIONS:
        return
    read = f"read are {', '.join(VERSIONS)}"
    numbers = re.fullmatch(r"v?(\d+)\.(\d+)(\.\d+)*", version) if isinstance(version, str) else None
    if numbers is None:
        raise DatasetError(f"{path} has codebase_version {version!r}, which is no version of LeRobot's; {read}")
    this, known = (int(numbers[1]), int(numbers[2])), [tuple(map(int, name[1:].split("."))) for name in VERSIONS]
    if this > known[-1]:
        raise DatasetError(f"{path} is newer than is read here: {version}; {read}; update vjepa-planner")
    if this < known[0]:
        raise DatasetError(f"{path} is older than is read here: {version}; {read}. {_V1_CONVERTER} makes v2.0 of it")
    raise DatasetError(f"{path} has codebase_version {version!r}, which is not known here; {read}")


def _kinds(path: Path, info: Mapping[str, Any]) -> set[str]:
    """Returns the dtypes of the features, after checking that each says what it is."""
    features = info.get("features")
    if features is None:
        return set()
    if not isinstance(features, dict):
        raise DatasetError(f"{path}: features should be a mapping, it is a {type(features).__name__}")
    vague = [
        key
        for key, feature in features.items()
        if not isinstance(feature, dict)
        or not isinstance(feature.get("dtype"), str)
        or (feature["dtype"] in _CAMERAS and len(feature.get("shape") or ()) != 3)
    ]
    if vague:
        raise DatasetError(f"{path}: each feature should say its dtype, a camera's its three numbers too: {vague}")
    return {feature["dtype"] for feature in features.values()}
