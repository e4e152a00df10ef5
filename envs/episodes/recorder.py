"""Recordings of runs: written step by step, readable whatever ends the program, made an episode to train on.

A recording is one file that is only appended to: `_MAGIC`, then records. A record is its length and CRC-32 (two
little-endian uint32) and that many bytes: the length of a JSON text (uint32), the text, and the image as PNG. The first
record's text describes the run and has no image. A record that was cut short, or anything after it, is not read.

Each record reaches the operating system in one write, so that a killed program loses at most the step under way; only
a power cut may lose the last seconds.
"""

from __future__ import annotations

import io
import json
import math
import os
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from envs.episodes.episode import DatasetError, Episode
from envs.pose import difference
from envs.spec import ActionSpec, Observation

FOLDER = "recordings"
SUFFIX = ".recording"
_MAGIC = b"vjepa-planner recording 1\n"
_LENGTHS = struct.Struct("<II")
_TEXT = struct.Struct("<I")
_LONGEST = 1 << 28  # bytes of a record; more is damage


@dataclass(frozen=True)
class RecordedStep:
    """One step of a run: what was seen, and what was done from there.

    Attributes:
        observation: What was seen.
        action: What was planned, (A,); None in the last step of a run.
        commanded: The pose (7,) that the action asks for.
        sent: The last set-point (7,) that the driver got in this step.
        reasons: Why commanded and sent differ.
        cost: Of the plan; NaN if unknown.
        seconds: Time that planning took [s]; NaN if unknown.
        timings: Further times by name [s].
    """

    observation: Observation
    action: Float[np.ndarray, "A"] | None = None
    commanded: Float[np.ndarray, "7"] | None = None
    sent: Float[np.ndarray, "7"] | None = None
    reasons: tuple[str, ...] = ()
    cost: float = math.nan
    seconds: float = math.nan
    timings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Recording:
    """What a recording file holds.

    Attributes:
        spec: The arm's actions.
        task: What was being done, in words.
        steps: The complete steps, oldest first.
        complete: Whether the file ends with its last step; False if something was cut short.
    """

    spec: ActionSpec
    task: str
    steps: tuple[RecordedStep, ...]
    complete: bool

    def episode(self) -> Episode:
        """Returns the recording as an episode; its actions are the differences of the measured poses.

        Raises:
            DatasetError: If there are fewer than two steps.
        """
        poses = np.stack([step.observation.pose for step in self.steps]) if self.steps else np.zeros((0, 7))
        return Episode(
            images=np.stack([step.observation.image for step in self.steps]) if self.steps else np.zeros(0, np.uint8),
            poses=poses.astype(np.float32),
            actions=difference(poses[:-1], poses[1:]).astype(np.float32),
            rate=self.spec.rate,
            spec=self.spec,
            task=self.task,
        )


