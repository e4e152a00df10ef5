"""Any image backbone of transformers that gives patch tokens (I-JEPA, DINOv2, DINOv3, ...) as a frozen encoder."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from envs.config import load_config
from world_model.checkpoints.weights_file import CheckpointFiles, write_weights
from world_model.encoders.pixels import IMAGE_MEAN, IMAGE_STD, to_pixels
from world_model.encoders.registry import SquareEncoder
from world_model.encoders.vjepa2 import CONFIG, WEIGHTS, layer_norm

_PREPROCESSOR = "preprocessor_config.json"


@dataclass(frozen=True)
class BackboneConfig:
    """How a backbone is used as an encoder.

    Attributes:
        kind: "backbone".
        family: transformers' name of the architecture, such as "dinov2", "dinov3_vit" or "ijepa".
        image_size: Side of the square input [pixels].
        patch_size: Side of a patch [pixels].
        width: Width of the tokens, D.
        leading: Tokens before the patches', such as CLS and registers, which are left out.
        mean: Of each colour, 0..1, subtracted from the pixels.
        std: Of each colour, which they are divided by.

    Raises:
        ValueError: If the patches do not fill the image or a number is out of its range.
    """

    kind: Literal["backbone"]
    family: str
    image_size: int
    patch_size: int
    width: int
    leading: int
    mean: tuple[float, float, float] = IMAGE_MEAN
    std: tuple[float, float, float] = IMAGE_STD

    def __post_init__(self) -> None:
        if min(self.image_size, self.patch_size, self.width) < 1 or self.leading < 0 or min(self.std) <= 0:
            raise ValueError(f"a backbone's sizes and std must be positive, leading at least 0, got {self}")
        if self.image_size % self.patch_size:
            near = self.image_size // self.patch_size * self.patch_size or self.patch_size
            raise ValueError(
                f"patches of {self.patch_size} pixels do not fill images of {self.image_size}: take {near} or "
                f"{near + self.patch_size}"
            )

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size


class BackboneEncoder(SquareEncoder):
    """A frozen image backbone. See `world_model.base.Encoder`.

    Its last hidden states at the patches, layer-normed once more without scale and offset, as V-JEPA 2's are.

    Attributes:
        config: How it is used.
        model: transformers' model.
    """

    config: BackboneConfig
    _place: Tensor

    def __init__(self, config: BackboneConfig, model: PreTrainedModel) -> None:
        super().__init__()
        self.config = config
        self.model = model.requires_grad_(False).eval()
        self.register_buffer("_place", torch.zeros(()), persistent=False)  # where it is, and in float32

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self._place.device

    def preprocess(self, images: UInt8[Tensor, "B h w 3"]) -> Float[Tensor, "B 3 S S"]:
        """See `world_model.base.Encoder.preprocess`."""
        config = self.config
        return to_pixels(images.to(self._place.device), config.image_size, config.mean, config.std)

    def forward(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B N D"]:
        """Returns the patches' tokens of normalised images.

        Raises:
            ValueError: If the images are not the configured size.
        """
        self.check_size(pixels)
        states = _last_states(self.model, pixels.to(self.model.dtype))
        return layer_norm(states[:, self.config.leading :])

    def restore(self, predicted: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Returns predicted tokens normed as this encoder's own are."""
        return layer_norm(predicted)

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """See `StoredEncoder.save`. In transformers' format."""
        self.model.config.save_pretrained(folder)
        write_weights(folder / WEIGHTS, self.model.state_dict(), dtype)
        colours = {"image_mean": list(self.config.mean), "image_std": list(self.config.std)}
        (folder / _PREPROCESSOR).write_text(json.dumps(colours, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, files: CheckpointFiles, settings: Mapping[str, Any], dtype: torch.dtype) -> Self:
        """See `StoredEncoder.load`."""
        config, folder = load_config(BackboneConfig, settings), files.path(f"encoder/{CONFIG}").parent
        files.path(f"encoder/{_PREPROCESSOR}")  # for others who read the folder; what counts is in the settings
        with torch.device("meta"):
            model = AutoModel.from_config(AutoConfig.from_pretrained(folder))
        files.fill(model, f"encoder/{WEIGHTS}", dtype)
        return cls(config, model)


def load_backbone(name: str | Path, image_size: int | None = None) -> BackboneEncoder:
    """Returns the encoder of a folder in transformers' format, or of a hub id.

    Args:
        name: Folder, or id on the Hugging Face hub, such as facebook/dinov2-small.
        image_size: Side of the square input [pixels]; None for the size that it was trained at.

    Raises:
        ValueError: If it is no image backbone with square patches, or the size does not fit its patches.
    """
    try:
        config = AutoConfig.from_pretrained(name)
        model = AutoModel.from_pretrained(name, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise ValueError(f"{name} is no model in transformers' format that can be loaded: {error}") from error
    size, patch = image_size or _number(config, "image_size", name), _number(config, "patch_size", name)
    mean, std = _colours(name)
    seen = _last_states(model.eval(), torch.zeros(1, 3, size, size))
    leading = seen.shape[1] - (size // patch) ** 2
    if leading < 0:
        raise ValueError(f"{name} gives {seen.shape[1]} tokens, fewer than its {(size // patch) ** 2} patches")
    return BackboneEncoder(
        BackboneConfig("backbone", config.model_type, size, patch, seen.shape[2], leading, mean, std), model
    )


@torch.no_grad()
def _last_states(model: PreTrainedModel, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B n D"]:
    """Returns the last hidden states, position embeddings interpolated where the model can and the size asks for it."""
    trained: Any = getattr(model.config, "image_size", None)
    other = isinstance(trained, int) and trained != pixels.shape[-1]
    further: dict[str, Any] = {}
    if other and "interpolate_pos_encoding" in inspect.signature(model.forward).parameters:
        further["interpolate_pos_encoding"] = True
    return model(pixel_values=pixels, **further).last_hidden_state


def _number(config: PretrainedConfig, field: str, name: str | Path) -> int:
    """Returns a size that a backbone's config has."""
    value = getattr(config, field, None)
    if isinstance(value, list | tuple) and len(set(value)) == 1:
        value = value[0]
    if not isinstance(value, int):
        raise ValueError(
            f"{name} is no image backbone with square patches: its {config.model_type} config has {field} {value!r}"
        )
    return value


def _colours(name: str | Path) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Returns mean and std of the colours that a backbone was trained with, ImageNet's where it does not say."""
    values: Mapping[str, Any] = {}
    if (Path(name) / _PREPROCESSOR).is_file():
        values = json.loads((Path(name) / _PREPROCESSOR).read_text(encoding="utf-8"))
    elif not Path(name).is_dir():
        from transformers import AutoImageProcessor

        values = AutoImageProcessor.from_pretrained(name).to_dict()
    return tuple(values.get("image_mean", IMAGE_MEAN)), tuple(values.get("image_std", IMAGE_STD))
