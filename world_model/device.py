"""Where a model runs and in which precision: CPU, CUDA or Apple's MPS; float32 or bfloat16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from world_model.choices import Precision


def find_device(name: str | torch.device) -> torch.device:
    """Returns the named device; "auto" is CUDA where there is one, else MPS where there is one, else the CPU.

    Raises:
        ValueError: If there is no such device here; lists those there are.
    """
    devices = available_devices()
    if str(name) == "auto":
        return torch.device(devices[min(1, len(devices) - 1)])
    if str(name) not in {*devices, *(["cuda"] if "cuda:0" in devices else [])}:
        raise ValueError(f"there is no device {str(name)!r} here; there are: {', '.join(devices)} (or auto)")
    return torch.device(name)


def available_devices() -> list[str]:
    """Returns the names of the devices that torch can use here: the CPU, then the fastest first."""
    devices = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    return [*devices, "mps"] if torch.backends.mps.is_available() else devices


def resolve_precision(precision: Precision, device: torch.device) -> Literal["bf16", "fp32"]:
    """Returns "bf16" where "auto" finds hardware for it; a CPU without it would be ten times slower than in fp32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "mps":
        return "fp32"  # bfloat16 saves memory there but no time
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return "bf16" if any(probe() for probe in probes if probe is not None) else "fp32"


def autocast(precision: Literal["bf16", "fp32"], device: torch.device) -> AbstractContextManager[object]:
    """Returns the context to compute losses in: float32 weights, matrix products in the precision."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()
