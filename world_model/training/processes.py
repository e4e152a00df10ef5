"""The processes that train together: one alone, or those that torchrun or accelerate launch started."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache

import torch
from torch import Tensor, distributed

from world_model.device import find_device

logger = logging.getLogger(__name__)

_LEAVING = timedelta(seconds=10)  # at the end, for one that may never come
PATIENCE = timedelta(days=30)  # while the first process encodes a data set, the others wait


@dataclass(frozen=True)
class Processes:
    """All processes of a run, seen from one of them. What has "all" in its first line must be called by all of them.

    Attributes:
        rank: Number of this one, from 0.
        count: How many there are.
        device: Where this one computes.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def main(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Returns the sum of all processes' values, each as long as the others'."""
        if self.count == 1:
            return values
        total = values.detach().to(self.device, copy=True)
        distributed.all_reduce(total)
        return total

    def any(self, flag: bool) -> bool:
        """Returns whether the flag is set in any of all processes."""
        return flag if self.count == 1 else bool(self.sum(torch.tensor(float(flag))).item())

    def wait(self) -> None:
        """Returns when all processes have come here, however long that takes."""
        if self.count > 1:
            distributed.barrier(_patient_group())

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Lets the main process through alone and then all others, so that they find what it has made on disk."""
        if not self.main:
            self.wait()
        yield
        if self.main:
            self.wait()


@lru_cache(maxsize=1)
def _patient_group() -> distributed.ProcessGroup:
    """Returns the group in which waiting has no time limit to speak of; a usual one gives up after minutes."""
    group = distributed.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(group, distributed.ProcessGroup), "this process belongs to it"
    return group


def find_processes(device: str) -> Processes:
    """Returns the processes that a launcher started, connected, each on a device of its own; without one, this one.

    Args:
        device: Of this process alone any that `device.find_device` knows; of several auto, cuda (each takes a GPU of
            its machine) or cpu.

    Raises:
        ValueError: If there is no such device, or fewer GPUs than processes on a machine.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(device=find_device(device))
    if device not in {"auto", "cuda", "cpu"}:
        raise ValueError(f"several processes train on devices of their own: auto, cuda or cpu, got {device!r}")
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        found = find_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    else:
        found = torch.device("cpu")
    from accelerate import PartialState  # takes seconds, and one process needs none of it

    state = PartialState(cpu=found.type == "cpu")
    return Processes(state.process_index, state.num_processes, found)


def leave_processes() -> None:
    """Ends the connection between the processes, if there is one; a program's last word.

    They leave together, unless one does not come: by gloo, one that goes while another still talks to it may abort.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    if distributed.get_backend() == "gloo":
        try:
            distributed.monitored_barrier(timeout=_LEAVING)
        except RuntimeError as error:
            logger.info("another process has ended already: %s", error)
    distributed.destroy_process_group()
