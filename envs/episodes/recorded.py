"""Somebody's recordings as episodes: frames chosen in time, numbers made poses, images cropped. One class for all."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
from jaxtyping import Float, Float32, Int

from envs.config import dump_config
from envs.episodes.angles import check_half_turns
from envs.episodes.episode import DatasetError, Episode, check_rows
from envs.episodes.frames import OFF_RATE, choose_parts, prepare_images, prepared_shape, read_clock
from envs.episodes.reading import ForwardKinematics, Joints, PoseRule, Reading
from envs.episodes.recordings import Recordings, Remarks, Rows
from envs.pose import motion_of
from envs.spec import ActionSpec

logger = logging.getLogger(__name__)

_SHOWN = 3  # of many broken episodes, when none can be read


@dataclass(frozen=True, eq=False)
class RecordedEpisodes:
    """Somebody's recordings as an `EpisodeSource`, opened by `envs.episodes.open.open_dataset`.

    Cheap to hold and to send to another process: of each episode it knows the frames to read.

    Attributes:
        recordings: As they are on disk.
        reading: What to make of them.
        rule: What makes poses of their numbers.
        spec: Meaning of the actions, the differences of the poses.
        image_shape: (h, w, 3) of the images that are handed out.
        names: See `EpisodeSource.names`.
        sources: Of each episode, the number of the recording that it is, or is a part of.
        frames: Of each episode, the indices of the recorded frames that make it up; none of a broken one.
        problems: See `EpisodeSource.problems`.
        fingerprint: Changes with the Reading, with any pose and with the size of a file of images.
    """

    recordings: Recordings
    reading: Reading
    rule: PoseRule
    spec: ActionSpec
    image_shape: tuple[int, int, int]
    names: tuple[str, ...]
    sources: tuple[int, ...]
    frames: tuple[Int[np.ndarray, "T"], ...]
    problems: Mapping[int, str]
    fingerprint: str

    def __len__(self) -> int:
        """Returns the number of episodes."""
        return len(self.frames)

    def __iter__(self) -> Iterator[Episode]:
        """Yields each episode in order, decoding one at a time."""
        return (self[episode] for episode in range(len(self)))

    @property
    def rate(self) -> float:
        """Frames a second [Hz]."""
        return self.spec.rate

    @property
    def lengths(self) -> tuple[int, ...]:
        """Frames of each episode; 0 of a broken one."""
        return tuple(len(frames) for frames in self.frames)

    def __getitem__(self, episode: int) -> Episode:
        """Returns an episode with its images.

        Raises:
            DatasetError: If it is broken, naming it and the file at fault.
        """
        rows, poses, actions = self._read(episode)
        try:
            batches = self.recordings.images(self.sources[episode], self.frames[episode])
            images = np.concatenate([prepare_images(batch, self.reading) for batch in batches])
            if images.shape[1:] != self.image_shape:
                raise DatasetError(f"its images are {images.shape[1:]}, those of the others {self.image_shape}")
            return Episode(images, poses, actions, self.rate, self.spec, rows.task, rows.seed, rows.extra)
        except DatasetError as error:
            self._refuse(episode, error)

    def poses_actions(self, episode: int) -> tuple[Float32[np.ndarray, "T P"], Float32[np.ndarray, "T-1 A"]]:
        """Returns poses and actions of an episode without decoding images.

        Raises:
            DatasetError: If it is broken, naming it and the file at fault.
        """
        return self._read(episode)[1:]

    def _read(self, episode: int) -> tuple[Rows, Float32[np.ndarray, "T P"], Float32[np.ndarray, "T-1 A"]]:
        """Returns an episode's rows, and the poses and actions of its frames."""
        if episode in self.problems:
            raise DatasetError(f"{self.names[episode]}: {self.problems[episode]}")
        try:
            rows = self.recordings.read(self.sources[episode], self.rule.keys)
            poses, _ = _poses(self.rule, rows, self.frames[episode])
            return rows, poses, _actions(self.spec, poses)
        except DatasetError as error:
            self._refuse(episode, error)

    def _refuse(self, episode: int, error: DatasetError) -> NoReturn:
        raise DatasetError(f"{self.names[episode]}: {error}") from error


