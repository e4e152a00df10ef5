"""Masked latent prediction: masks, the fast encoder pass, the loop."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import VJEPA2Model

from tests.moving_square import MovingSquare
from world_model.data.store import FrameStore, build_frames
from world_model.encoders.folder import load_encoder, save_encoder
from world_model.encoders.vjepa2 import Encoder, EncoderConfig, layer_norm
from world_model.training.loop import learning_rate_factor
from world_model.training.masked import (
    MaskConfig,
    MaskedPredictor,
    MaskedPredictorConfig,
    draw_masks,
    encode_patches,
    halves_tables,
    jitter,
    patchify,
    whiten,
)
from world_model.training.pretrain import (
    CollapseError,
    PretrainConfig,
    Pretrainer,
    check_collapse,
    pretrain,
    token_health,
)
from world_model.training.state import StateError

SHAPE = EncoderConfig(image_size=32, patch_size=8, width=24, depth=2, heads=2)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    return build_frames(MovingSquare((6,) * 20), tmp_path_factory.mktemp("frames"))


def make_config(output: Path, **changes: object) -> PretrainConfig:
    config = PretrainConfig(
        data=Path("nowhere"), output=output, encoder=SHAPE, predictor=MaskedPredictorConfig(16, 2, 2), steps=20,
        batch=16, warmup=5, monitor_every=4, save_every=7, device="cpu", precision="fp32", jitter=0.1,
    )  # fmt: skip
    return replace(config, **changes)


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(SHAPE)


def test_visible_and_hidden_patches_are_all_patches() -> None:
    generator = torch.Generator().manual_seed(0)
    for fraction in (0.3, 0.6, 0.95):
        for _ in range(30):
            visible, hidden = draw_masks(MaskConfig(hidden_fraction=fraction), 4, generator)
            assert sorted([*visible.tolist(), *hidden.tolist()]) == list(range(16))
            assert len(visible) >= 1 and len(hidden) >= 1


def test_masks_hide_the_share_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = [len(draw_masks(MaskConfig(hidden_fraction=0.6), 8, generator)[1]) / 64 for _ in range(50)]
    assert min(shares) >= 0.6 and max(shares) < 0.85


def test_the_fast_pass_equals_the_encoder(encoder: Encoder) -> None:
    pixels = torch.randn(3, 3, 32, 32)
    fast = layer_norm(encode_patches(encoder, patchify(pixels, 8), halves_tables(encoder)))
    torch.testing.assert_close(fast, encoder(pixels), atol=2e-5, rtol=1e-5)


def test_the_fast_pass_equals_transformers_layers_with_a_position_mask(encoder: Encoder) -> None:
    pixels, visible = torch.randn(3, 3, 32, 32), torch.tensor([0, 3, 5, 6, 14])
    module = encoder.model.encoder
    x = module.embeddings(pixels[:, None].expand(-1, 2, -1, -1, -1))[:, visible]
    for layer in module.layer:
        x = layer(x, visible.expand(3, -1))[0]
    fast = encode_patches(encoder, patchify(pixels, 8)[:, visible], halves_tables(encoder)[:, visible])
    torch.testing.assert_close(fast, module.layernorm(x), atol=2e-5, rtol=1e-5)


def test_hidden_pixels_never_reach_the_prediction(encoder: Encoder) -> None:
    visible, hidden = torch.tensor([0, 3, 5, 6, 14]), torch.tensor([1, 2, 4])
    predictor = MaskedPredictor(MaskedPredictorConfig(16, 2, 2), 24, 4)
    pixels = torch.randn(2, 3, 32, 32, requires_grad=True)

    def predict(x: Tensor) -> Tensor:
        seen = encode_patches(encoder, patchify(x, 8)[:, visible], halves_tables(encoder)[:, visible])
        return torch.cat(predictor(seen, visible, hidden), dim=1)

    predict(pixels).square().sum().backward()
    assert pixels.grad is not None
    gradient = patchify(pixels.grad, 8).abs().sum((0, 2))
    assert (gradient[visible] > 0).all()
    unseen = torch.ones(16, dtype=torch.bool)
    unseen[visible] = False
    assert (gradient[unseen] == 0).all()


def test_the_target_gets_no_gradient_and_follows_the_encoder(tmp_path: Path, frames: FrameStore) -> None:
    trainer = Pretrainer(make_config(tmp_path, momentum=(0.5, 0.5)), frames)
    before = trainer.target.state_dict()["model.encoder.layernorm.weight"].clone()
    trainer.step(3)
    assert all(parameter.grad is None for parameter in trainer.target.parameters())
    name = "model.encoder.layernorm.weight"
    middle = (before + trainer.encoder.state_dict()[name]) / 2
    torch.testing.assert_close(trainer.target.state_dict()[name], middle)
    assert not torch.equal(before, middle)


def test_the_masked_predictor_knows_where_it_is_asked() -> None:
    torch.manual_seed(0)
    predictor = MaskedPredictor(MaskedPredictorConfig(16, 1, 2), 24, 4)
    again, guessed = predictor(torch.randn(1, 3, 24), torch.tensor([0, 1, 2]), torch.tensor([7, 9]))
    assert again.shape == (1, 3, 24) and guessed.shape == (1, 2, 24)
    assert not torch.allclose(guessed[:, 0], guessed[:, 1])


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


def test_what_is_visible_counts_in_the_loss_as_much_as_asked(tmp_path: Path, frames: FrameStore) -> None:
    images = torch.from_numpy(frames.gather(frames.frame_numbers(range(8))))
    losses = [
        Pretrainer(make_config(tmp_path, visible_weight=weight), frames).loss(images, 0)[0].item()
        for weight in (0.0, 1.0, 2.0)
    ]
    assert losses[1] > losses[0] and losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-4)


def test_the_loss_falls(tmp_path: Path, frames: FrameStore) -> None:
    losses: list[float] = []
    config = make_config(tmp_path, steps=80, save_every=1000, learning_rate=3e-3, batch=32)
    assert pretrain(config, frames, lambda step, measured: losses.append(measured["loss"])) == tmp_path / "encoder"
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_a_resumed_run_has_the_losses_of_an_unbroken_one(tmp_path: Path, frames: FrameStore) -> None:
    unbroken: dict[int, float] = {}
    pretrain(make_config(tmp_path / "a"), frames, lambda step, measured: unbroken.update({step: measured["loss"]}))
    resumed: dict[int, float] = {}
    broken = threading.Event()

    def report(step: int, measured: Mapping[str, float]) -> None:
        resumed[step] = measured["loss"]
        if step == 8 and not broken.is_set():
            broken.set()
            raise ConnectionError("the machine went away")

    with pytest.raises(ConnectionError):
        pretrain(make_config(tmp_path / "b"), frames, report)
    pretrain(make_config(tmp_path / "b"), frames, report)  # goes on at step 7, the last saved
    assert resumed == unbroken
    ours, theirs = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in "ab")
    for name, value in ours["trainer"]["target"].items():
        assert torch.equal(value, theirs["trainer"]["target"][name])


def test_state_of_another_configuration_is_refused_by_name(tmp_path: Path, frames: FrameStore) -> None:
    pretrain(make_config(tmp_path, steps=2), frames, lambda step, measured: None)
    with pytest.raises(StateError, match=r"learning_rate: 0.001 then, 0.002 now"):
        pretrain(make_config(tmp_path, steps=2, learning_rate=2e-3), frames, lambda step, measured: None)
    pretrain(make_config(tmp_path, steps=2, save_every=5), frames, lambda step, measured: None)
    (tmp_path / "state.pt").write_bytes(b"not a state")
    with pytest.raises(StateError, match="can't be read"):
        pretrain(make_config(tmp_path, steps=2), frames, lambda step, measured: None)


def test_a_collapse_ends_the_run_after_some_patience(tmp_path: Path) -> None:
    config = make_config(tmp_path, patience=2)
    alike = token_health(torch.ones(8, 16, 24))
    assert alike["token_std"] < 1e-3
    looks = check_collapse(config, 0, alike, 0)
    assert looks == 1
    with pytest.raises(CollapseError, match="std of its tokens"):
        check_collapse(config, 4, alike, looks)
    assert check_collapse(config, 4, {"token_std": 0.5, "token_rank": 20.0}, looks) == 0


def test_a_collapsed_encoder_ends_the_run(tmp_path: Path, frames: FrameStore) -> None:
    with pytest.raises(CollapseError, match="at step 4"):
        pretrain(make_config(tmp_path, minimum_std=50.0, patience=2), frames, lambda step, measured: None)


def test_the_effective_rank_counts_directions() -> None:
    torch.manual_seed(0)
    flat = torch.randn(4096, 3) @ torch.linalg.qr(torch.randn(24, 3))[0].T
    assert token_health(flat.view(256, 16, 24))["token_rank"] == pytest.approx(3, abs=0.05)


def test_the_effective_rank_ignores_what_all_images_share() -> None:
    torch.manual_seed(0)
    places = 10.0 * torch.randn(16, 24)
    tokens = places + torch.randn(256, 16, 1) * torch.randn(24)
    assert token_health(tokens)["token_rank"] == pytest.approx(1, abs=0.01)


def test_jitter_changes_images_within_its_strength() -> None:
    pixels = torch.randn(4, 3, 8, 8)
    changed = jitter(pixels, 0.2, torch.Generator().manual_seed(0))
    assert not torch.equal(changed, pixels)
    assert ((changed - pixels).abs() <= 0.2 * pixels.abs() + 0.2 + 1e-5).all()
    assert jitter(pixels, 0.0, torch.Generator()) is pixels


def test_the_saved_encoder_is_transformers_format(tmp_path: Path, encoder: Encoder) -> None:
    save_encoder(encoder, tmp_path / "encoder")
    loaded = VJEPA2Model.from_pretrained(tmp_path / "encoder").encoder
    pixels = torch.randn(2, 3, 32, 32)
    tokens = layer_norm(loaded(pixels[:, None]).last_hidden_state)
    torch.testing.assert_close(tokens, encoder(pixels), atol=2e-5, rtol=1e-5)
    assert torch.equal(load_encoder(tmp_path / "encoder")(pixels), encoder(pixels))
    with pytest.raises(ValueError, match="no encoder in transformers' format"):
        load_encoder(tmp_path)
    assert {path.name for path in (tmp_path / "encoder").iterdir()} == {"config.json", "model.safetensors"}


def test_the_learning_rate_rises_then_falls() -> None:
    factors = [learning_rate_factor(step, 100, 10, "cosine", 0.1) for step in range(101)]
    assert factors[0] < 0.1 and factors[10] == 1.0 == max(factors) and factors[100] == pytest.approx(0.1)
    assert learning_rate_factor(55, 100, 10, "linear") == pytest.approx(0.5)
    assert learning_rate_factor(99, 100, 10, "constant") == 1.0
