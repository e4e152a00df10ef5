"""Which episodes of a source can't be read, and choosing the others: by name and reason, never silently."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32

from envs.episodes.episode import DatasetError, Episode, EpisodeSource
from envs.folders import write_text
from envs.spec import ActionSpec
from envs.workers import in_processes

logger = logging.getLogger(__name__)

SHOWN = 10  # of many broken episodes, how many an error lists


@dataclass(frozen=True)
class Problem:
    """An episode that can't be read.

    Attributes:
        episode: Its number in the source.
        name: What it is called for people, see `EpisodeSource.names`.
        reason: What is wrong with it; names the file.
    """

    episode: int
    name: str
    reason: str

    def __str__(self) -> str:
        """Returns name and reason, the name once."""
        return self.reason if self.reason.startswith(self.name) else f"{self.name}: {self.reason}"


@dataclass(frozen=True, eq=False)
class Selection:
    """Some episodes of a source, themselves an `EpisodeSource`.

    Attributes:
        source: Where they are from.
        episodes: Their numbers there.
    """

    source: EpisodeSource
    episodes: tuple[int, ...]

    def __post_init__(self) -> None:
        wrong = [episode for episode in self.episodes if not 0 <= episode < len(self.source)]
        if wrong:
            raise DatasetError(f"there are the episodes 0..{len(self.source) - 1}, not {wrong}")

    @property
    def spec(self) -> ActionSpec:
        """See `EpisodeSource.spec`."""
        return self.source.spec

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """See `EpisodeSource.image_shape`."""
        return self.source.image_shape

    @property
    def lengths(self) -> tuple[int, ...]:
        """See `EpisodeSource.lengths`."""
        lengths = self.source.lengths
        return tuple(lengths[episode] for episode in self.episodes)

    @property
    def names(self) -> tuple[str, ...]:
        """See `EpisodeSource.names`."""
        names = self.source.names
        return tuple(names[episode] for episode in self.episodes)

    @property
    def problems(self) -> Mapping[int, str]:
        """See `EpisodeSource.problems`; by the numbers in the selection."""
        problems = self.source.problems
        return {number: problems[episode] for number, episode in enumerate(self.episodes) if episode in problems}

    @property
    def fingerprint(self) -> str:
        """See `EpisodeSource.fingerprint`; says too which episodes were chosen."""
        return self._fingerprint

    @functools.cached_property  # not public: pyright takes no cached_property for a protocol's property
    def _fingerprint(self) -> str:
        return hashlib.sha256(f"{self.source.fingerprint} episodes {self.episodes}".encode()).hexdigest()

    def __len__(self) -> int:
        """Returns the number of episodes."""
        return len(self.episodes)

    def __getitem__(self, episode: int) -> Episode:
        """See `EpisodeSource.__getitem__`."""
        return self.source[self.episodes[episode]]

    def poses_actions(self, episode: int) -> tuple[Float32[np.ndarray, "T P"], Float32[np.ndarray, "T-1 A"]]:
        """See `EpisodeSource.poses_actions`."""
        return self.source.poses_actions(self.episodes[episode])


def find_problems(source: EpisodeSource, report: Callable[[int], object] = int, processes: int = 1) -> list[Problem]:
    """Returns what is wrong with each broken episode, in order, after reading and decoding all of them.

    Args:
        source: Where to look.
        report: Called with numbers of episodes as they are done.
        processes: Processes to decode with.

    Raises:
        ImportError: If what decodes videos is missing.
        WorkerError: If a process was killed.
    """
    size = 1 if processes == 1 else max(1, len(source) // (16 * processes))
    tasks = [range(start, min(start + size, len(source))) for start in range(0, len(source), size)]
    problems: list[Problem] = []
    for found in in_processes(_read_all, source, tasks, processes, report):
        problems += found
    return sorted(problems, key=lambda problem: problem.episode)


def usable(
    source: EpisodeSource,
    broken: Literal["refuse", "skip"] = "refuse",
    report: Callable[[int], object] = int,
    *,
    record: Path | None = None,
    processes: int = 1,
) -> EpisodeSource:
    """Returns the episodes that can be read, after reading and decoding all of them.

    Args:
        source: Where they are.
        broken: What happens to a broken one: "refuse" raises an error that lists them all, "skip" logs a warning that
            names each and leaves it out. The source itself is returned where none is broken.
        report: Called with numbers of episodes as they are done.
        record: JSON file that keeps what was found, so that nothing is decoded a second time while the source's
            fingerprint stays the same.
        processes: Processes to decode with.

    Raises:
        DatasetError: If an episode is broken and that is refused, or if all are.
    """
    problems = _recorded(source, record)
    if problems is None:
        problems = find_problems(source, report, processes)
        if record is not None:
            found = {"fingerprint": source.fingerprint, "problems": [asdict(problem) for problem in problems]}
            write_text(record, json.dumps(found, indent=1) + "\n")
    else:
        report(len(source))
    if problems and (broken == "refuse" or len(problems) == len(source)):
        lines = [f"{len(problems)} of {len(source)} episodes are broken; mend them or leave them out:"]
        lines += [str(problem) for problem in problems[:SHOWN]]
        lines += [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise DatasetError("\n  ".join(lines))
    for problem in problems:
        logger.warning("left out %s", problem)
    left_out = {problem.episode for problem in problems}
    return Selection(source, tuple(e for e in range(len(source)) if e not in left_out)) if left_out else source


def _read_all(source: EpisodeSource, episodes: range, advanced: Callable[[int], object]) -> list[Problem]:
    """Returns what is wrong with those episodes that could not be read and decoded; tells of each."""
    names, known, problems = source.names, source.problems, []
    for episode in episodes:
        reason = known.get(episode) or _read(source, episode)
        problems += [Problem(episode, names[episode], reason)] if reason else []
        advanced(1)
    return problems


def _read(source: EpisodeSource, episode: int) -> str | None:
    """Returns why an episode can't be read, or None if it can."""
    try:
        frames = len(source[episode])
    except DatasetError as error:
        return str(error)
    expected = source.lengths[episode]
    return None if frames == expected else f"{source.names[episode]} has {frames} frames, expected {expected}"


def _recorded(source: EpisodeSource, record: Path | None) -> list[Problem] | None:
    """Returns what was found when the source was last read, or None if it changed since or the record is damaged."""
    if record is None or not record.is_file():
        return None
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        same = found["fingerprint"] == source.fingerprint
        return [Problem(**values) for values in found["problems"]] if same else None
    except (ValueError, TypeError, KeyError):
        logger.warning("%s is damaged; all episodes are read again", record)
        return None
