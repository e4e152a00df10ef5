"""Episodes of a suite on disk: each is there as soon as it is finished, and none is run twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from envs.config import ConfigError
from envs.folders import write_bytes, writing
from planner.evaluation.report import EpisodeRecord
from planner.evaluation.suite_config import Block, file_name
from world_model.training.loop import read_log
from world_model.training.processes import Processes

Episodes = dict[int, dict[str, Any]]
"""What `EpisodeRecord.to_dict` gives, by the seed."""

T = TypeVar("T")


class BlockStore:
    """The files of one block: <row>/<column>.jsonl, and <column>.<rank>.jsonl while a process is adding to it.

    The first line of each holds the block's identity, every other one an episode. A process adds to its own file only;
    when the block is finished the main process puts all episodes into the first one.
    """

    def __init__(self, folder: Path, block: Block, processes: Processes) -> None:
        """Takes where the files of all blocks are, the block and this process."""
        self._processes = processes
        self._identity = json.loads(json.dumps(block.identity()))
        self._folder, self._name = folder / file_name(block.row), file_name(block.column)
        self._path, self._part = (self._folder / f"{self._name}{part}.jsonl" for part in ("", f".{processes.rank}"))

    def read(self) -> Episodes:
        """Returns the episodes on this machine's disk; one that a kill cut short is left out.

        Raises:
            ConfigError: If they are of other settings or of another checkpoint.
        """
        found: Episodes = {}
        for path in sorted(self._folder.glob(f"{self._name}.*jsonl")):
            lines: list[dict[str, Any]] = read_log(path, numbered=False)
            if lines:
                self._check(path, lines[0])
                found |= {episode["seed"]: episode for episode in lines[1:]}
        return found

    def read_all(self) -> Episodes:
        """Returns the episodes on all machines' disks, in the order of the seeds; to be called by all processes."""
        found = gather([self.read()], self._processes)
        return dict(sorted((seed, episode) for episodes in found for seed, episode in episodes.items()))

    @contextmanager
    def adding(self) -> Iterator[Callable[[EpisodeRecord], object]]:
        """Yields what adds a finished episode to this process's own file."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lines = read_log(self._part, numbered=False) or [self._identity]
        write_bytes(self._part, _to_lines(lines))  # without the line that a kill cut short
        with writing(self._part), self._part.open("a", buffering=1, encoding="utf-8") as file:
            yield lambda record: file.write(json.dumps(record.to_dict()) + "\n")

    def finish(self, episodes: Episodes) -> None:
        """Puts all episodes into one file of the main process; to be called by all processes."""
        if self._processes.main:
            write_bytes(self._path, _to_lines([self._identity, *episodes.values()]))
        self._processes.wait()
        for part in self._folder.glob(f"{self._name}.*.jsonl"):
            part.unlink(missing_ok=True)  # where processes share a disk another one may be faster

    def _check(self, path: Path, before: Mapping[str, Any]) -> None:
        """Returns if the identity in a file is the block's."""
        then, now = _flatten(before), _flatten(self._identity)
        differing = [
            f"{name}: {then.get(name)!r} then, {now.get(name)!r} now"
            for name in sorted(then.keys() | now.keys())
            if then.get(name) != now.get(name)
        ]
        if differing:
            raise ConfigError(
                f"{path} has episodes of other settings: {'; '.join(differing)}. Name another --output, or delete this "
                "file to run them again"
            )


def gather(values: Sequence[T], processes: Processes) -> list[T]:
    """Returns the values of all processes, however long they take; to be called by all of them."""
    if processes.count == 1:
        return list(values)
    processes.wait()
    from accelerate.utils import gather_object  # takes seconds, and one process needs none of it

    return gather_object(list(values))


def _to_lines(values: Sequence[Mapping[str, Any]]) -> bytes:
    """Returns JSON lines."""
    return "".join(f"{json.dumps(value)}\n" for value in values).encode()


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested mappings as one, its keys dotted."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
