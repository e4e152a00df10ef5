"""Files of weights: written one tensor at a time, so that mapped ones of any size need little memory; read strictly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from world_model.checkpoints.folder import CheckpointError
from world_model.finite import not_finite, some

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""What weights are stored in, by the name that a manifest gives it."""

_NAMES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.int8: "I8",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.bool: "BOOL",
}


def write_weights(path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> None:
    """Writes a safetensors file; each tensor is converted, copied and forgotten in turn.

    The same as `safetensors.torch.save_file`, which holds a copy of all tensors at once.

    Args:
        path: The file.
        tensors: By name, on any device.
        dtype: float32 or bfloat16, of all that hold real numbers in the file; whole numbers stay as they are.

    Raises:
        CheckpointError: If a tensor is not finite, in that type; there is no file then.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    types = {name: dtype if tensor.is_floating_point() else tensor.dtype for name, tensor in tensors.items()}
    start = 0
    for name, tensor in sorted(tensors.items()):
        end = start + tensor.numel() * types[name].itemsize
        header[name] = {"dtype": _NAMES[types[name]], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    broken = []
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name, tensor in sorted(tensors.items()):
            flat = tensor.detach().to("cpu", types[name]).contiguous().flatten()
            broken += not_finite({name: flat})
            file.write(flat.view(torch.uint8).numpy().data)
    if broken:
        path.unlink()
        raise CheckpointError(f"weights that are not finite are not saved: {some(broken)} (as {dtype})")


def weights_fingerprint(description: object, tensors: Mapping[str, Tensor]) -> str:
    """Returns a hash of a description's repr and of named tensors, whatever device and type they are in memory."""
    digest = hashlib.sha256(repr(description).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class CheckpointFiles:
    """The files of a checkpoint that a manifest names, each of which is to be read once.

    Args:
        folder: Of the checkpoint.
        names: Of the files, as the manifest has them.
        stored: Type of the weights in them.
    """

    def __init__(self, folder: Path, names: Collection[str], stored: torch.dtype) -> None:
        self.folder, self.stored = folder, stored
        self._names, self._read = set(names), set[str]()

    def path(self, name: str) -> Path:
        """Returns where a file is, which counts as read.

        Raises:
            CheckpointError: If the manifest does not name it.
        """
        if name not in self._names:
            raise CheckpointError(f"{self.folder}: its manifest must name the file {name}, not {sorted(self._names)}")
        self._read.add(name)
        return self.folder / name

    def fill(self, module: nn.Module, name: str, dtype: torch.dtype = torch.float32) -> None:
        """Makes a file's tensors a module's parameters, see `load_weights`.

        Args:
            module: What they are of.
            name: Of the file.
            dtype: To convert them to.

        Raises:
            CheckpointError: If it is no such file.
        """
        path = self.path(name)
        load_weights(module, read_weights(path, self.stored), str(path), dtype)

    def check_all_read(self) -> None:
        """Returns if nothing is left.

        Raises:
            CheckpointError: If the manifest names files that nothing has read.
        """
        if self._read != self._names:
            raise CheckpointError(
                f"{self.folder}: files must be exactly {sorted(self._read)}, its manifest names {sorted(self._names)}"
            )


def read_weights(path: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """Returns the tensors of a safetensors file, of which all that hold real numbers must be of one type.

    Raises:
        CheckpointError: If it is none or a tensor is of another type.
    """
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a valid safetensors file: {error}") from error
    wrong = sorted(name for name, tensor in weights.items() if tensor.is_floating_point() and tensor.dtype != dtype)
    if wrong:
        raise CheckpointError(f"{path}: the manifest says {dtype}, but {some(wrong)} is {weights[wrong[0]].dtype}")
    return weights


def load_weights(
    module: nn.Module, weights: Mapping[str, Tensor], origin: str, dtype: torch.dtype = torch.float32
) -> None:
    """Makes the given tensors the module's parameters; exactly its names and shapes, finite, in the type asked for.

    What holds whole numbers, such as indices or bytes, keeps the module's type.

    Raises:
        CheckpointError: Naming missing and unexpected keys, wrong shapes or what is not finite, and `origin`, where
            they come from.
    """
    expected = module.state_dict()
    missing, unexpected = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or unexpected:
        raise CheckpointError(f"{origin}: {some(missing)} missing, {some(unexpected)} unexpected")
    wrong = [
        f"{name} is {tuple(weights[name].shape)}, must be {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if weights[name].shape != tensor.shape
    ]
    if wrong:
        raise CheckpointError(f"{origin}: wrong shapes: {'; '.join(wrong[:5])}")
    wrong = [
        f"{name} is {weights[name].dtype}, must be {tensor.dtype}"
        for name, tensor in expected.items()
        if not (weights[name].is_floating_point() and tensor.is_floating_point())
        and weights[name].dtype != tensor.dtype
    ]
    if wrong:
        raise CheckpointError(f"{origin}: wrong types: {'; '.join(wrong[:5])}")
    broken = not_finite(weights)
    if broken:
        raise CheckpointError(
            f"{origin}: {len(broken)} of {len(weights)} tensors are not finite: {some(broken)}. The training that they "
            "come from diverged; use an earlier checkpoint"
        )
    converted = {name: value.to(dtype) if value.is_floating_point() else value for name, value in weights.items()}
    module.load_state_dict(converted, strict=True, assign=True)
