"""How many actions a way to a goal is asked to have, frame after frame."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor

from planner.proposals.config import PaceConfig
from planner.proposals.pace import Pace
from world_model.compact import CompactModel

LONGEST = 24


def said(shares: dict[int, float]) -> Tensor:
    """Returns what a judge says (1, K + 1), as logits: shares of numbers of actions, the rest spread over all."""
    likely = torch.full((1, LONGEST + 1), 0.001)
    for number, share in shares.items():
        likely[0, number] = share
    return likely.log() + 3.0  # a judge's logits are no logarithms of shares


def counts(pace: Pace, frames: list[Tensor]) -> list[int]:
    """Returns how many actions are asked for after each of some frames."""
    unused = torch.zeros(1, 1)
    seen = [pace.over(torch.cat(frames[: end + 1])) for end in range(len(frames))]
    return [int(pace(believed, unused, unused, unused)) for believed in seen]


def make_pace(**settings: float) -> Pace:
    return Pace(PaceConfig(**settings), cast(CompactModel, None))


def test_a_goal_that_stays_an_action_away_is_not() -> None:
    frames = [said({1: 0.1, 8: 0.8})] * 4
    assert counts(make_pace(forget=1.0), frames) == [1, 1, 1, 1]
    first, *later = counts(make_pace(), frames)
    assert first == 1 and all(count > 5 for count in later)


def test_a_way_that_was_taken_up_is_gone_on_with() -> None:
    frames = [said({8: 0.9}), said({1: 0.4, 7: 0.5}), said({1: 0.4, 6: 0.5})]
    assert counts(make_pace(forget=1.0), frames) == [8, 1, 1]
    assert counts(make_pace(), frames) == [8, 7, 6]


def test_what_is_plainly_seen_is_believed_at_once() -> None:
    frames = [said({8: 0.9}), said({1: 50.0}), said({0: 50.0}), said({9: 50.0})]
    assert counts(make_pace(), frames) == [8, 1, 0, 9]


def test_nothing_is_there_by_reckoning() -> None:
    frames = [said({1: 0.9}), said({0: 0.4, 4: 0.6}), said({0: 0.6, 4: 0.4})]
    assert counts(make_pace(), frames) == [1, 4, 0]


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_frames_one_by_one_are_frames_at_once(frames: int) -> None:
    pace, logits = make_pace(), torch.randn(frames, LONGEST + 1, generator=torch.Generator().manual_seed(frames))
    believed = None
    for each in logits:
        believed = pace.after(believed, each[None])
    assert believed is not None and torch.allclose(believed.softmax(-1), pace.over(logits).softmax(-1), atol=1e-6)


def test_a_memory_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="forget"):
        PaceConfig(forget=0.0)