class Recorder:
    """Writes one run below a folder, as ``recordings/<time>.recording``.

    Attributes:
        path: The file.
    """

    def __init__(self, folder: Path | str, spec: ActionSpec, task: str = "") -> None:
        """Begins the file.

        Args:
            folder: Of recordings, and of the LeRobot v3.0 dataset that `finish` adds them to.
            spec: The arm's actions.
            task: What is being done, in words.
        """
        self._folder = Path(folder)
        recordings = self._folder / FOLDER
        recordings.mkdir(parents=True, exist_ok=True)
        self.path = recordings / f"{time.strftime('%Y-%m-%dT%H-%M-%S')}-{time.monotonic_ns()}{SUFFIX}"
        self._file: int | None = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        _write(self._file, _MAGIC + _record({"action_spec": spec.to_dict(), "task": task}))

    def record(self, step: RecordedStep) -> None:
        """Appends a step.

        Raises:
            DatasetError: If the recorder was closed.
        """
        if self._file is None:
            raise DatasetError(f"{self.path} is finished: make another Recorder for another run")
        _write(self._file, _record(_describe(step), step.observation.image))

    def close(self) -> None:
        """Ends the file. Closing twice does no harm."""
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)
            self._file = None

    def finish(self, robot_type: str) -> None:
        """Ends the file and adds the run to the folder's dataset, see `add_to_dataset`."""
        self.close()
        add_to_dataset(self.path, self._folder, robot_type)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_recording(path: Path | str) -> Recording:
    """Returns all complete steps of a recording, also of one whose program was killed.

    Raises:
        DatasetError: If the file is missing or no recording.
    """
    path = Path(path)
    if not path.is_file():
        raise DatasetError(f"{path} is missing; recordings end with {SUFFIX}")
    content = path.read_bytes()
    records = list(_records(content)) if content.startswith(_MAGIC) else []
    if not records:
        raise DatasetError(f"{path} is no recording, or was cut short before its first step: delete it")
    header = json.loads(records[0][0])
    spec = ActionSpec.from_dict(header["action_spec"])
    length = len(_MAGIC) + sum(_LENGTHS.size + _TEXT.size + len(text) + len(image) for text, image in records)
    steps = tuple(_step(json.loads(text), image) for text, image in records[1:])
    return Recording(spec, header["task"], steps, length == len(content))


def add_to_dataset(path: Path | str, root: Path | str, robot_type: str) -> None:
    """Adds a recording as an episode to a LeRobot v3.0 dataset of ours, made if need be; scripts/train.py reads it.

    Args:
        path: The recording.
        root: Folder of the dataset.
        robot_type: Name of the arm.

    Raises:
        DatasetError: If the recording has fewer than two steps, or the dataset's are of another kind.
    """
    from envs.episodes import lerobot, lerobot_layout  # they import torch, which recording must not

    recording, root = read_recording(path), Path(root)
    episode = recording.episode()
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


def _describe(step: RecordedStep) -> dict[str, Any]:
    """Returns everything but the image, for JSON."""
    vectors = {name: getattr(step, name) for name in ("action", "commanded", "sent")}
    return {
        "time": step.observation.time,
        "pose": step.observation.pose.tolist(),
        **{name: None if vector is None else vector.tolist() for name, vector in vectors.items()},
        "reasons": list(step.reasons),
        "cost": step.cost,
        "seconds": step.seconds,
        "timings": dict(step.timings),
    }


def _step(values: dict[str, Any], image: bytes) -> RecordedStep:
    """Returns the step that `_describe` described."""
    pixels = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
    observation = Observation(pixels, np.array(values.pop("pose")), values.pop("time"))
    vectors = {name: values.pop(name) for name in ("action", "commanded", "sent")}
    arrays = {name: None if vector is None else np.array(vector) for name, vector in vectors.items()}
    return RecordedStep(observation, reasons=tuple(values.pop("reasons")), **arrays, **values)


def _record(values: dict[str, Any], image: np.ndarray | None = None) -> bytes:
    """Returns a record."""
    text, pixels = json.dumps(values).encode(), io.BytesIO()
    if image is not None:
        Image.fromarray(image).save(pixels, "PNG", compress_level=1)
    body = _TEXT.pack(len(text)) + text + pixels.getvalue()
    return _LENGTHS.pack(len(body), zlib.crc32(body)) + body


def _records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the text and the image of each record up to the first that is not whole."""
    place = len(_MAGIC)
    while place + _LENGTHS.size <= len(content):
        size, checksum = _LENGTHS.unpack_from(content, place)
        place += _LENGTHS.size
        body = content[place : place + size]
        if not _TEXT.size <= size <= _LONGEST or len(body) != size or zlib.crc32(body) != checksum:
            return
        end = _TEXT.size + _TEXT.unpack_from(body)[0]
        yield body[_TEXT.size : end], body[end:]
        place += size


def _write(file: int, content: bytes) -> None:
    """Writes all of it."""
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]
