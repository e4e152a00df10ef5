"""Recordings of runs: written step by step, readable whatever ends the program, made an episode to train on.

A recording is one file that is only appended to: `_MAGIC`, then records. A record is its length and CRC-32 (two
little-endian uint32) and that many bytes: the length of a JSON text (uint32), the text, and the image as PNG. The first
record's text describes the run and has no image. A record that was cut short, or anything after it, is not read.

Each record reaches the operating system in one write, so that a killed program loses at most the step under way; only
a power cut may lose the last seconds.
"""

from __future__ import annotations

import fcntl
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
from envs.folders import begin_folder
from envs.pose import difference
from envs.spec import ActionSpec, Observation

FOLDER = "recordings"
RECORD = "record"  # what a folder of recordings is begun as
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
        steps: How many are in it.
    """

    def __init__(self, folder: Path | str, spec: ActionSpec, task: str = "") -> None:
        """Begins the file.

        Args:
            folder: Of recordings, and of the LeRobot v3.0 dataset that `finish` adds them to.
            spec: The arm's actions.
            task: What is being done, in words.

        Raises:
            FolderError: If the folder holds something that was not recorded.
            DatasetError: If it holds recordings of other actions.
            OSError: If the file can't be written.
        """
        self._folder = Path(folder)
        begin_folder(self._folder, RECORD, "--record")
        _check_spec(self._folder, spec)
        recordings = self._folder / FOLDER
        recordings.mkdir(parents=True, exist_ok=True)
        self.path = recordings / f"{time.strftime('%Y-%m-%dT%H-%M-%S')}-{time.monotonic_ns()}{SUFFIX}"
        self.steps = 0
        self._file: int | None = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX)  # until it is closed, or the program ends
        self._size = 0
        try:
            self._append(_MAGIC + _record({"action_spec": spec.to_dict(), "task": task}))
        except OSError:
            self.close()
            self.path.unlink()
            raise

    def record(self, step: RecordedStep) -> None:
        """Appends a step.

        Raises:
            DatasetError: If the recorder was closed.
            OSError: If the step can't be written; the file ends with the one before.
        """
        self._append(_record(_describe(step), step.observation.image))
        self.steps += 1

    def _append(self, content: bytes) -> None:
        """Writes all of it or nothing."""
        if self._file is None:
            raise DatasetError(f"{self.path} is finished: make another Recorder for another run")
        try:
            _write(self._file, content)
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._size += len(content)

    def close(self) -> None:
        """Ends the file. Closing twice does no harm."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def finish(self, robot_type: str) -> None:
        """Ends the file and adds the run to the folder's dataset, see `recording_dataset.add_to_dataset`."""
        self.close()
        from envs.episodes.recording_dataset import add_to_dataset  # imports torch, which recording must not

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
        raise DatasetError(f"{path} is no recording, or was cut short before its first step")
    header = json.loads(records[0][0])
    spec = ActionSpec.from_dict(header["action_spec"])
    length = len(_MAGIC) + sum(_LENGTHS.size + _TEXT.size + len(text) + len(image) for text, image in records)
    steps = tuple(_step(json.loads(text), image) for text, image in records[1:])
    return Recording(spec, header["task"], steps, length == len(content))


def _check_spec(root: Path, spec: ActionSpec) -> None:
    """Returns if the dataset that a folder has, if any, is of these actions."""
    info = root / "meta/info.json"
    if info.is_file():
        there = json.loads(info.read_text(encoding="utf-8"))["vjepa_planner"]["action_spec"]
        if there != json.loads(json.dumps(spec.to_dict())):
            raise DatasetError(f"{root} has recordings of other actions, {there}: record into a folder of its own")


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