def index_recordings(
    recordings: Recordings, reading: Reading, rule: PoseRule, spec: ActionSpec | None = None
) -> RecordedEpisodes:
    """Returns recordings as an `EpisodeSource` after checking everything that can be checked without decoding.

    Reads the numbers of all episodes once: to find the broken ones, how far actions go and the fingerprint.

    Args:
        recordings: As they are on disk.
        reading: What to make of them.
        rule: What makes poses of their numbers.
        spec: Of the actions as recorded, where it is known.

    Raises:
        DatasetError: If no episode can be read, with reasons.
    """
    recorded = reading.recorded_rate or recordings.rate
    if reading.time_base == "physical" and reading.rate is not None and reading.rate > recorded * (1 + 1e-6):
        raise DatasetError(
            f"the recordings have {recorded:g} frames a second, a rate of {reading.rate:g} was asked for"
        )
    means, nothing = rule.dimensions, (0.0,) * len(rule.dimensions.names)
    kind = ActionSpec(means.names, means.units, nothing, nothing, means.frame, reading.rate or recorded)
    logger.info("reading the numbers of %d episodes", len(recordings.names))
    indexed: dict[int, _Indexed] = {}
    names, sources, problems, remarks = [], [], {}, Remarks()
    for source, name in enumerate(recordings.names):
        try:
            found = _index_recording(recordings, reading, rule, kind, source, remarks)
            indexed |= dict(enumerate(found.values(), start=len(names)))
        except DatasetError as error:
            problems[len(names)], found = str(error), {"": None}
        names += [name + part for part in found]
        sources += [source] * len(found)
    if not indexed:
        reasons = "; ".join(f"{names[episode]}: {problems[episode]}" for episode in list(problems)[:_SHOWN])
        raise DatasetError(f"none of {len(problems)} episodes can be read. {reasons}")
    _remark_wraps(names, indexed)
    shape = Counter(found.shape for found in indexed.values()).most_common(1)[0][0]
    others = [episode for episode, found in indexed.items() if found.shape != shape]
    problems |= {episode: f"its images are {indexed.pop(episode).shape}, most others' {shape}" for episode in others}
    low, high = _bounds(reading, kind, spec, np.max([found.largest for found in indexed.values()], axis=0))
    spec, broken = replace(kind, low=low, high=high), np.zeros(0, np.int32)
    frames = tuple(indexed[i].frames if i in indexed else broken for i in range(len(names)))
    fingerprint, problems = _fingerprint(names, reading, spec, indexed), dict(sorted(problems.items()))
    places = tuple(names), tuple(sources), frames
    return RecordedEpisodes(recordings, reading, rule, spec, shape, *places, problems, fingerprint)


@dataclass(frozen=True)
class _Indexed:
    """What is kept of an episode: its frames, the shape of its images, its largest actions, a hash, where it wraps."""

    frames: Int[np.ndarray, "T"]
    shape: tuple[int, int, int]
    largest: Float[np.ndarray, "A"]
    digest: bytes
    wraps: str


def _index_recording(
    recordings: Recordings, reading: Reading, rule: PoseRule, kind: ActionSpec, source: int, remarks: Remarks
) -> dict[str, _Indexed]:
    """Returns what is kept of a recording's episode, or episodes, by what is added to its name.

    Raises:
        DatasetError: If it is broken.
    """
    rows, footage = recordings.read(source, rule.keys), recordings.footage(source)
    length = _common_length(recordings, source, len(rows.times), footage.frames, remarks)
    times, rate = rows.times[:length], reading.recorded_rate or recordings.rate
    counted = bool(reading.recorded_rate) or reading.time_base == "vjepa2_compat"  # frames, whatever the times say
    clock = read_clock(np.arange(length) / rate if counted else times, rate, rows.exact)
    parts = choose_parts(clock, footage.rate, rate, reading, rows.exact)
    if length > 1 and abs(1 / (clock.period * rate) - 1) > OFF_RATE:
        told = f"its clock shows {1 / clock.period:.4g} frames a second, {rate:g} are stated; the clock counts"
        remarks.add(recordings.names[source], told)
    whole = {part.name: part.frames for part in parts if len(part.frames) > 1}
    if not whole:
        frames = max(len(part.frames) for part in parts)
        raise DatasetError(f"it has {length} frames, {frames} at {kind.rate:g} Hz: too few for an action")
    for part in parts:
        if part.name not in whole:
            few = f"it has {len(part.frames)} frames at {kind.rate:g} Hz, too few for an action, and is left out"
            remarks.add(recordings.names[source] + part.name, few)
    shape = prepared_shape((footage.height, footage.width), reading)
    content = hashlib.sha256(json.dumps([rows.extra, dict(recordings.file_sizes(source))]).encode())
    for key in rule.keys:
        content.update(np.ascontiguousarray(rows.columns[key]).tobytes())
    indexed = {}
    for name, frames in whole.items():
        poses, wraps = _poses(rule, rows, frames)
        largest = np.abs(_actions(kind, poses)).max(axis=0).astype(np.float64)
        digest = hashlib.sha256(content.digest() + frames.tobytes() + poses.tobytes()).digest()
        indexed[name] = _Indexed(frames, shape, largest, digest, wraps)
    return indexed


