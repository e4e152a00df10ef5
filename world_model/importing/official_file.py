"""Official V-JEPA 2 files and those of forks: what is read, which parts they have, and what wrappers left in names.

A `.pt` file is a dict with `encoder` and `predictor` (and optimiser state, which is not looked at), parameters prefixed
``module.`` (pretraining files: ``module.backbone.``, and another, masked predictor). Of forks these are read as well:

- names with what torch.compile, DDP, FSDP and activation checkpointing put into them;
- ``target_encoder`` for the encoder; a dict of parts inside ``model`` or ``state_dict``; all tensors in one dict, names
  beginning with their part; safetensors;
- numbers of NumPy beside the tensors.

Files are never unpickled but by torch's reader of tensors, which runs no code.
"""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from world_model.checkpoints.weights_file import CheckpointError

logger = logging.getLogger(__name__)

ENCODERS = ("encoder", "target_encoder", "ema_encoder")
"""Names of the encoder, the first that is there is taken; official files have the first."""
_WRAPPERS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_PREFIXES = ("module.", "backbone.", "model.")
_CONTAINERS = ("model", "state_dict", "model_state_dict", "module", "weights")
_TENSOR_NAMES = {"encoder": "patch_embed.proj.weight", "predictor": "action_encoder.weight"}
_SCALAR: Any = np.float64(0.0).__reduce__()[0]
_NUMPY_NUMBERS = (
    *((_SCALAR, f"numpy.{place}.multiarray.scalar") for place in ("core", "_core")),  # NumPy's name before 2 and since
    np.dtype,
    *(type(np.dtype(kind)) for kind in (bool, *np.typecodes["AllInteger"], *np.typecodes["Float"])),
)
"""What a NumPy number is pickled as: its type and bytes, nothing that runs."""


def read_parts(path: Path) -> dict[str, dict[str, Tensor]]:
    """Returns the tensors of the encoder and of the predictor, those that are there, without wrappers in their names.

    Raises:
        CheckpointError: If the file can't be read, or holds neither.
    """
    content = _read(path)
    found = _find_parts(content)
    parts = {name: {bare(key): value for key, value in found[name].items()} for name in found}
    encoders = [name for name in ENCODERS if name in parts]
    if len(encoders) > 1 and _differ(parts[encoders[0]], parts[encoders[1]]):
        logger.warning(
            "%s has several encoders that differ, %s: the first is taken, as the official code does",
            path,
            ", ".join(encoders),
        )
    elif encoders and encoders[0] != ENCODERS[0]:
        logger.warning("%s: the encoder is its %s", path, encoders[0])
    chosen = {"encoder": parts[encoders[0]]} if encoders else {}
    if any(name.startswith("embeddings.patch_embeddings.") for name in chosen.get("encoder", ())):
        raise CheckpointError(f"{path} is of transformers' format: name its folder, which has config.json as well")
    chosen |= {"predictor": parts["predictor"]} if parts.get("predictor") else {}
    if not chosen:
        raise CheckpointError(
            f"{path} is no V-JEPA 2 file: it must hold an encoder or an action-conditioned predictor, it has "
            f"{_shown(content)}"
        )
    return chosen


def bare(name: str) -> str:
    """Returns a tensor's name without what wrappers put into it."""
    name = _WRAPPERS.sub("", name)
    while True:
        shorter = name
        for prefix in _PREFIXES:
            shorter = shorter.removeprefix(prefix)
        if shorter == name:
            return name
        name = shorter


def _find_parts(content: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Returns the parts of a file by name: dicts of their own, within another, or told apart by the tensors' names."""
    names = (*ENCODERS, "predictor")
    parts = {name: _tensors(content[name]) for name in names if isinstance(content.get(name), Mapping)}
    if any(parts.values()):
        return {name: tensors for name, tensors in parts.items() if tensors}
    for container in _CONTAINERS:
        if isinstance(content.get(container), Mapping):
            return _find_parts(content[container])
    flat = {bare(name): value for name, value in _tensors(content).items()}
    for part, own in _TENSOR_NAMES.items():
        if own in flat:
            return {part: flat}
    for name, value in flat.items():
        part, _, rest = name.partition(".")
        if part in names and rest:
            parts.setdefault(part, {})[rest] = value
    return {name: tensors for name, tensors in parts.items() if tensors}


def _tensors(content: Any) -> dict[str, Tensor]:
    """Returns the tensors of a dict, those of dicts within it under "outer.inner"."""
    found: dict[str, Tensor] = {}
    for name, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(value, Tensor):
            found[str(name)] = value
        elif isinstance(value, Mapping) and name in ("state_dict", "model", "module"):
            found |= _tensors(value)
    return found


def _differ(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Returns whether two encoders are not the same, by their vectors: an average differs in all of them."""
    if one.keys() != other.keys():
        return True
    return any(not torch.equal(value, other[name]) for name, value in one.items() if value.ndim == 1)


def _shown(content: Any) -> str:
    """Returns what a file has, shortened."""
    names = sorted(map(str, content)) if isinstance(content, Mapping) else []
    return f"{names[:8]}{f' and {len(names) - 8} more' if len(names) > 8 else ''}" if names else "no named parts"


def _read(path: Path) -> dict[str, Any]:
    """Returns what a file of tensors holds, memory-mapped where its format allows."""
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a pointer of git-lfs and not the file itself: get it with `git lfs pull`")
    if start[:1] == b"<":
        raise CheckpointError(f"{path} is a web page and not a file of tensors: download it again")
    if path.suffix == ".safetensors" or (start[8:9] == b"{" and start[:1] != b"\x80"):
        try:
            return dict(load_file(path))
        except SafetensorError as error:
            raise CheckpointError(f"{path} is not a valid safetensors file: {error}") from error
    try:
        with torch.serialization.safe_globals(list(_NUMPY_NUMBERS)):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=start[:2] == b"PK")
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(_explain(path, error)) from error
    return content if isinstance(content, dict) else {}


def _explain(path: Path, error: Exception) -> str:
    """Returns in one line why a file can't be read."""
    text = " ".join(str(error).split())
    objects = sorted(set(re.findall(r"GLOBAL ([\w.]+)|Unsupported (?:class|global) ([\w.]+)", text)))
    names = ", ".join(name for pair in objects for name in pair if name)
    if not names:
        return f"{path} can't be read as a torch file of tensors: {text[:200]}"
    return (
        f"{path} holds objects beside its tensors that only running their code would read: {names}. That is not done. "
        "Where it comes from, write it again with tensors alone: "
        "torch.save({k: c[k] for k in ('encoder', 'predictor')}, 'tensors.pt')"
    )
