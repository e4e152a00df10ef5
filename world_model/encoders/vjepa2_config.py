"""The shape of an encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from envs.ranges import check_range

if TYPE_CHECKING:
    from transformers import VJEPA2Config


@dataclass(frozen=True)
class EncoderConfig:
    """The shape of an `Encoder`.

    Attributes:
        kind: "vjepa2".
        image_size: Side of the square input [pixels].
        patch_size: Side of a patch [pixels].
        width: Width of the tokens, D.
        depth: Number of blocks.
        heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over `width`.
        tubelet_size: Frames a token spans; one image is repeated that often.

    Raises:
        ValueError: If a number is out of its range, the patches do not fill the image or the heads not the width.
    """

    makes: ClassVar = "world_model.encoders.vjepa2:Encoder"
    kind: Literal["vjepa2"] = field(default="vjepa2", kw_only=True, repr=False)
    image_size: int
    width: int
    depth: int
    heads: int
    patch_size: int = 16
    mlp_ratio: float = 4.0
    tubelet_size: int = 2

    def __post_init__(self) -> None:
        sizes = ("image_size", "patch_size", "width", "depth", "heads", "mlp_ratio", "tubelet_size")
        check_range(self, "(0, inf)", *sizes, of="an encoder's ")
        if self.image_size % self.patch_size:
            raise ValueError(f"patches of {self.patch_size} pixels do not fill images of {self.image_size}")
        if self.width % self.heads or self.width // self.heads < 6:
            raise ValueError(
                f"an encoder's heads must divide its width into heads of 6 or more: {self.heads} heads, "
                f"width {self.width}"
            )

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size

    @classmethod
    def from_transformers(cls, config: VJEPA2Config) -> Self:
        """Returns the shape of the encoder of a transformers' config: the inverse of `to_transformers`.

        Raises:
            ValueError: If it is the config of no encoder that there is here.
        """
        if not isinstance(config.patch_size, int):
            raise ValueError(f"an encoder's patches are squares, one number, got a patch_size of {config.patch_size}")
        return cls(
            image_size=config.crop_size,
            patch_size=config.patch_size,
            width=config.hidden_size,
            depth=config.num_hidden_layers,
            heads=config.num_attention_heads,
            mlp_ratio=config.mlp_ratio,
            tubelet_size=config.tubelet_size,
        )

    def to_transformers(self) -> VJEPA2Config:
        """Returns transformers' config of the same encoder, without the masked predictor's layers."""
        from transformers import VJEPA2Config  # takes a second

        ratio = self.mlp_ratio
        while int(self.width * ratio) < round(self.width * ratio):  # transformers rounds down
            ratio = math.nextafter(ratio, math.inf)
        return VJEPA2Config(
            crop_size=self.image_size,
            patch_size=self.patch_size,
            frames_per_clip=self.tubelet_size,
            tubelet_size=self.tubelet_size,
            hidden_size=self.width,
            num_hidden_layers=self.depth,
            num_attention_heads=self.heads,
            mlp_ratio=ratio,
            pred_hidden_size=self.heads,
            pred_num_attention_heads=1,
            pred_num_hidden_layers=0,
            pred_num_mask_tokens=1,
        )
