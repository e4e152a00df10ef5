"""Transcoding recordings to the size and rate that a model learns from: `scripts/dataset.py convert`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
import yaml

from envs.bar import progress
from envs.config import dump_config
from envs.episodes import DatasetError, EpisodeSource
from envs.episodes.check import usable
from envs.episodes.episode import cut_into_runs
from envs.episodes.formats.lerobot import finalize_dataset, read_dataset, shard_exists, write_shard
from envs.episodes.open import load_reading, open_dataset
from envs.episodes.reading import Reading
from envs.folders import begin_folder, check_folder, explained, write_text
from envs.ranges import check_range
from envs.workers import in_processes

SETTINGS_FILE = "convert.yaml"
CHECKED_FILE = "checked.json"
SHARD_BYTES = 256 * 1024 * 1024  # of images, which a process holds in memory


@dataclass(frozen=True)
class Convert:
    """Writes recordings as a LeRobot v3.0 dataset of ours, at the size and rate that a model learns from.

    Every episode is first read in full, and what was found is kept in OUTPUT/checked.json; then they are transcoded.

    Attributes:
        folder: Of the recordings.
        output: Folder of the dataset.
        reading: YAML file that says how to read them, see envs/episodes/reading.py, or the name of a format;
            `inspect --propose` begins one.
        image_size: Side of the square images [pixels]; the centre square unless the Reading has another crop. None: as
            the Reading says.
        rate: Frames a second [Hz]; None: as the Reading says.
        processes: Processes that decode and encode.
        broken: What happens to episodes that can't be read: refuse ends with a list of them, skip leaves them out.
        robot_type: Name of the arm, for meta/info.json.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    reading: Path | None = None
    image_size: int | None = None
    rate: float | None = None
    processes: int = 2
    broken: Literal["refuse", "skip"] = "refuse"
    robot_type: str = "unknown"

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "processes")

    def full_reading(self) -> Reading:
        """Returns the Reading with what the command line changes in it."""
        reading = load_reading(self.reading)
        if self.rate is not None:
            reading = dataclasses.replace(reading, rate=self.rate)
        if self.image_size is not None:
            crop = "square" if reading.crop == "none" else reading.crop
            reading = dataclasses.replace(reading, image_size=self.image_size, crop=crop)
        return reading


def convert(config: Convert) -> str:
    """Returns what was written, in a line; an earlier attempt that was broken off goes on.

    Raises:
        DatasetError: If recordings can't be read, or the output was begun from others or with other settings.
        FolderError: If the output is no folder of a conversion, or can't be written.
    """
    with explained(OUTPUT=config.output):
        check_folder(config.output, "convert", "OUTPUT")
        reading = config.full_reading()
        source = open_dataset(config.folder, reading)
        _remember(config.output, {"reading": dump_config(reading), "recordings": source.fingerprint})
        with progress(total=len(source), unit="episode", desc="check", smoothing=0.05) as bar:
            record = config.output / CHECKED_FILE
            chosen = usable(source, config.broken, bar.update, record=record, processes=config.processes)
        _transcode(chosen, config.output, config.processes)
        finalize_dataset(config.output, config.robot_type)
    written = read_dataset(config.output)
    left_out = len(source) - len(chosen)
    return (
        f"{config.output}: {len(written)} episodes, {sum(written.lengths)} frames at {written.rate:g} Hz, images "
        f"{written.image_shape}" + (f"; {left_out} broken episodes left out, listed in {record}" if left_out else "")
    )


def _remember(output: Path, settings: dict[str, Any]) -> None:
    """Writes the settings beside the data, or checks them against those already there."""
    path, before = output / SETTINGS_FILE, None
    begin_folder(output, "convert", "OUTPUT")
    if path.exists():
        try:
            before = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise DatasetError(f"{path} is not valid YAML ({error}); choose another folder") from error
        if before != settings and any((output / part).exists() for part in ("videos", "data", "meta")):
            raise DatasetError(
                f"{output} was begun with another Reading or from other recordings ({path}); choose another folder"
            )
    if before != settings:  # nothing was begun, or it had come to nothing: its recordings were refused, say
        write_text(path, yaml.safe_dump(settings, sort_keys=False))


def _transcode(source: EpisodeSource, output: Path, processes: int) -> None:
    """Writes the shards that are missing, in parallel, with a progress bar over episodes."""
    shards = cut_into_runs(source.lengths, SHARD_BYTES // int(np.prod(source.image_shape)))
    missing = [(number, shard) for number, shard in enumerate(shards) if not shard_exists(output, number)]
    done = len(source) - sum(len(shard) for _, shard in missing)
    with progress(total=len(source), initial=done, unit="episode", desc="convert", smoothing=0.05) as bar:
        for _ in in_processes(_write, (source, output), missing, processes, bar.update):
            pass


def _write(where: tuple[EpisodeSource, Path], work: tuple[int, range], advanced: Callable[[int], object]) -> None:
    """Writes one shard, and tells of each episode that was read."""
    (source, output), (file, shard) = where, work
    names, episodes = source.names, []
    for number in shard:
        episode = source[number]
        episodes.append(dataclasses.replace(episode, extra={**episode.extra, "recording": names[number]}))
        advanced(1)
    write_shard(output, file, episodes)
