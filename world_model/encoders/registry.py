"""Every frozen encoder by its kind, stored with a checkpoint and loaded again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from envs.config import dump_config
from envs.registry import Registry
from world_model.checkpoints.weights_file import CheckpointError, CheckpointFiles, weights_fingerprint


class StoredEncoder(nn.Module, ABC):
    """An encoder that travels with checkpoints; see `world_model.base.Encoder` for what it does.

    Attributes:
        FINGERPRINT: Changes when preprocessing or tokens of the same weights change.
    """

    FINGERPRINT: ClassVar[int] = 1

    @property
    @abstractmethod
    def tokens(self) -> int:
        """Patches an image, N."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Width of a token, D."""

    @property
    @abstractmethod
    def grid(self) -> int:
        """Patches along a side."""

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Side of the square images that it looks at [pixels]."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where it is."""

    @property
    def fingerprint(self) -> str:
        """Hash of its settings, its weights and the version of its code."""
        return weights_fingerprint((self.FINGERPRINT, self.settings()), self.state_dict())

    @abstractmethod
    def preprocess(self, images: UInt8[Tensor, "B h w 3"]) -> Float[Tensor, "B 3 S S"]:
        """See `world_model.base.Encoder.preprocess`."""

    def pixels_of(self, images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Float[Tensor, "B 3 S S"]:
        """Returns single camera images, each of any size, as the encoder takes them, on its device."""
        tensors = [torch.from_numpy(np.array(image, order="C")).to(self.device) for image in images]
        return torch.cat([self.preprocess(image[None]) for image in tensors])

    @abstractmethod
    def restore(self, predicted: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """See `world_model.base.Encoder.restore`."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Returns what `load` makes it from, plain values; ``kind`` is its name in the registry."""

    @abstractmethod
    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Writes its files into a folder, weights in that type."""

    @classmethod
    @abstractmethod
    def load(cls, files: CheckpointFiles, settings: Mapping[str, Any], dtype: torch.dtype) -> Self:
        """Returns what `save` wrote into ``encoder/``.

        Args:
            files: Of the checkpoint.
            settings: What `settings` returned.
            dtype: Type of the weights in memory.

        Raises:
            ValueError: If files and settings do not fit together.
        """


class SquareEncoder(StoredEncoder):
    """An encoder whose settings are a dataclass that knows the square images and the grid of tokens.

    Attributes:
        config: Has image_size, grid and width, see `StoredEncoder`.
    """

    config: Any

    @property
    def tokens(self) -> int:
        """Patches an image, N."""
        return self.config.grid**2

    @property
    def width(self) -> int:
        """Width of a token that comes out, D."""
        return self.config.width

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.config.grid

    @property
    def image_size(self) -> int:
        """Side of the square images that it looks at [pixels]."""
        return self.config.image_size

    def settings(self) -> dict[str, Any]:
        """See `StoredEncoder.settings`."""
        return dump_config(self.config)

    def check_size(self, pixels: Float[Tensor, "B 3 S S"]) -> None:
        """Returns if images are as large as they must be.

        Raises:
            ValueError: If they are not: the grid would silently be another.
        """
        size = self.image_size
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != (3, size, size):
            raise ValueError(f"this encoder takes images (B, 3, {size}, {size}), got {tuple(pixels.shape)}")


ENCODERS: Registry[type[StoredEncoder]] = Registry(
    "encoder",
    {
        "vjepa2": "world_model.encoders.vjepa2:Encoder",
        "convolutions": "world_model.encoders.convolutions:ConvolutionalEncoder",
        "backbone": "world_model.encoders.backbone:BackboneEncoder",
    },
)


def is_own_encoder(name: str | Path) -> bool:
    """Returns whether a name is that of an encoder in code of somebody's own, not of a folder or on the hub."""
    declared = str(name) in ENCODERS.names and not ENCODERS.is_builtin(str(name))
    return (":" in str(name) or declared) and not Path(name).is_dir()


def make_encoder(name: str) -> StoredEncoder:
    """Returns the encoder that a class makes without arguments, such as ``my_encoder.py:Patches``.

    Raises:
        ValueError: If there is no such class, or a checkpoint could not find it again by what its settings say.
    """
    found = ENCODERS.find(name)
    if not (isinstance(found, type) and issubclass(found, StoredEncoder)):
        raise ValueError(f"{name} must be a class made from world_model.encoders.registry.StoredEncoder, got {found!r}")
    missing = sorted(found.__abstractmethods__)
    if missing:
        raise ValueError(f"the encoder {name} lacks {', '.join(missing)}: see StoredEncoder")
    encoder = found()
    if encoder.settings().get("kind") != name:
        raise ValueError(f"settings() of the encoder {name} must have it as kind, got {encoder.settings()}")
    return encoder


def load_stored_encoder(files: CheckpointFiles, settings: Any, dtype: torch.dtype) -> StoredEncoder:
    """Returns the encoder of a checkpoint, frozen.

    Raises:
        CheckpointError: If its kind is not known or files and settings do not fit together.
    """
    if not isinstance(settings, Mapping) or not isinstance(settings.get("kind"), str):
        raise CheckpointError(f"parts.encoder must have a kind, one of {', '.join(ENCODERS.names)}; got {settings}")
    try:
        return ENCODERS.find(settings["kind"]).load(files, settings, dtype)
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"parts.encoder: {error}") from error
