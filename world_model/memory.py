"""How much memory a device has free, and how much a computation takes there."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS, _CLEAR, _MEMORY = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/meminfo")
_GROUPS = (  # a container's limit and use, in both generations of control groups
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def give_back_memory() -> None:
    """Gives freed memory back to the system, where that can be asked for.

    Between images that threads decode and shrink glibc's heap keeps holes: gigabytes, over a hundred thousand frames.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@dataclass
class Peak:
    """What `measure_peak` found: bytes beyond those in use before; None where the system can't tell."""

    bytes: int | None = None


@contextmanager
def measure_peak(device: torch.device) -> Iterator[Peak]:
    """Measures the most memory that the block takes on a device: torch's own count on CUDA, Linux' on the CPU."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        torch.cuda.synchronize(device)
        peak.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    before = _reset_resident() if device.type == "cpu" else None
    yield peak
    if before is not None:
        peak.bytes = max(0, _kilobytes(_STATUS, "VmHWM:") * 1024 - before)


def free_memory(device: torch.device) -> int | None:
    """Returns the bytes that can still be taken on a device; None where the system can't tell."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    if not _MEMORY.is_file():
        return None
    free = [_kilobytes(_MEMORY, "MemAvailable:") * 1024]
    for limit, use in _GROUPS:
        if limit.is_file() and use.is_file() and limit.read_text(encoding="utf-8").strip().isdigit():
            free.append(int(limit.read_text(encoding="utf-8")) - int(use.read_text(encoding="utf-8")))
    return max(0, min(free))


def is_out_of_memory(error: RuntimeError) -> bool:
    """Returns whether an error of torch's says that memory ran out, on whatever device."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        phrase in str(error) for phrase in ("out of memory", "can't allocate memory", "not enough memory")
    )


def _reset_resident() -> int | None:
    """Forgets the process' peak of resident memory and returns what is resident now; None where that can't be done."""
    try:
        _CLEAR.write_text("5", encoding="utf-8")
    except OSError:
        return None
    return _kilobytes(_STATUS, "VmRSS:") * 1024


def _kilobytes(path: Path, key: str) -> int:
    return next(int(line.split()[1]) for line in path.read_text(encoding="utf-8").splitlines() if line.startswith(key))
