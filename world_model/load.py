"""From a checkpoint's name to a world model, whatever its kind."""

from __future__ import annotations

from pathlib import Path

import torch

from envs.config import load_config
from envs.registry import Registry
from world_model.checkpoints.checkpoint import (
    Head,
    Manifest,
    StoredModel,
    find_checkpoint,
    head_file,
    open_files,
    read_manifest,
)
from world_model.checkpoints.weights_file import CheckpointError, CheckpointFiles
from world_model.device import Precision, find_device, resolve_precision

KINDS: Registry[type[StoredModel]] = Registry(
    "world model",
    {"vjepa2_ac": "world_model.vjepa2_ac:VJEPA2AC", "compact": "world_model.compact:CompactModel"},
)
"""Every world model by the ``kind`` of its manifest."""

HEADS: Registry[type[Head]] = Registry(
    "head",
    {
        "bank": "world_model.heads.bank:Bank",
        "inverse_dynamics": "world_model.heads.ways:InverseDynamics",
        "temporal_distance": "world_model.heads.ways:TemporalDistance",
        "subgoal_generator": "world_model.heads.subgoals:SubgoalGenerator",
        "transition_energy": "world_model.heads.transitions:TransitionEnergy",
        "macro_dynamics": "world_model.heads.macros:MacroDynamics",
    },
)
"""What may be learnt on latents and travels with a checkpoint, by name."""


def load_world_model(
    name_or_path: str | Path, device: str | torch.device = "cpu", precision: Precision = "fp32"
) -> StoredModel:
    """Returns the world model of a checkpoint, in eval mode and frozen: training unfreezes what it trains.

    Args:
        name_or_path: A folder, or the name of one in checkpoints/.
        device: Where to put it: cpu, cuda, cuda:1, mps, or auto for the best there is.
        precision: Type of the networks' weights in memory, in which they compute; "bf16" is for planning (training
            wants fp32 weights), "auto" takes it where the hardware is faster in it.

    Raises:
        CheckpointError: If there is no such checkpoint, or a file is missing, is not the one that the manifest names,
            or does not fit it.
        ValueError: If there is no such device.
    """
    device = find_device(device)
    dtype = torch.bfloat16 if resolve_precision(precision, device) == "bf16" else torch.float32
    folder = find_checkpoint(name_or_path)
    manifest = read_manifest(folder)
    files = open_files(folder, manifest)
    try:
        model = KINDS.find(manifest.kind).load(files, manifest, dtype)
        for name in manifest.heads:
            model.add_head(name, _load_head(name, files, manifest, dtype))
        files.check_all_read()
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return model.to(device).requires_grad_(False).eval()


def _load_head(name: str, files: CheckpointFiles, manifest: Manifest, dtype: torch.dtype) -> Head:
    """Returns a head with its weights."""
    kind = HEADS.find(name)
    with torch.device("meta"):
        head = kind(load_config(kind.Config, manifest.heads[name]))  # type: ignore[call-arg]
    files.fill(head, head_file(name), dtype)
    return head
