"""Splits, windows and shuffles."""

from __future__ import annotations

import numpy as np
import pytest

from world_model.data.clips import Shuffle, Windows, split_episodes


def test_training_and_held_out_episodes_are_disjoint_and_complete() -> None:
    split = split_episodes(20, 0.2, seed=3)
    assert len(split.held_out) == 4
    assert sorted(split.training + split.held_out) == list(range(20))
    assert split == split_episodes(20, 0.2, seed=3) != split_episodes(20, 0.2, seed=4)


def test_a_split_always_has_both_sides() -> None:
    assert len(split_episodes(2, 0.01, seed=0).held_out) == 1
    assert len(split_episodes(2, 0.99, seed=0).training) == 1
    with pytest.raises(ValueError, match="at least 2 episodes"):
        split_episodes(1, 0.5, seed=0)


@pytest.mark.parametrize(("frames", "stride"), [(1, 1), (3, 1), (3, 2), (5, 3)])
def test_windows_are_all_there_once_and_never_cross_episodes(frames: int, stride: int) -> None:
    lengths, chosen = [7, 2, 20, 1, 13], [0, 1, 2, 4]
    windows = Windows(lengths, chosen, frames, stride)
    span = (frames - 1) * stride + 1
    expected = {(episode, start) for episode in chosen for start in range(lengths[episode] - span + 1)}
    episodes, starts = windows.locate(np.arange(len(windows)))
    found = list(zip(episodes.tolist(), starts.tolist(), strict=True))
    assert len(found) == len(set(found)) and set(found) == expected


def test_episodes_too_short_for_a_window_are_said_to_be() -> None:
    with pytest.raises(ValueError, match="the longest has 4"):
        Windows([3, 4], [0, 1], frames=5)


def test_a_shuffle_shows_everything_once_an_epoch() -> None:
    shuffle = Shuffle(10, seed=0)
    seen = np.concatenate([shuffle.batch(step, 4) for step in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_a_batch_depends_on_its_step_alone() -> None:
    unbroken = Shuffle(10, seed=1)
    batches = [unbroken.batch(step, 7) for step in range(9)]
    for step in (8, 3, 0):
        assert np.array_equal(Shuffle(10, seed=1).batch(step, 7), batches[step])
    assert len(Shuffle(3, seed=0).batch(2, 10)) == 10
