"""Whitened tokens: fitted, saved with the encoder, predicted without being layer-normed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.moving_square import MovingSquare
from tests.small_models import ACTIONS, STATISTICS, random_actions, randomise, small_predictor
from world_model.base import LatentState
from world_model.checkpoints.checkpoint import CheckpointError, save_checkpoint
from world_model.data.latents import build_latents, latent_layout
from world_model.data.store import build_frames
from world_model.encoders.folder import load_encoder, save_encoder
from world_model.encoders.vjepa2 import Encoder, EncoderConfig, layer_norm
from world_model.encoders.whitening import Whitening, whiten
from world_model.training.masked import MaskedPredictorConfig
from world_model.training.pretrain import PretrainConfig, pretrain
from world_model.vjepa2_ac import VJEPA2AC, load_vjepa2_ac

SHAPE = EncoderConfig(image_size=16, width=12, depth=1, heads=2, patch_size=8, mlp_ratio=2.0, components=5)


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    encoder = Encoder(SHAPE)
    randomise(encoder)
    assert encoder.whitening is not None
    encoder.whitening.fit(layer_norm(torch.randn(64, 4, 12) * torch.linspace(1.0, 9.0, 12)))
    return encoder


def make_model(encoder: Encoder) -> VJEPA2AC:
    predictor = small_predictor(grid_height=2, grid_width=2, token_width=5, residual=True)
    return VJEPA2AC(encoder, predictor, ACTIONS, STATISTICS, 2)


def test_a_fitted_whitening_gives_unit_variance_in_uncorrelated_directions_strongest_first() -> None:
    torch.manual_seed(0)
    spread = torch.logspace(0, -3, 12)
    tokens = torch.randn(4, 12) + torch.randn(2048, 4, 12) * spread @ torch.linalg.qr(torch.randn(12, 12))[0]
    whitening = Whitening(4, 12, 5)
    share = whitening.fit(tokens)
    white = whitening(tokens)
    assert white.mean(0).abs().max() < 1e-3
    flat = white.flatten(0, 1)
    torch.testing.assert_close(flat.T @ flat / len(flat), torch.eye(5), atol=1e-2, rtol=0.0)
    assert share == pytest.approx(float(spread[:5].square().sum() / spread.square().sum()), abs=1e-3)


def test_a_whitening_of_more_directions_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in 2 directions, 5 were to be kept"):
        Whitening(4, 12, 5).fit(torch.randn(64, 4, 2) @ torch.randn(2, 12))


def test_components_outside_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"components must be 1 \.\. 12"):
        EncoderConfig(16, 12, 1, 2, 8, components=13)


def test_the_encoder_folder_keeps_the_whitening(tmp_path: Path, encoder: Encoder) -> None:
    loaded, pixels = load_encoder(save_encoder(encoder, tmp_path / "encoder")), torch.randn(2, 3, 16, 16)
    assert loaded.config == encoder.config and loaded.width == 5
    assert torch.equal(loaded(pixels), encoder(pixels)) and encoder(pixels).shape == (2, 4, 5)


@torch.no_grad()
def test_a_checkpoint_keeps_the_whitening(tmp_path: Path, encoder: Encoder) -> None:
    model = make_model(encoder)
    save_checkpoint(tmp_path / "white", model, training={}, weights="bfloat16")
    loaded, pixels = load_vjepa2_ac(tmp_path / "white"), torch.randn(2, 3, 16, 16)
    assert isinstance(loaded.encoder, Encoder)
    assert loaded.encoder.whitening is not None and encoder.whitening is not None
    assert torch.equal(loaded.encoder.whitening.mean, encoder.whitening.mean)
    assert torch.equal(loaded.encoder.whitening.matrix, encoder.whitening.matrix)
    assert loaded.encoder(pixels).shape == (2, 4, 5)
    (tmp_path / "white" / "encoder" / "whitening.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"whitening\.safetensors is missing"):
        load_vjepa2_ac(tmp_path / "white")


@torch.no_grad()
def test_predictions_of_whitened_tokens_are_not_layer_normed(encoder: Encoder) -> None:
    model, state = make_model(encoder), LatentState(torch.randn(1, 1, 4, 5), 0.3 + 0.3 * torch.rand(1, 1, 7))
    predicted = model.rollout(state, random_actions(3, 2)).tokens
    raw = model.predictor(
        state.tokens.expand(3, -1, -1, -1),
        model.normalise_actions(random_actions(3, 2)[:, :1]),
        model.normalise_poses(state.poses).expand(3, -1, -1),
    )
    torch.testing.assert_close(predicted[:, :1], raw)
    assert (predicted.std(-1) - 1).abs().max() > 0.01


def test_cached_latents_are_those_of_the_whitened_encoder(tmp_path: Path, encoder: Encoder) -> None:
    dataset = MovingSquare((4,) * 3)
    cache = build_latents(dataset, encoder, tmp_path, processes=2)
    assert cache.store.layout.item_shape == (4, 5)
    assert encoder.whitening is not None
    before = latent_layout(dataset, encoder).key
    encoder.whitening.mean += 0.1
    assert latent_layout(dataset, encoder).key != before


def test_pretraining_ends_with_a_fitted_whitening(tmp_path: Path) -> None:
    frames = build_frames(MovingSquare((6,) * 20), tmp_path / "frames")
    config = PretrainConfig(
        data=Path("nowhere"), output=tmp_path / "run", encoder=SHAPE, predictor=MaskedPredictorConfig(16, 1, 2),
        steps=4, batch=16, warmup=1, visible_weight=1.0, device="cpu", precision="fp32",
    )  # fmt: skip
    folder = pretrain(config, frames, lambda step, measured: None)
    assert folder is not None
    encoder = load_encoder(folder)
    images = torch.from_numpy(frames.gather(frames.frame_numbers(range(20))))
    with torch.no_grad():
        tokens = encoder(encoder.preprocess(images))
    assert tokens.flatten(0, 1).square().mean(0).sub(1.0).abs().max() < 0.2


def test_whitening_gives_weak_directions_the_weight_of_strong_ones() -> None:
    torch.manual_seed(0)
    axes = torch.linalg.qr(torch.randn(24, 24))[0]
    spread = torch.zeros(24)
    spread[:3] = torch.tensor([5.0, 1.0, 0.5])
    tokens = torch.randn(16, 24) + torch.randn(2048, 16, 24) * spread @ axes.T
    white = whiten(tokens, 1e-3)
    assert white.mean(0).abs().max() < 1e-4
    covariance = axes.T @ (white.flatten(0, 1).T @ white.flatten(0, 1)) @ axes / (2048 * 16)
    torch.testing.assert_close(covariance.diagonal()[:3], torch.ones(3), atol=0.1, rtol=0.0)
    assert covariance.diagonal()[3:].max() < 1e-3  # there was nothing


def test_whitening_of_equal_images_is_zero() -> None:
    assert torch.equal(whiten(torch.ones(4, 16, 24), 1e-3), torch.zeros(4, 16, 24))
