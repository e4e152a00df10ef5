"""Broken episodes are found by name and reason, refused or left out, and never silently."""

import json
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from moving_square import MovingSquare

from envs.episodes import DatasetError, Episode
from envs.episodes.check import Problem, Selection, find_problems, usable
from envs.workers import WorkerError, in_processes


@dataclass(frozen=True)
class PartlyBroken(MovingSquare):
    """Some episodes were found broken when opening, others break when their images are decoded."""

    found: Mapping[int, str] = field(default_factory=lambda: {1: "one.mp4 is missing"})
    breaks: tuple[int, ...] = (3,)

    @property
    def problems(self) -> dict[int, str]:
        return dict(self.found)

    def __getitem__(self, episode: int) -> Episode:
        if episode in self.found:
            raise DatasetError(self.found[episode])
        if episode in self.breaks:
            raise DatasetError(f"{episode}.mp4 is truncated")
        return super().__getitem__(episode)


SOURCE = PartlyBroken((5, 0, 6, 7, 8))
FOUND = [Problem(1, "square 1", "one.mp4 is missing"), Problem(3, "square 3", "3.mp4 is truncated")]


class Untouchable(PartlyBroken):
    """May be asked for what it is, not for episodes."""

    def __getitem__(self, episode: int) -> Episode:
        raise AssertionError("decoded again")


@pytest.mark.parametrize("processes", [1, 2])
def test_every_broken_episode_is_found_by_name_and_reason(processes):
    done: list[int] = []
    assert find_problems(SOURCE, done.append, processes) == FOUND
    assert sum(done) == len(SOURCE)


def test_an_episode_of_another_length_than_said_is_broken():
    class TooLong(MovingSquare):
        def __getitem__(self, episode: int) -> Episode:
            return MovingSquare((9, 9))[episode]

    assert find_problems(TooLong((9, 4))) == [Problem(1, "square 1", "square 1 has 9 frames, expected 4")]


def test_broken_episodes_are_refused_with_all_their_names():
    with pytest.raises(DatasetError) as error:
        usable(SOURCE, "refuse")
    assert str(error.value).splitlines()[0] == "2 of 5 episodes are broken; mend them or leave them out:"
    assert "square 1: one.mp4 is missing" in str(error.value)
    assert "square 3: 3.mp4 is truncated" in str(error.value)


def test_skipped_episodes_are_each_warned_of_and_the_others_keep_their_content(caplog):
    with caplog.at_level(logging.WARNING):
        kept = usable(SOURCE, "skip")
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["left out square 1: one.mp4 is missing", "left out square 3: 3.mp4 is truncated"]
    assert (len(kept), kept.lengths, kept.names) == (3, (5, 6, 8), ("square 0", "square 2", "square 4"))
    assert kept.problems == {}
    assert (kept.spec, kept.image_shape) == (SOURCE.spec, SOURCE.image_shape)
    for number, episode in enumerate((0, 2, 4)):
        np.testing.assert_array_equal(kept[number].images, SOURCE[episode].images)
        np.testing.assert_array_equal(kept.poses_actions(number)[0], SOURCE.poses_actions(episode)[0])


def test_a_source_without_broken_episodes_stays_itself():
    whole = PartlyBroken((5, 6), found={}, breaks=())
    assert usable(whole, "refuse") is whole


def test_nothing_is_left_of_a_source_with_broken_episodes_alone():
    with pytest.raises(DatasetError, match="2 of 2 episodes are broken"):
        usable(PartlyBroken((0, 0), found={0: "a", 1: "b"}), "skip")


def test_a_selection_has_a_fingerprint_of_its_own_and_says_what_is_broken_in_it():
    selections = [Selection(SOURCE, episodes) for episodes in ((0, 1), (1, 0), (0, 1, 2))]
    assert len({SOURCE.fingerprint, *(selection.fingerprint for selection in selections)}) == 4
    assert selections[0].fingerprint == Selection(SOURCE, (0, 1)).fingerprint
    assert [dict(selection.problems) for selection in selections[:2]] == [
        {1: "one.mp4 is missing"},
        {0: "one.mp4 is missing"},
    ]
    with pytest.raises(DatasetError, match=r"there are the episodes 0\.\.4, not \[5\]"):
        Selection(SOURCE, (0, 5))


def test_what_was_found_is_kept_until_the_recordings_change(tmp_path):
    record = tmp_path / "cache/checked.json"
    assert len(usable(SOURCE, "skip", record=record)) == 3
    done: list[int] = []
    again = usable(Untouchable(SOURCE.lengths), "skip", done.append, record=record)
    assert (again.names, done) == (("square 0", "square 2", "square 4"), [5])
    with pytest.raises(AssertionError, match="decoded again"):
        usable(Untouchable(SOURCE.lengths, seed=1), "skip", record=record)


@pytest.mark.parametrize("content", ["{", "[]", '{"problems": [{"a": 1}]}'])
def test_a_damaged_record_is_made_again(tmp_path, caplog, content):
    record = tmp_path / "checked.json"
    record.write_text(content)
    assert len(usable(SOURCE, "skip", record=record)) == 3
    assert f"{record} is damaged" in caplog.text
    assert json.loads(record.read_text())["fingerprint"] == SOURCE.fingerprint


def test_a_killed_process_is_an_error_and_not_a_wait_for_ever():
    tasks = [0, signal.SIGKILL]
    with pytest.raises(WorkerError, match="one of 2 processes was killed"):
        list(in_processes(kill_unless_this_is, os.getpid(), tasks, 2))


def kill_unless_this_is(parent: int, number: int) -> None:
    assert os.getpid() != parent
    if number:
        os.kill(os.getpid(), number)


def test_giving_up_ends_what_is_being_done_however_long_it_takes_and_however_large_it_is():
    results = in_processes(sleep, bytes(10_000_000), [0.0, *([600.0] * 6)], 2)
    assert next(results) == 10_000_000
    children = set(multiprocessing.active_children())
    results.close()
    assert children and not children & set(multiprocessing.active_children())


def sleep(content: bytes, seconds: float) -> int:
    time.sleep(seconds)
    return len(content)
