"""Ours against the official code run beside it, in shapes that no stored file has.

VJEPA2_REPOSITORY=path/to/vjepa2 python -m pytest tests/test_official_repository.py

Skipped without a checkout of github.com/facebookresearch/vjepa2 (the encoder's test also needs einops).
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from planner.objectives.objective import GoalDistance, GoalDistanceConfig, rollout_score
from planner.search.official_cem import OfficialCEM, OfficialCEMConfig
from tests.small_models import randomise
from world_model.base import LatentState
from world_model.encoders.vjepa2 import Encoder, EncoderConfig, layer_norm
from world_model.importing.official import OFFICIAL_ACTIONS, encoder_to_transformers
from world_model.predictors.vjepa2_ac import Predictor, PredictorConfig
from world_model.statistics import Statistics
from world_model.vjepa2_ac import VJEPA2AC

CHECKOUT = os.environ.get("VJEPA2_REPOSITORY")
pytestmark = pytest.mark.skipif(not CHECKOUT, reason="VJEPA2_REPOSITORY names no checkout of the official code")
PREDICTORS = [
    PredictorConfig(24, 48, 2, 2, 4.0, 4, 4, max_frames=4),
    PredictorConfig(24, 96, 3, 3, 4.0, 2, 2, max_frames=8),
    PredictorConfig(40, 66, 2, 3, 2.0, 7, 7, max_frames=2),  # heads of 22: 4 dimensions are left over
    PredictorConfig(24, 64, 1, 1, 4.0, 3, 3, max_frames=16),
    PredictorConfig(24, 48, 2, 4, 3.0, 6, 4, max_frames=4),  # columns are stretched to the number of rows
    PredictorConfig(24, 48, 2, 4, 3.0, 3, 6, max_frames=4),
    PredictorConfig(24, 52, 2, 2, 4.0, 4, 4, max_frames=6, extrinsics=True),
    PredictorConfig(16, 48, 1, 2, 4.0, 24, 24, max_frames=2),
]
ENCODERS = [
    EncoderConfig(image_size=64, width=48, depth=2, heads=2),
    EncoderConfig(image_size=56, width=96, depth=2, heads=3, patch_size=14),
    EncoderConfig(image_size=32, width=66, depth=1, heads=3, patch_size=8, mlp_ratio=48 / 11),
    EncoderConfig(image_size=96, width=64, depth=3, heads=4, patch_size=32),
]


@pytest.fixture(scope="module")
def official() -> Any:
    sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
    return importlib.import_module("planner.benchmarks.official_repository").OfficialRepository(Path(str(CHECKOUT)))


@pytest.mark.parametrize("config", PREDICTORS, ids=str)
@torch.no_grad()
def test_predictor_equals_the_official_code_in_every_shape(official: Any, config: PredictorConfig) -> None:
    ours = Predictor(config).eval()
    randomise(ours)
    theirs = official.predictor(config, ours.state_dict())
    generator = torch.Generator().manual_seed(0)
    for frames in range(1, config.max_frames + 1):
        tokens = torch.randn(2, frames, config.tokens, config.token_width, generator=generator)
        widths = (config.action_size, config.pose_size, *((6,) if config.extrinsics else ()))
        conditions = [torch.randn(2, frames, width, generator=generator) for width in widths]
        expected = theirs(tokens.flatten(1, 2), *conditions).unflatten(1, (frames, -1))
        found = ours(tokens, *conditions)
        torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("config", ENCODERS, ids=str)
@torch.no_grad()
def test_encoder_equals_the_official_code_in_every_shape(official: Any, config: EncoderConfig) -> None:
    pytest.importorskip("einops")
    theirs = official.encoder(config)
    randomise(theirs)
    weights = {name: tensor for name, tensor in theirs.state_dict().items() if name != "pos_embed"}
    ours = Encoder(config).eval()
    ours.model.load_state_dict(encoder_to_transformers(weights), strict=True)
    pixels = torch.randn(2, 3, config.image_size, config.image_size, generator=torch.Generator().manual_seed(0))
    expected = theirs(pixels[:, :, None].expand(-1, -1, config.tubelet_size, -1, -1))
    torch.testing.assert_close(ours(pixels), layer_norm(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("horizon", [1, 2, 3, 8])
@torch.no_grad()
def test_the_same_noise_gives_the_official_planners_actions(official: Any, horizon: int) -> None:
    shape = PredictorConfig(24, 48, 2, 2, 4.0, 4, 4, max_frames=horizon)
    predictor = Predictor(shape).eval()
    randomise(predictor)  # actions matter, so that no two samples are as good as each other
    encoder = Encoder(EncoderConfig(image_size=64, width=24, depth=1, heads=2))
    model = VJEPA2AC(encoder, predictor, OFFICIAL_ACTIONS, Statistics.identity(), context=1)
    generator = torch.Generator().manual_seed(1)
    tokens, goal = (layer_norm(torch.randn(1, 1, 16, 24, generator=generator)) for _ in range(2))
    pose = torch.rand(1, 1, 7, generator=generator)
    config = OfficialCEMConfig(horizon=horizon, samples=24, iterations=4, elites=5, momentum_std=0.75)
    cost = GoalDistance(LatentState(goal, pose).as_goal(), GoalDistanceConfig(frames="last"))
    score = rollout_score(model, cost, LatentState(tokens, pose))
    noise = torch.Generator().manual_seed(7)
    plan = OfficialCEM(config).plan(score, OFFICIAL_ACTIONS, torch.zeros(1, horizon, 7), noise)
    theirs = official.world_step(model)
    torch.manual_seed(7)
    expected = official.plan(theirs, tokens, pose, goal, config, 0.05)
    torch.testing.assert_close(plan.actions, expected, atol=1e-4, rtol=0)
