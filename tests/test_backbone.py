"""Image backbones of transformers as frozen encoders: small random ones, saved in transformers' format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    IJepaConfig,
    IJepaModel,
    PreTrainedModel,
    ResNetConfig,
    ResNetModel,
)

from world_model.encoders.backbone import BackboneEncoder, load_backbone
from world_model.encoders.folder import load_encoder, save_encoder

SIZES: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 8,
    "image_size": 32,
}


def make(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    match family:
        case "ijepa":
            return IJepaModel(IJepaConfig(**SIZES, intermediate_size=48))
        case "dinov2":
            return Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2))
        case "dinov2_with_registers":
            return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SIZES, mlp_ratio=2, num_register_tokens=3))
        case _:
            return DINOv3ViTModel(DINOv3ViTConfig(**SIZES, intermediate_size=48, num_register_tokens=4))


FAMILIES = {"ijepa": 0, "dinov2": 1, "dinov2_with_registers": 4, "dinov3_vit": 5}


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 40, 50, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_the_patches_alone_layer_normed(family: str, tmp_path: Path, images: torch.Tensor) -> None:
    model = make(family).eval()
    model.save_pretrained(tmp_path)
    encoder = load_backbone(tmp_path)
    assert encoder.config.family == family and encoder.config.leading == FAMILIES[family]
    assert (encoder.tokens, encoder.width, encoder.config.grid) == (16, 24, 4)
    pixels = encoder.preprocess(images)
    tokens = encoder(pixels)
    with torch.no_grad():
        states = model(pixel_values=pixels).last_hidden_state[:, FAMILIES[family] :]
    torch.testing.assert_close(tokens, torch.nn.functional.layer_norm(states, (24,), eps=1e-5))
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_encoder_is_the_same_with_the_same_fingerprint(
    family: str, tmp_path: Path, images: torch.Tensor
) -> None:
    make(family).save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3})
    )
    encoder = load_backbone(tmp_path / "theirs")
    assert encoder.config.mean == (0.5, 0.5, 0.5)
    again = load_encoder(save_encoder(encoder, tmp_path / "ours"))
    assert isinstance(again, BackboneEncoder)
    assert again.fingerprint == encoder.fingerprint
    assert torch.equal(again(again.preprocess(images)), encoder(encoder.preprocess(images)))
    with torch.no_grad():
        next(again.model.parameters()).add_(1e-3)
    assert again.fingerprint != encoder.fingerprint


@pytest.mark.parametrize("family", FAMILIES)
def test_images_may_be_of_another_size_than_in_training(family: str, tmp_path: Path, images: torch.Tensor) -> None:
    make(family).save_pretrained(tmp_path)
    encoder = load_backbone(tmp_path, image_size=48)
    assert encoder.tokens == 36
    assert encoder(encoder.preprocess(images)).shape == (3, 36, 24)
    with pytest.raises(ValueError, match=r"patches of 8 pixels do not fill images of 44: take 40 or 48"):
        load_backbone(tmp_path, image_size=44)


def test_what_is_no_backbone_is_refused(tmp_path: Path) -> None:
    ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])).save_pretrained(tmp_path / "resnet")
    with pytest.raises(ValueError, match="no image backbone with square patches: its resnet config has"):
        load_backbone(tmp_path / "resnet", image_size=32)
    with pytest.raises(ValueError, match="no model in transformers' format that can be loaded"):
        load_backbone(tmp_path / "nothing")
    encoder = load_backbone_of_32(tmp_path)
    with pytest.raises(ValueError, match=r"takes images \(B, 3, 32, 32\), got \(1, 3, 16, 16\)"):
        encoder(torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match="uint8 RGB"):
        encoder.preprocess(torch.zeros(1, 32, 32, 3))


def load_backbone_of_32(tmp_path: Path) -> BackboneEncoder:
    make("ijepa").save_pretrained(tmp_path / "ijepa")
    return load_backbone(tmp_path / "ijepa")
