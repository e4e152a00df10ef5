"""Official V-JEPA 2-AC files: the way from their layout, see `official_file`, to ours.

The predictor's names are ours. The encoder's become transformers' by the map below, with qkv split into three. Files of
jepa-wms (arXiv 2512.24497) may lack the encoder, the pose token and the extrinsics token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from envs.spec import POSE_NAMES, POSE_UNITS, ActionSpec
from world_model.checkpoints.checkpoint import CheckpointError
from world_model.checkpoints.weights_file import load_weights
from world_model.encoders.registry import StoredEncoder
from world_model.encoders.vjepa2 import Encoder, EncoderConfig
from world_model.importing.official_file import read_parts
from world_model.predictors.vjepa2_ac import EXTRINSICS_SIZE, Predictor, PredictorConfig
from world_model.statistics import Statistics
from world_model.vjepa2_ac import VJEPA2AC

# The bounds the official planner searches: xyz within 5 cm, no rotation, gripper within 0.75; DROID at 4 fps.
OFFICIAL_ACTIONS = ActionSpec(
    names=POSE_NAMES,
    units=POSE_UNITS,
    low=(-0.05, -0.05, -0.05, 0.0, 0.0, 0.0, -0.75),
    high=(0.05, 0.05, 0.05, 0.0, 0.0, 0.0, 0.75),
    frame="base",
    rate=4.0,
)
RELEASED_HEADS = {1024: 16, 1280: 16, 1408: 22}
"""Attention heads by width: the predictor and ViT-L, ViT-H, ViT-g."""
ENCODER_NAMES = (
    ("patch_embed.", "encoder.embeddings.patch_embeddings."),
    ("blocks.", "encoder.layer."),
    ("norm.", "encoder.layernorm."),
)


@dataclass(frozen=True)
class OfficialFile:
    """The tensors of an official file that matter here, without their prefixes, still memory-mapped.

    Attributes:
        path: Where they come from.
        encoder: Under transformers' names; None if the file has none.
        predictor: Of the action-conditioned predictor; None if the file has none.
    """

    path: Path
    encoder: dict[str, Tensor] | None
    predictor: dict[str, Tensor] | None


def load_official(
    path: str | Path | OfficialFile,
    *,
    image_size: int = 256,
    encoder_heads: int | None = None,
    predictor_heads: int | None = None,
    max_frames: int = 32,
    extrinsics: bool = False,
    context: int = 2,
    action_spec: ActionSpec = OFFICIAL_ACTIONS,
    encoder: StoredEncoder | None = None,
) -> VJEPA2AC:
    """Returns the world model in an official V-JEPA 2-AC file, with identity statistics.

    Args:
        path: Local `.pt` file, read with weights_only=True and memory-mapped; or what `read_official` made of it.
        image_size: Side of the images it was trained with [pixels]; no tensor tells.
        encoder_heads: No tensor tells these either; None for those of the released encoder of that width.
        predictor_heads: Likewise.
        max_frames: Most frames in a sequence (num_frames / tubelet size of the official config).
        extrinsics: Whether it was trained with extrinsics tokens; their weights may be there all the same.
        context: See `VJEPA2AC`.
        action_spec: What its actions mean.
        encoder: For a file that has a predictor alone. A file's own encoder is what its predictor was trained with.

    Raises:
        CheckpointError: If the file or its tensors are not of that layout, or there is no or more than one encoder.
    """
    file = path if isinstance(path, OfficialFile) else read_official(path)
    path = file.path
    if file.predictor is None:
        raise CheckpointError(f"{path} has no action-conditioned predictor, it is an encoder alone")
    if encoder is None:
        encoder = make_encoder(file, image_size, encoder_heads)
    elif file.encoder is not None:
        raise CheckpointError(f"{path} has the encoder that its predictor was trained with; leave the other one out")
    weights = file.predictor
    try:
        heads = predictor_heads or _released_heads(weights["predictor_embed.weight"].shape[0], path, "predictor_heads")
        config = infer_predictor_config(weights, encoder.grid, heads, max_frames, extrinsics)
    except KeyError as error:
        raise CheckpointError(f"{path} lacks {error.args[0]}, which every official V-JEPA 2-AC file has") from error
    if not extrinsics and "extrinsics_encoder.weight" not in weights:  # jepa-wms left out what nothing reads
        for name in ("weight", "bias"):
            shape = (config.width, EXTRINSICS_SIZE)[: 2 if name == "weight" else 1]
            weights = {**weights, f"extrinsics_encoder.{name}": torch.zeros(shape)}
    with torch.device("meta"):
        predictor = Predictor(config)
    load_weights(predictor, weights, f"predictor of {path}")
    statistics = Statistics.identity(config.action_size, config.pose_size or action_spec.size)
    try:
        return VJEPA2AC(encoder, predictor, action_spec, statistics, context).eval()
    except ValueError as error:
        raise CheckpointError(f"{path} and its encoder: {error}") from error


def make_encoder(file: OfficialFile, image_size: int = 256, heads: int | None = None) -> Encoder:
    """Returns the encoder of an official file; see `load_official`.

    Raises:
        CheckpointError: If there is none or its tensors are not V-JEPA 2's (those of V-JEPA 2.1 are not).
    """
    if file.encoder is None:
        raise CheckpointError(f"{file.path} has a predictor alone: name the encoder it was trained with (--encoder)")
    weights = {name: tensor for name, tensor in file.encoder.items() if name != "pos_embed"}  # unused beside RoPE
    try:
        width = weights["encoder.embeddings.patch_embeddings.proj.weight"].shape[0]
        config = infer_encoder_config(weights, image_size, heads or _released_heads(width, file.path, "encoder_heads"))
    except KeyError as error:
        raise CheckpointError(f"encoder of {file.path} lacks {error.args[0]}: it is no V-JEPA 2 encoder") from error
    with torch.device("meta"):
        encoder = Encoder(config)
    strange = sorted(weights.keys() - encoder.model.state_dict().keys())
    if strange:
        raise CheckpointError(
            f"encoder of {file.path} has {len(strange)} tensors that V-JEPA 2 has not, such as {strange[0]}. V-JEPA "
            "2.1 is another architecture (hierarchical outputs, its own embedding of images) and is not supported"
        )
    load_weights(encoder.model, weights, f"encoder of {file.path}")
    return encoder.requires_grad_(False).eval()


def read_official(path: str | Path) -> OfficialFile:
    """Returns the tensors of an official file; nothing is copied.

    Raises:
        CheckpointError: If the file can't be read, or has neither an encoder nor a predictor.
    """
    path = Path(path)
    parts = read_parts(path)
    predictor = parts.get("predictor")
    if predictor is not None and "action_encoder.weight" not in predictor:
        predictor = None  # the masked predictor of pretraining
    encoder = encoder_to_transformers(parts["encoder"]) if parts.get("encoder") else None
    if encoder is None and predictor is None:
        raise CheckpointError(f"{path} has a masked predictor of pretraining alone: it plans nothing and sees nothing")
    renamed = {name.replace("proprio_encoder.", "state_encoder."): tensor for name, tensor in (predictor or {}).items()}
    return OfficialFile(path, encoder, renamed or None)


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


def _released_heads(width: int, path: str | Path, option: str) -> int:
    """Returns the heads of the released network of a width."""
    if width not in RELEASED_HEADS:
        raise CheckpointError(f"{path}: width {width} is not a released one, so its heads are not known; give {option}")
    return RELEASED_HEADS[width]


def _depth(weights: Mapping[str, Tensor], blocks: str) -> int:
    """Returns the number of blocks whose parameters begin with `blocks` and a number."""
    numbers = {name.removeprefix(blocks).split(".")[0] for name in weights if name.startswith(blocks)}
    return len(numbers)
