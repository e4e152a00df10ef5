"""Official V-JEPA 2-AC files: their layout, and the way from it to ours.

A `.pt` file is a dict with `encoder` and `predictor` (and optimiser state, which is not read), parameters prefixed
``module.`` (pretraining files: ``module.backbone.``). The predictor's names are ours. The encoder's become
transformers' by the map below, with qkv split into three.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from envs.spec import POSE_NAMES, POSE_UNITS, ActionSpec
from world_model.checkpoint import CheckpointError, load_weights
from world_model.encoder import Encoder, EncoderConfig
from world_model.predictor import Predictor, PredictorConfig
from world_model.vjepa2_ac import VJEPA2AC, Statistics

# The bounds the official planner searches: xyz within 5 cm, no rotation, gripper within 0.75; DROID at 4 fps.
OFFICIAL_ACTIONS = ActionSpec(
    names=POSE_NAMES,
    units=POSE_UNITS,
    low=(-0.05, -0.05, -0.05, 0.0, 0.0, 0.0, -0.75),
    high=(0.05, 0.05, 0.05, 0.0, 0.0, 0.0, 0.75),
    frame="base",
    rate=4.0,
)
PREFIXES = ("module.", "backbone.")
ENCODER_NAMES = (
    ("patch_embed.", "encoder.embeddings.patch_embeddings."),
    ("blocks.", "encoder.layer."),
    ("norm.", "encoder.layernorm."),
)


def load_official(
    path: str | Path,
    *,
    image_size: int,
    encoder_heads: int,
    predictor_heads: int,
    max_frames: int = 32,
    extrinsics: bool = False,
    context: int = 2,
    action_spec: ActionSpec = OFFICIAL_ACTIONS,
) -> VJEPA2AC:
    """Returns the world model in an official V-JEPA 2-AC file, with its own encoder and identity statistics.

    Args:
        path: Local `.pt` file, read with weights_only=True and memory-mapped.
        image_size: Side of the images it was trained with [pixels]; no tensor tells.
        encoder_heads: No tensor tells these either.
        predictor_heads: Likewise.
        max_frames: Most frames in a sequence (num_frames / tubelet size of the official config).
        extrinsics: Whether it was trained with extrinsics tokens; their weights are always there.
        context: See `VJEPA2AC`.
        action_spec: What its actions mean.

    Raises:
        CheckpointError: If the file or its tensors are not of that layout.
    """
    parts = read_official(path)
    encoder_weights, predictor_weights = encoder_to_transformers(parts["encoder"]), parts["predictor"]
    try:
        encoder_config = infer_encoder_config(encoder_weights, image_size, encoder_heads)
        predictor_config = infer_predictor_config(
            predictor_weights, encoder_config.grid, predictor_heads, max_frames, extrinsics
        )
        with torch.device("meta"):
            encoder, predictor = Encoder(encoder_config), Predictor(predictor_config)
        load_weights(encoder.model, encoder_weights, f"encoder of {path}")
        load_weights(predictor, predictor_weights, f"predictor of {path}")
        statistics = Statistics.identity(predictor_config.action_size, predictor_config.pose_size)
        return VJEPA2AC(encoder, predictor, action_spec, statistics, context).eval()
    except KeyError as error:
        raise CheckpointError(f"{path} lacks {error.args[0]}, which every official V-JEPA 2-AC file has") from error


def read_official(path: str | Path) -> dict[str, dict[str, Tensor]]:
    """Returns the encoder's and the predictor's tensors of an official file, without their prefixes.

    Raises:
        CheckpointError: If the file can't be read or has not both.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} can't be read as a torch file of tensors: {error}") from error
    keys = sorted(map(str, content)) if isinstance(content, dict) else []
    if not {"encoder", "predictor"} <= set(keys):
        raise CheckpointError(f"{path} is no V-JEPA 2-AC file: it must hold encoder and predictor, it has {keys}")
    return {part: {_bare(name): tensor for name, tensor in content[part].items()} for part in ("encoder", "predictor")}


def encoder_to_transformers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns an official encoder's tensors under transformers' VJEPA2Model names."""
    renamed = {}
    for official_name, tensor in weights.items():
        name = official_name.replace(".attn.", ".attention.")
        for start, replacement in ENCODER_NAMES:
            if official_name.startswith(start):
                name = replacement + name.removeprefix(start)
        if ".attention.qkv." in name:
            for part, rows in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                renamed[name.replace("qkv", part)] = rows
        else:
            renamed[name] = tensor
    return renamed


def infer_encoder_config(weights: Mapping[str, Tensor], image_size: int, heads: int) -> EncoderConfig:
    """Returns the config of an encoder from its tensors under transformers' names."""
    kernel = weights["encoder.embeddings.patch_embeddings.proj.weight"]  # (D, 3, tubelet, patch, patch)
    return EncoderConfig(
        image_size=image_size,
        width=kernel.shape[0],
        depth=_depth(weights, "encoder.layer."),
        heads=heads,
        patch_size=kernel.shape[-1],
        mlp_ratio=weights["encoder.layer.0.mlp.fc1.weight"].shape[0] / kernel.shape[0],
        tubelet_size=kernel.shape[2],
    )


def infer_predictor_config(
    weights: Mapping[str, Tensor], grid: int, heads: int, max_frames: int, extrinsics: bool
) -> PredictorConfig:
    """Returns the config of a predictor from its tensors; one without a state encoder has no pose tokens."""
    width, token_width = weights["predictor_embed.weight"].shape
    return PredictorConfig(
        token_width=token_width,
        width=width,
        depth=_depth(weights, "predictor_blocks."),
        heads=heads,
        mlp_ratio=weights["predictor_blocks.0.mlp.fc1.weight"].shape[0] / width,
        grid_height=grid,
        grid_width=grid,
        action_size=weights["action_encoder.weight"].shape[1],
        pose_size=weights["state_encoder.weight"].shape[1] if "state_encoder.weight" in weights else 0,
        max_frames=max_frames,
        extrinsics=extrinsics,
    )


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _depth(weights: Mapping[str, Tensor], blocks: str) -> int:
    """Returns the number of blocks whose parameters begin with `blocks` and a number."""
    numbers = {name.removeprefix(blocks).split(".")[0] for name in weights if name.startswith(blocks)}
    return len(numbers)
