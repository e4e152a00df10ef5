"""Encoders that can be made from nothing, to learn together with what predicts their latents."""

from __future__ import annotations

from typing import Protocol

from envs.registry import Registry

TRUNKS: Registry[type] = Registry(
    "trunk",
    {
        "convolutions": "world_model.encoders.convolutions_config:ConvolutionsConfig",
        "vjepa2": "world_model.encoders.vjepa2_config:EncoderConfig",
    },
)
"""Settings of every encoder that can be made from nothing, by its kind; what they make is a `StoredEncoder`."""


class TrunkSettings(Protocol):
    """Settings of a trunk: a frozen dataclass, see `envs.config.Choice`."""

    @property
    def kind(self) -> str:
        """Its name."""
        ...

    @property
    def image_size(self) -> int:
        """Side of the square images that the encoder looks at [pixels]."""
        ...
