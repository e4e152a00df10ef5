"""The predictor: against the official code's stored outputs, causality, the prefix cache, every size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.small_models import GOLDEN_FILES, golden_model, golden_outputs, random_actions, small_predictor
from world_model.predictors.vjepa2_ac import Cache, Predictor, PredictorConfig

RELEASED = PredictorConfig(1408, 1024, 24, 16, 4.0, 16, 16)


def inputs(predictor: Predictor, batch: int, frames: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Tokens, actions, poses and, where the predictor takes them, extrinsics."""
    generator, config = torch.Generator().manual_seed(seed), predictor.config
    widths = [config.action_size, config.pose_size, *([6] if config.extrinsics else [])]
    tokens = torch.randn(batch, frames, config.tokens, config.token_width, generator=generator)
    return tokens, *(torch.randn(batch, frames, width, generator=generator) for width in widths)


def extend(predictor: Predictor, parts: tuple[Tensor, ...], cache: Cache | None) -> tuple[Tensor, Cache]:
    tokens, actions, poses, *extrinsics = parts
    return predictor.extend(tokens, actions, poses, cache, extrinsics[0] if extrinsics else None)


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("name", GOLDEN_FILES)
@torch.no_grad()
def test_predictor_equals_the_official_code(name: str, frames: int) -> None:
    # Tolerance 1e-4 for other machines' matrix products; 1.3e-6 is reached here, on values of up to 1.
    predictor, golden = golden_model(name).predictor, golden_outputs(name)
    parts = [golden[key][:, :frames] for key in ("latents", "actions", "states", "extrinsics") if key in golden]
    torch.testing.assert_close(predictor(*parts), golden[f"pred_T{frames}"], atol=1e-4, rtol=0)