def _remark_wraps(names: Sequence[str], indexed: Mapping[int, _Indexed]) -> None:
    """Logs where joints wrapped."""
    wrapped = [episode for episode, found in indexed.items() if found.wraps]
    if wrapped:
        logger.warning(
            "joints wrap by whole turns in %d of %d episodes and are followed over them; the first: %s: %s",
            *(len(wrapped), len(indexed), names[wrapped[0]], indexed[wrapped[0]].wraps),
        )


def _fingerprint(names: Sequence[str], reading: Reading, spec: ActionSpec, indexed: Mapping[int, _Indexed]) -> str:
    """Returns a hash of the Reading and of all that is kept of the episodes; model and calibration count by content."""
    described = dump_config(reading)
    if reading.format is None:
        del described["format"]  # it was found by looking, and what was read follows
    if isinstance(reading.pose, ForwardKinematics):
        described["pose"]["model"] = hashlib.sha256(reading.pose.model.read_bytes()).hexdigest()
    if isinstance(reading.pose, ForwardKinematics | Joints) and reading.pose.joints.calibration is not None:
        calibration = hashlib.sha256(reading.pose.joints.calibration.read_bytes()).hexdigest()
        described["pose"]["joints"]["calibration"] = calibration
    digest = hashlib.sha256(json.dumps([described, spec.names, spec.units, spec.frame, spec.rate]).encode())
    for episode, name in enumerate(names):
        digest.update(name.encode() + b"\0" + (indexed[episode].digest if episode in indexed else b"broken"))
    return digest.hexdigest()


def _common_length(recordings: Recordings, episode: int, rows: int, frames: int, remarks: Remarks) -> int:
    """Returns how many rows have a frame: one of either may be left over at the end, which is remarked unless usual."""
    spare = recordings.spare_rows
    if abs(rows - frames) > 1:
        allowed = f" ({spare} row more is usual)" if spare else ""
        raise DatasetError(f"there are {rows} rows of numbers and {frames} video frames{allowed}: lengths do not match")
    if not 0 <= rows - frames <= spare:
        what = "a frame without a row" if frames > rows else "a row without a frame"
        remarks.add(recordings.names[episode], f"it ends with {what}, which is left out")
    return min(rows, frames)


def _poses(rule: PoseRule, rows: Rows, frames: Int[np.ndarray, "T"]) -> tuple[Float32[np.ndarray, "T P"], str]:
    """Returns the poses of chosen frames, whole turns followed over all rows, and where the first was, in words."""
    columns, wraps = rule.continuous(rows.columns)
    chosen = {key: values[frames] for key, values in columns.items()}
    try:
        return check_rows("poses", rule.poses(chosen), len(frames)), wraps
    except DatasetError as error:
        if len(frames) == len(rows.times):
            raise
        raise DatasetError(f"{error} (rows are counted over the {len(frames)} frames that were chosen)") from error


def _actions(spec: ActionSpec, poses: Float32[np.ndarray, "T P"]) -> Float32[np.ndarray, "T-1 A"]:
    """Returns the differences of consecutive poses; raises DatasetError if one is over half a turn."""
    wide = poses.astype(np.float64)
    actions = motion_of(spec).difference(wide[:-1], wide[1:]).astype(np.float32)
    check_half_turns(actions, spec)
    return actions


def _bounds(
    reading: Reading, kind: ActionSpec, spec: ActionSpec | None, largest: Float[np.ndarray, "A"]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the bounds of actions: as the Reading or the recordings' own spec says, or as far as was measured."""
    if reading.action_bounds is not None:
        return reading.action_bounds.low, reading.action_bounds.high
    if spec is not None:
        scale = spec.rate / kind.rate
        return tuple(scale * bound for bound in spec.low), tuple(scale * bound for bound in spec.high)
    return tuple((-largest).tolist()), tuple(largest.tolist())
