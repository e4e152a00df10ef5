"""Files of weights: written one tensor at a time, so that mapped ones of any size need little memory, and hashed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from world_model.finite import not_finite, some

_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16"}


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged or not what its manifest says."""


def write_weights(path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> None:
    """Writes a safetensors file; each tensor is converted, copied and forgotten in turn.

    The same as `safetensors.torch.save_file`, which holds a copy of all tensors at once.

    Args:
        path: The file.
        tensors: By name, on any device.
        dtype: float32 or bfloat16, of all of them in the file.

    Raises:
        CheckpointError: If a tensor is not finite, in that type; there is no file then.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, tensor in sorted(tensors.items()):
        end = start + tensor.numel() * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    broken = []
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name, tensor in sorted(tensors.items()):
            flat = tensor.detach().to("cpu", dtype).contiguous().flatten()
            broken += not_finite({name: flat})
            file.write(flat.view(torch.uint8).numpy().data)
    if broken:
        path.unlink()
        raise CheckpointError(f"weights that are not finite are not saved: {some(broken)} (as {dtype})")


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
