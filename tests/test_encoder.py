"""The encoder: against the official code's stored outputs, against transformers', and its preprocessing."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import VJEPA2Model

from tests.small_models import GOLDEN_FILES, golden_model, golden_outputs, randomise
from world_model.encoders.pixels import IMAGE_MEAN, IMAGE_STD
from world_model.encoders.vjepa2 import Encoder, EncoderConfig
from world_model.rope import halves_order, rotary_tables, rotate_adjacent, rotate_halves

SMALL = EncoderConfig(image_size=24, width=24, depth=2, heads=2, patch_size=8, mlp_ratio=2.0)


def random_encoder(config: EncoderConfig = SMALL) -> Encoder:
    encoder = Encoder(config)
    randomise(encoder)
    return encoder.eval()


def unnormalise(pixels: torch.Tensor) -> torch.Tensor:
    """Preprocessed pixels back as (B, h, w, 3) in 0 .. 255."""
    mean, std = torch.tensor(IMAGE_MEAN)[:, None, None], torch.tensor(IMAGE_STD)[:, None, None]
    return 255 * (pixels * std + mean).permute(0, 2, 3, 1)


@pytest.mark.parametrize("name", GOLDEN_FILES)
@torch.no_grad()
def test_encoder_equals_the_official_code(name: str) -> None:
    # Tolerance 1e-4 for other machines' matrix products; 3e-6 is reached here, on values of up to 5.
    encoder, golden = golden_model(name).encoder, golden_outputs(name)
    frames = golden["clip"].transpose(1, 2).flatten(0, 1)  # (B*T, 3, 64, 64)
    assert isinstance(encoder, Encoder)
    raw = encoder.model.encoder(frames[:, None]).last_hidden_state.unflatten(0, (2, 3))
    torch.testing.assert_close(raw, golden["encoder_tokens"], atol=1e-4, rtol=0)
    torch.testing.assert_close(encoder(frames).unflatten(0, (2, 3)), golden["latents"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        EncoderConfig(image_size=32, width=26, depth=1, heads=2, patch_size=16, mlp_ratio=3.0),  # odd heads of 13
        EncoderConfig(image_size=20, width=96, depth=2, heads=3, patch_size=4, tubelet_size=1),
        EncoderConfig(image_size=16, width=88, depth=1, heads=11, patch_size=8, mlp_ratio=120 / 88, tubelet_size=3),
    ],
    ids=["heads of 12", "odd heads", "heads of 32, tubelet 1", "ratio that rounds down, tubelet 3"],
)
@torch.no_grad()
def test_cached_rotary_tables_equal_those_of_transformers(config: EncoderConfig) -> None:
    encoder = random_encoder(config)
    original = VJEPA2Model(config.to_transformers())
    original.load_state_dict(encoder.model.state_dict(), strict=False)  # its masked predictor aside
    clip = torch.randn(2, 1, 3, config.image_size, config.image_size).expand(-1, config.tubelet_size, -1, -1, -1)
    expected = original.eval()(clip, skip_predictor=True).last_hidden_state
    torch.testing.assert_close(encoder.model.encoder(clip).last_hidden_state, expected, atol=2e-5, rtol=1e-5)

    present = torch.stack([torch.randperm(encoder.tokens)[:3].sort().values for _ in range(2)])
    ours, theirs = encoder.model.encoder.layer[0], original.encoder.layer[0]
    x = torch.randn(2, 3, config.width)
    torch.testing.assert_close(ours(x, present)[0], theirs(x, present)[0], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [6, 8, 13, 32, 64, 80])
def test_rotary_embedding_tiles_angles_and_pairs_neighbours(size: int) -> None:
    x, position = torch.randn(size, dtype=torch.float64), (3, 5, 2)
    axis = 2 * (size // 3 // 2)
    expected = x.clone()
    for number, place in enumerate(position):
        for pair in range(axis // 2):
            first, second = number * axis + 2 * pair, number * axis + 2 * pair + 1
            angles = [place * 10000.0 ** (-((2 * pair + k) % (axis // 2)) / (axis / 2)) for k in (0, 1)]
            cosines, sines = torch.tensor(angles).cos(), torch.tensor(angles).sin()
            expected[first] = x[first] * cosines[0] - x[second] * sines[0]
            expected[second] = x[second] * cosines[1] + x[first] * sines[1]
    tables, order = rotary_tables(torch.tensor(position), size), halves_order(size)
    torch.testing.assert_close(rotate_adjacent(x, tables), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(rotate_halves(x[order], tables[:, order]), expected[order], atol=1e-6, rtol=0)


@torch.no_grad()
def test_output_is_layer_normed_tokens_of_each_image_alone() -> None:
    encoder = random_encoder()
    pixels = torch.randn(3, 3, 24, 24)
    tokens = encoder(pixels)
    assert tokens.shape == (3, encoder.tokens, encoder.width) == (3, 9, 24)
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(3, 9), atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.var(-1, unbiased=False), torch.ones(3, 9), atol=1e-3, rtol=0)
    torch.testing.assert_close(encoder(pixels[1:2]), tokens[1:2], atol=1e-5, rtol=0)


def test_preprocessing_normalises_an_image_of_the_right_size() -> None:
    image = torch.randint(0, 256, (1, 24, 24, 3), dtype=torch.uint8)
    expected = (image / 255 - torch.tensor(IMAGE_MEAN)) / torch.tensor(IMAGE_STD)
    torch.testing.assert_close(random_encoder().preprocess(image).permute(0, 2, 3, 1), expected)


@pytest.mark.parametrize(("height", "width", "top", "left"), [(24, 41, 0, 8), (37, 24, 6, 0)])
def test_preprocessing_crops_the_central_square(height: int, width: int, top: int, left: int) -> None:
    image = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)
    expected = image[:, top : top + 24, left : left + 24].float()
    torch.testing.assert_close(unnormalise(random_encoder().preprocess(image)), expected, atol=1e-3, rtol=0)


def test_preprocessing_resizes_bilinearly_without_antialias() -> None:
    # Four times too large: each output pixel lies between the middle two of four input pixels, whatever the outer are.
    image = torch.randint(0, 256, (1, 96, 96, 3), dtype=torch.uint8)
    quads = image[0].float().unflatten(1, (24, 4)).unflatten(0, (24, 4))  # (24, 4, 24, 4, 3)
    expected = quads[:, 1:3, :, 1:3].mean((1, 3))
    torch.testing.assert_close(unnormalise(random_encoder().preprocess(image))[0], expected, atol=1e-3, rtol=0)


def test_images_of_another_size_or_kind_are_refused() -> None:
    encoder = random_encoder()
    with pytest.raises(ValueError, match=r"\(B, 3, 24, 24\), got \(1, 3, 32, 32\)"):
        encoder(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match=r"uint8 RGB, got .*float32"):
        encoder.preprocess(torch.zeros(1, 24, 24, 3))
    with pytest.raises(ValueError, match="uint8 RGB"):
        encoder.preprocess(torch.zeros(1, 3, 24, 24, dtype=torch.uint8))


def test_encoder_holds_no_masked_predictor_and_no_tables_in_its_weights() -> None:
    assert all(name.startswith("model.encoder.") for name in random_encoder().state_dict())


@torch.no_grad()
def test_a_copy_does_not_share_tables_with_the_original() -> None:
    encoder = random_encoder()
    pixels = torch.randn(1, 3, 24, 24)
    expected = encoder(pixels)
    twin = copy.deepcopy(encoder).double()
    assert torch.equal(encoder(pixels), expected)
    torch.testing.assert_close(twin(pixels.double()).float(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "changes", [{"image_size": 25}, {"heads": 5}, {"heads": 8}, {"depth": 0}, {"mlp_ratio": -1.0}], ids=str
)
def test_an_impossible_shape_is_refused(changes: dict) -> None:
    values = {"image_size": 24, "width": 24, "depth": 2, "heads": 2, "patch_size": 8}
    with pytest.raises(ValueError, match=r"must|do not fill"):
        EncoderConfig(**{**values, **changes})
