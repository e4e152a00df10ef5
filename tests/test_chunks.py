"""Scoring in parts: the same costs and gradients, in whatever memory there is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import planner.search.chunks
from planner.search.chunks import Chunks
from world_model.memory import free_memory, is_out_of_memory, measure_peak

ACTIONS = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(0))


class Recorder:
    """A score that notes the sizes of its parts and has room for so many sequences."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.sizes: list[int] = []

    def __call__(self, actions: Tensor) -> Tensor:
        if len(actions) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        self.sizes.append(len(actions))
        return actions.pow(3).sum(dim=(1, 2))


def expected() -> Tensor:
    return ACTIONS.pow(3).sum(dim=(1, 2))


@pytest.mark.parametrize("size", [1, 7, 50, 64, None])
def test_costs_do_not_depend_on_the_parts(size: int | None) -> None:
    recorder = Recorder()
    assert torch.equal(Chunks(size).score(recorder, ACTIONS), expected())
    if size:
        assert max(recorder.sizes) == min(size, 50) and sum(recorder.sizes) == 50


@pytest.mark.parametrize("size", [1, 7, 64, None])
def test_gradients_are_those_of_the_whole(size: int | None) -> None:
    actions = ACTIONS.clone().requires_grad_()
    costs = Chunks(size).score(Recorder(), actions)
    (gradient,) = torch.autograd.grad((costs * torch.arange(50)).sum(), actions)
    assert torch.equal(costs.detach(), expected())
    torch.testing.assert_close(gradient, torch.arange(50)[:, None, None] * 3 * ACTIONS.pow(2))


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("room", [1, 3, 20])
def test_parts_shrink_until_they_fit(room: int, gradient: bool) -> None:
    recorder, chunks = Recorder(room), Chunks()
    actions = ACTIONS.clone().requires_grad_(gradient)
    assert torch.equal(chunks.score(recorder, actions).detach(), expected())
    recorder.sizes.clear()
    chunks.score(recorder, actions)
    assert max(recorder.sizes) <= room and sum(recorder.sizes) == 50, "it did not remember the size"


def test_no_room_for_one_sequence_is_a_clear_error() -> None:
    with pytest.raises(MemoryError, match="not enough memory to predict one action sequence: use a shorter horizon"):
        Chunks().score(Recorder(room=0), ACTIONS)


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def broken(actions: Tensor) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        Chunks().score(broken, ACTIONS)


@pytest.mark.skipif(free_memory(torch.device("cpu")) is None, reason="this system does not tell its free memory")
def test_size_follows_from_what_a_sequence_takes_and_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(actions: Tensor) -> Tensor:  # 40 MB a sequence
        return torch.ones(len(actions), 10_000_000).sum(dim=1)

    sizes: list[int] = []

    def watched(actions: Tensor) -> Tensor:
        sizes.append(len(actions))
        return hungry(actions)

    Chunks().score(watched, ACTIONS)
    assert sizes[-2] == 4, "more would not be faster on a CPU"
    monkeypatch.setattr(planner.search.chunks, "free_memory", lambda device: 130_000_000)
    sizes.clear()
    Chunks().score(watched, ACTIONS)
    assert sizes[-2] == 2, "0.7 x 130 MB / 40 MB is 2"


@pytest.mark.skipif(free_memory(torch.device("cpu")) is None, reason="this system does not tell its free memory")
def test_peak_is_what_a_block_takes_at_most() -> None:
    with measure_peak(torch.device("cpu")) as peak:
        torch.ones(50_000_000).sum()
        torch.ones(25_000_000).sum()
    assert peak.bytes is not None and 180e6 < peak.bytes < 260e6


def test_errors_of_other_devices_are_known() -> None:
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"))
    assert not is_out_of_memory(RuntimeError("device-side assert"))
