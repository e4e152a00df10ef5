"""Whatever is broken, the error is one of ours and names the file, and what lies beside it stays as it was.

Each case breaks one thing in recordings of three episodes, a Reading, a latent cache, a checkpoint or a run's state,
beside a good latent cache and a good checkpoint, and does what training does: reads all and builds the cache.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from envs.config import ConfigError, load_config
from envs.episodes import DatasetError
from envs.episodes.check import usable
from envs.episodes.formats.lerobot_layout import ACTION
from envs.episodes.open import open_dataset
from envs.episodes.reading import Reading
from tests import recordings
from tests.damage import (
    column,
    cut_off,
    delete,
    empty,
    film,
    flip,
    garble,
    info,
    numbers,
    other,
    repeat_row,
    set_row,
    swap_rows,
    text,
    to,
    truncate,
    without_trajectories,
)
from tests.recordings import GRIPPER, JOINTS, STATE, arm_xml
from tests.small_models import small_model
from world_model.checkpoints.checkpoint import CheckpointError, save_checkpoint
from world_model.data.latents import build_latents, verify_cache
from world_model.data.store import CacheError
from world_model.encoders.vjepa2 import Encoder, EncoderConfig
from world_model.training.state import StateError, load_state, save_state
from world_model.vjepa2_ac import load_vjepa2_ac

LAYOUTS = ("ours", "v3", "v21", "droid", "robomimic")
SQUARE = {"crop": "square", "image_size": 16}
MILLIMETRES = {"key": STATE, "indices": [0, 1, 2], "unit": "mm"}
QUATERNION = {"key": STATE, "kind": "quaternion_xyzw", "indices": [3, 4, 5, 6]}
INVERTED = {"key": STATE, "indices": [7], "open": 100, "closed": 0}
V3 = {"kind": "end_effector", "position": MILLIMETRES, "rotation": QUATERNION, "gripper": INVERTED}
V21 = {
    "kind": "end_effector",
    "position": {"key": STATE, "indices": [3, 4, 5], "unit": "cm"},
    "rotation": {"key": STATE, "kind": "euler", "indices": [0, 1, 2], "axes": "ZYX", "unit": "deg"},
    "gripper": {"key": GRIPPER, "open": 0.01, "closed": 0.09},
}
READINGS = {
    "ours": {},
    "v3": SQUARE | {"pose": V3},
    "v21": SQUARE | {"pose": V21},
    "droid": SQUARE,
    "robomimic": SQUARE,
}
KINEMATICS = {
    "kind": "forward_kinematics",
    "joints": {"key": JOINTS, "names": [f"joint{i}" for i in range(1, 8)], "unit": "deg"},
    "model": "arm.xml",
    "gripper": INVERTED,
    "site": "tcp",
}


@dataclass(frozen=True)
class Place:
    """A folder of its own for each case: recordings in a layout, and a good cache and checkpoint beside them."""

    root: Path

    @property
    def neighbours(self) -> Path:
        return self.root / "good"

    @property
    def cache(self) -> Path:
        return self.neighbours / "cache"

    @property
    def checkpoint(self) -> Path:
        return self.neighbours / "checkpoint"

    def content(self) -> dict[str, bytes]:
        files = (path for path in self.neighbours.rglob("*") if path.is_file())
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(EncoderConfig(image_size=16, patch_size=8, width=24, depth=1, heads=2)).requires_grad_(False).eval()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Path:
    """All that the cases break, unbroken."""
    root = tmp_path_factory.mktemp("whole")
    for layout in LAYOUTS:
        getattr(recordings, f"write_{layout}")(root / layout)
    place = Place(root)
    read_and_encode(root / "ours", Reading(), place.cache, encoder)
    save_checkpoint(place.checkpoint, small_model(), training={})
    save_state(root / "run.pt", {"step": 3, "weights": torch.arange(99.0)})
    (root / "arm.xml").write_text(arm_xml())
    return root


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Place:
    shutil.copytree(whole / "good", tmp_path / "good")
    return Place(tmp_path)


def read_and_encode(folder: Path, reading: Reading, cache: Path, encoder: Encoder) -> None:
    build_latents(usable(open_dataset(folder, reading)), encoder, cache)


VIDEOS = {
    "truncated video": to("*.mp4", truncate),
    "missing video": to("*.mp4", delete),
    "empty video": to("*.mp4", empty),
    "video of garbage": to("*.mp4", garble),
}
TABLES = {
    "truncated parquet": to("data/**/*.parquet", truncate),
    "missing parquet": to("data/**/*.parquet", delete),
    "parquet of garbage": to("data/**/*.parquet", garble),
    "missing column": column(STATE, lambda values: None),
    "column of another width": column(STATE, lambda values: values[:, :-2]),
    "pose that is not a number": column(STATE, set_row(5, np.nan)),
    "infinite pose": column(STATE, set_row(5, np.inf)),
    "too few rows": column(STATE, lambda values: values[:-1]),
}
CLOCKS = {
    "clock that runs backwards": column("timestamp", swap_rows),
    "timestamp twice": column("timestamp", repeat_row),
    "timestamps of another rate": column("timestamp", lambda values: values * 2),
}
INFOS = {
    "missing info.json": to("info.json", delete),
    "info.json of garbage": to("info.json", garble),
    "info.json cut off": to("info.json", truncate),
    "info.json that is a list": to("info.json", text(lambda _: "[]")),
    "info.json of another version": info(codebase_version="v1.6"),
    "info.json without a path": info(video_path=None),
}
CASES: dict[str, dict[str, Callable[[Path], Path]]] = {
    "ours": VIDEOS
    | TABLES
    | INFOS
    | {
        "video that is too short": film(30),
        "video of another size": film(41, (40, 40)),
        "missing actions": column(ACTION, lambda values: None),
        "missing list of episodes": other(to("meta/episodes/**/*.parquet", delete), "ours"),
        "truncated list of episodes": to("meta/episodes/**/*.parquet", truncate),
        "info.json with a broken ActionSpec": info(vjepa_planner={"action_spec": {"names": ["x"]}}),
        "info.json of more episodes": other(info(total_episodes=9), "ours"),
    },
    "v3": VIDEOS
    | TABLES
    | CLOCKS
    | INFOS
    | {
        "video that is too short": other(film(30), "file-000.parquet episode 1"),
        "quaternion of zeros": column(STATE, set_row(5, 0.0)),
        "missing list of episodes": other(to("meta/episodes/**/*.parquet", delete), "meta/episodes"),
        "truncated list of episodes": to("meta/episodes/**/*.parquet", truncate),
    },
    "v21": VIDEOS
    | TABLES
    | CLOCKS
    | {
        "video that is too short": other(film(20), "episode_000000"),
        "video that is too long": other(film(26), "episode_000000"),
        "video of another size": other(film(24, (40, 40)), "episode_000000"),
        "missing list of episodes": to("episodes.jsonl", delete),
        "list of episodes cut off": to("episodes.jsonl", truncate),
    },
    "droid": {
        "truncated video": to("22222222.mp4", truncate),
        "missing video": to("22222222.mp4", delete),
        "empty video": to("22222222.mp4", empty),
        "truncated h5": to("trajectory.h5", truncate),
        "h5 of garbage": to("trajectory.h5", garble),
        "missing key": numbers("trajectory.h5", "observation/robot_state/gripper_position", lambda values: None),
        "pose that is not a number": numbers(
            "trajectory.h5", "observation/robot_state/cartesian_position", set_row(5, np.nan)
        ),
        "column that is too short": numbers(
            "trajectory.h5", "observation/robot_state/cartesian_position", lambda values: values[:-3]
        ),
        "clock that runs backwards": numbers(
            "trajectory.h5", "observation/timestamp/cameras/22222222_estimated_capture", lambda values: values[::-1]
        ),
        "metadata of garbage": to("metadata_run.json", garble),
        "metadata without the video": other(to("metadata_run.json", text(lambda _: "{}")), "success/2023-07-01/run"),
        "no h5 at all": other(without_trajectories, "droid"),
    },
    "robomimic": {
        "truncated hdf5": to("image.hdf5", truncate),
        "hdf5 of garbage": to("image.hdf5", garble),
        "missing hdf5": other(to("image.hdf5", delete), "robomimic"),
        "missing key": numbers("image.hdf5", "data/demo_9/obs/robot0_eef_quat", lambda values: None),
        "missing images": numbers("image.hdf5", "data/demo_9/obs/agentview_image", lambda values: None),
        "too few images": numbers("image.hdf5", "data/demo_9/obs/agentview_image", lambda values: values[:-2]),
        "images of another size": numbers("image.hdf5", "data/demo_9/obs/agentview_image", lambda v: v[:, :40, :40]),
        "images that are no bytes": numbers(
            "image.hdf5", "data/demo_9/obs/agentview_image", lambda values: values.astype(np.float32)
        ),
        "pose that is not a number": numbers("image.hdf5", "data/demo_9/obs/robot0_eef_pos", set_row(5, np.nan)),
        "quaternion of zeros": numbers("image.hdf5", "data/demo_9/obs/robot0_eef_quat", set_row(5, 0.0)),
    },
}
RECORDINGS = [(layout, kind) for layout, kinds in CASES.items() for kind in kinds]


@pytest.mark.parametrize(("layout", "kind"), RECORDINGS, ids=[f"{layout}: {kind}" for layout, kind in RECORDINGS])
def test_broken_recordings_are_named_and_nothing_beside_them_changes(layout, kind, whole, place, encoder):
    shutil.copytree(whole / layout, place.root / layout)
    named, before = CASES[layout][kind](place.root / layout), place.content()
    reading = load_config(Reading, READINGS[layout])
    if "another size" in kind:  # of images that are not resized
        reading = replace(reading, crop="none", image_size=None)
    with pytest.raises(DatasetError) as error:
        read_and_encode(place.root / layout, reading, place.cache, encoder)
    assert named.name in str(error.value)
    assert place.content() == before


def test_whole_recordings_of_every_layout_are_read_and_encoded(whole, place, encoder):
    for layout in LAYOUTS:
        read_and_encode(whole / layout, load_config(Reading, READINGS[layout]), place.cache, encoder)
    assert verify_cache(place.cache) == []


def edit(*keys: str, value: object) -> Callable[[dict], object]:
    """A case: the Reading of v3 with one entry changed."""

    def apply(reading: dict) -> None:
        inner = reading
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    return apply


def with_kinematics(**changes: object) -> Callable[[dict], object]:
    return lambda reading: reading.update(pose=KINEMATICS | changes)


IN_READING: dict[str, tuple[Callable[[dict], object], str]] = {  # and what the error names
    "unknown key": (edit("camara", value="left"), "did you mean 'camera'"),
    "unknown key inside": (edit("pose", "position", "units", value="m"), "did you mean 'pose.position.unit'"),
    "unknown kind of pose": (edit("pose", "kind", value="endeffector"), "did you mean 'end_effector'"),
    "unknown unit": (edit("pose", "position", "unit", value="inch"), "pose.position.unit"),
    "wrong kind of value": (edit("rate", value="fast"), "'rate'"),
    "rate of nothing": (edit("rate", value=0), "rate must be a positive number"),
    "gripper open where it is closed": (edit("pose", "gripper", "open", value=0), "open and closed must differ"),
    "too few indices": (edit("pose", "rotation", "indices", value=[3, 4, 5]), "quaternion_xyzw has 4 indices"),
    "lacking entry": (lambda reading: reading["pose"].pop("position"), "pose.position"),
}
IN_FOLLOWING: dict[str, tuple[Callable[[dict], object], str]] = {
    "index out of range": (edit("pose", "position", "indices", value=[0, 1, 12]), "observation.state"),
    "missing column": (edit("pose", "position", "key", value="observation.pose"), "observation.pose"),
    "missing camera": (edit("camera", value="wrist"), "wrist"),
    "numbers that are no quaternion": (edit("pose", "rotation", "indices", value=[0, 1, 2, 3]), "observation.state"),
    "gripper of another range": (edit("pose", "gripper", "open", value=1), "observation.state"),
    "rate above the recorded": (edit("rate", value=60), "15"),
    "missing model": (with_kinematics(model="nowhere.xml"), "nowhere.xml"),
    "broken model": (with_kinematics(model="broken.xml"), "broken.xml"),
    "unknown joint": (with_kinematics(joints={"key": JOINTS, "names": list("abcdefg"), "unit": "deg"}), "arm.xml"),
    "unknown site": (with_kinematics(site="hand"), "arm.xml"),
}


@pytest.mark.parametrize("kind", IN_READING)
def test_a_broken_reading_is_refused_by_the_name_of_its_file(kind, tmp_path):
    change, named = IN_READING[kind]
    reading = json.loads(json.dumps(READINGS["v3"]))
    change(reading)
    path = tmp_path / "reading.yaml"
    path.write_text(yaml.safe_dump(reading))
    with pytest.raises(ConfigError) as error:
        load_config(Reading, path)
    assert "reading.yaml" in str(error.value) and named in str(error.value)


@pytest.mark.parametrize("content", ["pose: [", "- 1", "\x00"])
def test_a_reading_that_is_no_yaml_mapping_is_refused_by_the_name_of_its_file(content, tmp_path):
    (tmp_path / "reading.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"reading\.yaml"):
        load_config(Reading, tmp_path / "reading.yaml")


@pytest.mark.parametrize("kind", IN_FOLLOWING)
def test_a_reading_that_does_not_fit_the_recordings_is_refused(kind, whole, place, encoder, monkeypatch):
    change, named = IN_FOLLOWING[kind]
    values = json.loads(json.dumps(READINGS["v3"]))
    change(values)
    monkeypatch.chdir(whole)
    (whole / "broken.xml").write_text("<mujoco><body/>")
    before, reading = place.content(), load_config(Reading, values)
    with pytest.raises(ValueError) as error:  # a DatasetError, but for a robot model that is at fault
        read_and_encode(whole / "v3", reading, place.cache, encoder)
    assert isinstance(error.value, DatasetError) or ".xml" in named
    assert named in str(error.value)
    assert place.content() == before


IN_CACHE = {
    "truncated shard": to("shard-00000.npy", truncate),
    "empty shard": to("shard-00000.npy", empty),
    "flipped bit in a shard": to("shard-00000.npy", flip),
    "truncated checksums": to("shard-00000.npy", cut_off(1)),
    "missing checksums": to("shard-00000.npy", cut_off(4)),
    "index of garbage": to("index.json", garble),
    "index cut off": to("index.json", truncate),
    "index of another dataset": to("index.json", text(lambda old: old.replace('"key": "', '"key": "0'))),
}


@pytest.mark.parametrize("kind", IN_CACHE)
def test_a_damaged_cache_is_named_and_left_for_its_owner_to_judge(kind, whole, place, encoder):
    named = IN_CACHE[kind](place.cache)
    before = place.content()
    with pytest.raises(CacheError) as error:
        read_and_encode(whole / "ours", Reading(), place.cache, encoder)
    assert named.stem in str(error.value) or named.parent.name in str(error.value)
    assert place.content() == before


IN_CHECKPOINT = {
    "flipped bit in the predictor": to("predictor.safetensors", flip),
    "truncated predictor": to("predictor.safetensors", truncate),
    "missing predictor": to("predictor.safetensors", delete),
    "flipped bit in the encoder": to("model.safetensors", flip),
    "encoder of garbage": to("model.safetensors", garble),
    "changed encoder config": to("config.json", text(lambda _: "{}")),
    "manifest of garbage": to("manifest.yaml", garble),
    "manifest cut off": to("manifest.yaml", truncate),
    "empty manifest": to("manifest.yaml", empty),
    "manifest with an unknown key": to("manifest.yaml", text(lambda old: old + "colour: red\n")),
    "manifest of another format": to("manifest.yaml", text(lambda old: old.replace("format: 2", "format: 9"))),
}


@pytest.mark.parametrize("kind", IN_CHECKPOINT)
def test_a_damaged_checkpoint_is_named_and_left_alone(kind, place):
    named = IN_CHECKPOINT[kind](place.checkpoint)
    before = place.content()
    with pytest.raises(CheckpointError) as error:
        load_vjepa2_ac(place.checkpoint)
    assert named.name in str(error.value)
    assert place.content() == before


@pytest.mark.parametrize("damage", [truncate, empty, garble, flip])
def test_a_damaged_state_of_a_run_is_named_and_left_alone(damage, whole, place):
    state = place.neighbours / "state.pt"
    shutil.copy(whole / "run.pt", state)
    damage(state)
    before = place.content()
    with pytest.raises(StateError, match=r"state\.pt"):
        load_state(state)
    assert place.content() == before


def test_there_are_at_least_30_kinds():
    kinds = {kind for _, kind in RECORDINGS} | {*IN_READING, *IN_FOLLOWING, *IN_CACHE, *IN_CHECKPOINT}
    assert len(kinds) >= 60
