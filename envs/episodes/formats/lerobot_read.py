"""Reading LeRobot v3.0 datasets that carry an ActionSpec, episode by episode and frame-exactly."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from envs.episodes.angles import check_half_turns
from envs.episodes.episode import DatasetError, Episode, check_rows
from envs.episodes.files import read_once
from envs.episodes.formats import lerobot_layout as layout
from envs.episodes.formats.lerobot_index import EpisodePlace, check_complete, read_places
from envs.episodes.formats.lerobot_info import choose_camera, image_size, read_info
from envs.episodes.video import decode_frames
from envs.spec import ActionSpec, SpecError


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
        problems: See `EpisodeSource.problems`.
    """

    root: Path
    spec: ActionSpec
    rate: float
    image_shape: tuple[int, int, int]
    pose_size: int
    camera: str
    robot_type: str
    places: tuple[EpisodePlace, ...]
    problems: Mapping[int, str]

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

    @property
    def names(self) -> tuple[str, ...]:
        """See `EpisodeSource.names`."""
        return tuple(place.name(self.root) for place in self.places)

    def __getitem__(self, episode: int) -> Episode:
        """Returns an episode with its frames decoded.

        Raises:
            DatasetError: If its data or its video is missing, damaged or not as long as the index says.
        """
        poses, actions = self.poses_actions(episode)
        place = self.places[episode]
        images = decode_frames(place.image_file, place.first_frame(self.rate), place.length)
        if images.shape[1:] != self.image_shape:
            came = images.shape[1:]
            raise DatasetError(f"{place.image_file} has {came} images, meta/info.json says {self.image_shape}")
        return Episode(images, poses, actions, self.rate, self.spec, place.task or "", place.seed, place.extra)

    def poses_actions(self, episode: int) -> tuple[Float32[np.ndarray, "T P"], Float32[np.ndarray, "T-1 A"]]:
        """Returns poses and actions of an episode without touching its video; arrays of their own.

        Raises:
            DatasetError: If the data file is missing, damaged, not as long as the index says or not finite, or
                an action turns by more than half a turn.
        """
        place = self.places[episode]
        episodes, states, actions = _read_columns(place.data_file, self.pose_size, self.spec.size)
        rows = episodes == (episode if episode >= 0 else len(self) + episode)
        if rows.sum() != place.length:
            raise DatasetError(
                f"{place.data_file} has {rows.sum()} rows of episode {episode}, meta/episodes says {place.length}; "
                "copy the dataset again"
            )
        try:
            poses = check_rows("poses", states[rows], place.length)
            differences = check_rows("actions", actions[rows][:-1], place.length - 1)  # the last row's is a filler
            check_half_turns(differences, self.spec)
            return poses, differences
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
        for path in sorted({place.image_file for place in self.places}):
            size = path.stat().st_size if path.is_file() else None
            digest.update(f"{path.relative_to(self.root).as_posix()} {size}\0".encode())
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
    info = read_info(root)
    spec = read_spec(root, info)
    pose_size = _check_features(root, info, spec)
    camera = choose_camera(root, info, camera)
    places = read_places(root, info, camera)
    check_complete(root, info, places)
    rate = float(info["fps"])
    if not np.isclose(rate, spec.rate):
        raise DatasetError(f"{root} has {rate} frames a second, but its ActionSpec {spec.rate} actions a second")
    problems: dict[int, str] = {}
    for number, place in enumerate(places):
        missing = [path for path in (place.data_file, place.image_file) if not path.is_file()]
        if missing:
            problems[number] = f"{missing[0]} is missing; copy the dataset again, or rerun its collection"
        elif place.length < 2:
            problems[number] = "it has fewer than 2 frames, so no action"
    if len(problems) == len(places):
        raise DatasetError(f"no episode of {root} can be read: {next(iter(problems.values()), 'there is none')}")
    image_shape = (*image_size(info["features"][camera]), 3)
    robot_type = info.get("robot_type") or ""
    return EpisodeDataset(root, spec, rate, image_shape, pose_size, camera, robot_type, places, problems)


def read_spec(root: Path, info: dict[str, Any]) -> ActionSpec:
    """Returns the ActionSpec that meta/info.json carries.

    Raises:
        DatasetError: If it carries none or a broken one.
    """
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


def _check_features(root: Path, info: dict[str, Any], spec: ActionSpec) -> int:
    """Returns the size of a pose."""
    features = info["features"]
    missing = [name for name in (layout.STATE, layout.ACTION) if name not in features]
    if missing:
        raise DatasetError(f"{root / layout.INFO_FILE} lacks the features {missing}; it has {sorted(features)}")
    if features[layout.ACTION]["shape"] != [spec.size]:
        raise DatasetError(
            f"the ActionSpec of {root} names {spec.size} dimensions, its action has {features[layout.ACTION]['shape']}"
        )
    return features[layout.STATE]["shape"][0]


@read_once(64)
def _read_columns(path: Path, pose_size: int, action_size: int) -> tuple[np.ndarray, ...]:
    """Returns episode_index (n,), states (n, P) and actions (n, A) of a data file."""
    table = layout.read_table(path, ("episode_index", layout.STATE, layout.ACTION))
    columns = [table["episode_index"].to_numpy()]
    for name, size in ((layout.STATE, pose_size), (layout.ACTION, action_size)):
        values = np.asarray(table[name].combine_chunks().flatten(), np.float32)
        if len(values) != len(table) * size:
            raise DatasetError(f"{path}: {name} should have {size} numbers a frame, as meta/info.json says")
        columns.append(values.reshape(-1, size))
    return tuple(columns)
