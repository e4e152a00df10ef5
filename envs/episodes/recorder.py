"""Recordings of runs: written step by step, readable whatever ends the program, made an episode to train on.

A recording is one file that is only appended to: `_MAGIC`, then records. A record is a msgpack list of a CRC-32 and the
bytes that it is of: a msgpack map, of the first record the description of the run, of the others a step with its image
as PNG. A record that was cut short or damaged, or anything after it, is not read.

Each record reaches the operating system in one write, so that a killed program loses at most the step under way; only
a power cut may lose the last seconds.
"""

from __future__ import annotations

import fcntl
import io
import json
import math
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
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
_MAGIC = b"vjepa-planner recording 2\n"


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
            folder: Of recordings, and of the LeRobot v3.0 dataset that `recording_dataset.add_to_dataset` adds them to.
            spec: The arm's actions.
            task: What is being done, in words.

        Raises:
            FolderError: If the folder holds something that was not recorded.
            DatasetError: If it holds recordings of other actions.
            OSError: If the file can't be written.
        """
        begin_folder(Path(folder), RECORD, "--record")
        _check_spec(Path(folder), spec)
        recordings = Path(folder) / FOLDER
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
        self._append(_record(_describe(step)))
        self.steps += 1

    def _append(self, content: bytes) -> None:
        """Writes all of it or nothing."""
        if self._file is None:
            raise DatasetError(f"{self.path} is finished: make another Recorder for another run")
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(self._file, rest) :]
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
    header, (*_, (_, end)) = records[0][0], records
    steps = tuple(_step(values) for values, _ in records[1:])
    return Recording(ActionSpec.from_dict(header["action_spec"]), header["task"], steps, end == len(content))


def _check_spec(root: Path, spec: ActionSpec) -> None:
    """Returns if the dataset that a folder has, if any, is of these actions."""
    info = root / "meta/info.json"
    if info.is_file():
        there = json.loads(info.read_text(encoding="utf-8"))["vjepa_planner"]["action_spec"]
        if there != json.loads(json.dumps(spec.to_dict())):
            raise DatasetError(f"{root} has recordings of other actions, {there}: record into a folder of its own")


def _describe(step: RecordedStep) -> dict[str, Any]:
    """Returns a step as a record has it."""
    image, vectors = io.BytesIO(), {name: getattr(step, name) for name in ("action", "commanded", "sent")}
    Image.fromarray(step.observation.image).save(image, "PNG", compress_level=1)
    return {
        "image": image.getvalue(),
        "time": step.observation.time,
        "pose": step.observation.pose.tolist(),
        **{name: None if vector is None else vector.tolist() for name, vector in vectors.items()},
        "reasons": list(step.reasons),
        "cost": step.cost,
        "seconds": step.seconds,
        "timings": dict(step.timings),
    }


def _step(values: dict[str, Any]) -> RecordedStep:
    """Returns the step that `_describe` described."""
    pixels = np.asarray(Image.open(io.BytesIO(values.pop("image"))).convert("RGB"))
    observation = Observation(pixels, np.array(values.pop("pose")), values.pop("time"))
    vectors = {name: values.pop(name) for name in ("action", "commanded", "sent")}
    arrays = {name: None if vector is None else np.array(vector) for name, vector in vectors.items()}
    return RecordedStep(observation, reasons=tuple(values.pop("reasons")), **arrays, **values)


def _record(values: dict[str, Any]) -> bytes:
    """Returns a record."""
    packer = msgpack.Packer()
    body = packer.pack(values)
    return packer.pack([zlib.crc32(body), body])


def _records(content: bytes) -> Iterator[tuple[dict[str, Any], int]]:
    """Yields each record up to the first that is not whole, and where it ends."""
    reader = msgpack.Unpacker(max_buffer_size=len(content))
    reader.feed(memoryview(content)[len(_MAGIC) :])
    try:
        for checksum, body in reader:
            if zlib.crc32(body) != checksum:
                return
            yield msgpack.unpackb(body), len(_MAGIC) + reader.tell()
    except (ValueError, TypeError):  # damage that is another message, or none
        return