VARIANTS = [
    {},
    {"residual": True},
    {"extrinsics": True},
    {"pose_size": 0},
    {"pose_size": 3, "action_size": 4},
    {"width": 26},  # odd heads of 13
    {"heads": 3, "width": 96, "grid_height": 1, "grid_width": 5},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("split", [(1, 1, 1, 1), (3, 1), (1, 3), (2, 2)], ids=str)
@torch.no_grad()
def test_extending_a_cache_equals_one_pass(variant: dict, split: tuple[int, ...]) -> None:
    predictor = small_predictor(**variant)
    parts = inputs(predictor, 2, 4)
    cache, predictions = None, []
    for piece in zip(*(part.split(split, dim=1) for part in parts), strict=True):
        predicted, cache = extend(predictor, piece, cache)
        predictions.append(predicted)
    assert cache is not None and cache.frames == 4
    torch.testing.assert_close(torch.cat(predictions, 1), predictor(*parts), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@torch.no_grad()
def test_a_prediction_depends_on_its_own_and_earlier_frames_alone(variant: dict) -> None:
    predictor = small_predictor(**variant)
    before, after = inputs(predictor, 1, 4), inputs(predictor, 1, 4, seed=1)
    expected = predictor(*before)
    for changed in range(4):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            if old.shape[-1] == 0:  # no pose token
                continue
            mixed = list(before)
            mixed[index] = torch.cat((old[:, :changed], new[:, changed : changed + 1], old[:, changed + 1 :]), 1)
            difference = (predictor(*mixed) - expected).abs().amax((0, 2, 3))
            assert torch.all(difference[:changed] == 0) and torch.all(difference[changed:] > 1e-6)


@torch.no_grad()
def test_samples_share_a_prefix_as_if_each_had_its_own() -> None:
    predictor = small_predictor()
    past, (tokens, _, poses) = inputs(predictor, 1, 2), inputs(predictor, 1, 1, seed=1)
    actions = random_actions(5, 1)
    _, shared = extend(predictor, past, None)
    _, copied = extend(predictor, tuple(part.expand(5, *part.shape[1:]) for part in past), None)
    expected, _ = predictor.extend(tokens.repeat(5, 1, 1, 1), actions, poses.repeat(5, 1, 1), copied)
    predicted, cache = predictor.extend(tokens, actions, poses, shared)
    torch.testing.assert_close(predicted, expected, atol=2e-5, rtol=1e-4)
    assert [key.shape[0] for key in cache.keys[0]] == [1, 1, 5]
    assert all(kept is old for kept, old in zip(cache.keys[0], shared.keys[0], strict=False))


@torch.no_grad()
def test_the_first_frames_of_a_cache_are_the_cache_of_the_first_frames() -> None:
    predictor = small_predictor()
    parts = inputs(predictor, 2, 4)
    _, cache = extend(predictor, parts, None)
    last = tuple(part[:, 3:] for part in parts)
    expected, _ = extend(predictor, last, extend(predictor, tuple(part[:, :2] for part in parts), None)[1])
    torch.testing.assert_close(extend(predictor, last, cache.first(2))[0], expected, atol=2e-5, rtol=1e-4)


def test_gradients_equal_finite_differences_in_the_teacher_forced_pass_and_through_a_cache() -> None:
    predictor = small_predictor(grid_width=1, token_width=3, width=12, depth=2, mlp_ratio=1.0).double()
    parts = tuple(part.double().requires_grad_() for part in inputs(predictor, 1, 2))

    def cached(*parts: Tensor) -> Tensor:
        _, cache = extend(predictor, tuple(part[:, :1] for part in parts), None)
        return extend(predictor, tuple(part[:, 1:] for part in parts), cache)[0]

    assert torch.autograd.gradcheck(predictor, parts)
    assert torch.autograd.gradcheck(cached, parts)


@torch.no_grad()
def test_a_new_residual_predictor_copies_its_input() -> None:
    predictor = Predictor(PredictorConfig(12, 24, 2, 2, 4.0, 2, 3, residual=True))
    parts = inputs(predictor, 2, 3)
    assert torch.equal(predictor(*parts), parts[0])


@torch.no_grad()
def test_a_new_predictor_has_the_official_initialisation() -> None:
    predictor = Predictor(PredictorConfig(96, 192, 3, 6, 4.0, 2, 3))
    for name, parameter in predictor.named_parameters():
        if "norm" in name or name.endswith("bias"):
            assert torch.all(parameter == float("norm" in name and name.endswith("weight")))
        else:
            number = int(name.split(".")[1]) + 1 if "blocks" in name else 0
            narrowed = name.endswith(("attn.proj.weight", "mlp.fc2.weight"))
            expected = 0.02 / (2 * number) ** 0.5 if narrowed else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.1), name


def test_the_released_size_has_the_official_parameters() -> None:
    with torch.device("meta"):
        predictor = Predictor(RELEASED)
    shapes = {name: tuple(parameter.shape) for name, parameter in predictor.state_dict().items()}
    assert len(shapes) == 300 and sum(p.numel() for p in predictor.parameters()) == 305_220_992
    assert shapes["predictor_embed.weight"] == (1024, 1408) and shapes["predictor_proj.weight"] == (1408, 1024)
    assert shapes["state_encoder.weight"] == (1024, 7) and shapes["extrinsics_encoder.weight"] == (1024, 6)
    assert shapes["predictor_blocks.23.attn.qkv.weight"] == (3072, 1024)


def test_too_many_frames_and_wrong_shapes_are_refused() -> None:
    predictor = small_predictor(max_frames=3)
    tokens, actions, poses = inputs(predictor, 1, 3)
    _, cache = predictor.extend(tokens, actions, poses)
    with pytest.raises(ValueError, match=r"3 frames at most, got 3 \+ 1"):
        predictor.extend(tokens[:, :1], actions[:, :1], poses[:, :1], cache)
    with pytest.raises(ValueError, match=r"actions must be \(batch, 3, 7\), got \(1, 2, 7\)"):
        predictor(tokens, actions[:, :2], poses)
    with pytest.raises(ValueError, match=r"tokens must be \(batch, 3, 6, 12\)"):
        predictor(tokens[:, :, :4], actions, poses)
    with pytest.raises(ValueError, match="takes no extrinsics"):
        predictor(tokens, actions, poses, torch.zeros(1, 3, 6))
    with pytest.raises(ValueError, match=r"extrinsics must be .* got None"):
        small_predictor(extrinsics=True)(tokens, actions, poses)


@pytest.mark.parametrize(
    "changes", [{"heads": 5}, {"heads": 8}, {"depth": 0}, {"pose_size": -1}, {"max_frames": 0}], ids=str
)
def test_an_impossible_shape_is_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match="must"):
        small_predictor(**changes)
