"""The compact world model: rollouts, what they depend on, gradients, the regulariser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import ACTIONS, STATISTICS, random_actions, randomise, small_compact
from transformers import Dinov2Config, Dinov2Model

from envs.pose import compose
from envs.spec import Goal, Observation
from planner.control.controller import Controller
from planner.search.cem import CEM, CEMConfig
from world_model.base import LatentState
from world_model.checkpoints.checkpoint import save_checkpoint
from world_model.compact import CompactModel
from world_model.encoders.folder import load_encoder
from world_model.encoders.readout import ReadoutConfig
from world_model.load import load_world_model
from world_model.predictors.compact import CompactDynamics, DynamicsConfig
from world_model.statistics import Statistics
from world_model.training.sigreg import sigreg


def random_latents(frames: int = 1, latents: int = 2) -> LatentState:
    generator = torch.Generator().manual_seed(0)
    poses = torch.rand(1, frames, 7, generator=generator) * 0.3 + 0.3
    return LatentState(torch.randn(1, frames, latents, 5, generator=generator), poses)


def observations(count: int, size: int = 20) -> Sequence[Observation]:
    generator = np.random.default_rng(0)
    return [
        Observation(generator.integers(0, 256, (size, size, 3), dtype=np.uint8), generator.random(7), float(time))
        for time in range(count)
    ]


def test_a_rollout_is_its_steps_one_by_one() -> None:
    model, state, actions = small_compact(), random_latents(), random_actions(3, 4)
    whole = model.rollout(state, actions)
    assert whole.tokens.shape == (3, 4, 2, 5) and whole.poses.shape == (3, 4, 7)
    for sample in range(3):
        now = state
        for step in range(4):
            now = model.rollout(now, actions[sample : sample + 1, step : step + 1])
            torch.testing.assert_close(now.tokens[0, 0], whole.tokens[sample, step])
            torch.testing.assert_close(now.poses[0, 0], whole.poses[sample, step])
    torch.testing.assert_close(whole.poses[:, 0], compose(state.poses[:, 0].expand(3, -1), actions[:, 0]))


def test_samples_and_earlier_frames_do_not_matter_and_actions_do() -> None:
    model, state, actions = small_compact(), random_latents(frames=3), random_actions(4, 2)
    whole = model.rollout(state, actions).tokens
    torch.testing.assert_close(model.rollout(state, actions[1:2]).tokens, whole[1:2])
    last = LatentState(state.tokens[:, -1:], state.poses[:, -1:])
    torch.testing.assert_close(model.rollout(last, actions).tokens, whole)
    assert (whole[0] - whole[1]).abs().min() > 1e-6
    other = LatentState(state.tokens, state.poses + 0.1)
    assert (model.rollout(other, actions).tokens - whole).abs().max() > 1e-3


def test_gradients_of_a_rollout_are_those_of_finite_differences() -> None:
    model, state = small_compact().double(), random_latents()
    state = LatentState(state.tokens.double(), state.poses.double())
    actions = random_actions(2, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: model.rollout(state, given).tokens, (actions,), atol=1e-5)
    assert not model.rollout(state, actions.detach()).tokens.requires_grad


def test_an_angle_that_goes_all_the_way_round_has_no_place_where_it_jumps() -> None:
    turning = replace(STATISTICS, pose_std=(*STATISTICS.pose_std[:5], 1.7, STATISTICS.pose_std[6]))
    small = small_compact()
    assert small.pose_numbers == 7
    with pytest.raises(ValueError, match="pose dimensions of statistics and dynamics differ: 8 and 7"):
        CompactModel(small.encoder, small.readout, small.dynamics, ACTIONS, turning)
    dynamics = CompactDynamics(DynamicsConfig(10, pose_size=8, width=16, depth=2))
    randomise(dynamics)
    model = CompactModel(small.encoder, small.readout, dynamics, ACTIONS, turning).freeze()
    poses = torch.rand(40, 7) * 0.3
    poses[:, 5] = torch.linspace(-7.0, 7.0, 40)
    given = model.normalise_poses(poses)
    assert given.shape == (40, 8) and 0.9 < given[:, 5].std() < 1.1 and 0.9 < given[:, 7].std() < 1.1
    torch.testing.assert_close(given[:, [0, 1, 2, 3, 4, 6]], small.normalise_poses(poses)[:, [0, 1, 2, 3, 4, 6]])
    turns = (model.poses_at(given) - poses) / (2 * torch.pi)
    torch.testing.assert_close(turns, turns.round(), atol=1e-5, rtol=0)
    assert not turns[:, [0, 1, 2, 3, 4, 6]].round().any()
    one, other = (LatentState(random_latents().tokens, poses[:1, None].clone()) for _ in range(2))
    one.poses[..., 5], other.poses[..., 5] = torch.pi - 1e-4, -torch.pi + 1e-4
    actions = random_actions(2, 3)
    torch.testing.assert_close(
        model.rollout(one, actions).tokens, model.rollout(other, actions).tokens, atol=1e-3, rtol=0
    )


def test_what_bounds_hold_and_what_recordings_hardly_move_is_fixed() -> None:
    actions = torch.randn(500, 7) * torch.tensor([1.0, 1.0, 1.0, 1.0, 0.1, 1.0, 1.0])
    model = small_compact()
    model.action_spec = replace(ACTIONS, low=(-0.1,) * 3 + (0.0,) + (-0.1,) * 3, high=(0.1,) * 3 + (0.0,) + (0.1,) * 3)
    free, used = model.free(actions)
    assert free.tolist() == used.tolist() == [1, 1, 1, 0, 0, 1, 1]
    assert model.free()[0].tolist() == [1, 1, 1, 0, 1, 1, 1]
    slow = torch.randn(500, 7) * 0.2  # of a parent's deviations, 4 cm: 8 mm are motion, 4 mm are not
    assert model.free(slow)[0].tolist() == [1, 1, 1, 0, 1, 1, 1] and not model.free(0.5 * slow)[0].any()


@pytest.mark.parametrize("pooling", ["grid", "attentive"])
def test_an_image_is_encoded_alike_alone_and_among_others(pooling: str) -> None:
    model, seen = small_compact(pooling=pooling), observations(3)
    together = model.encode(seen)
    assert together.tokens.shape == (1, 3, 2, 5) and together.tokens.dtype == torch.float32
    torch.testing.assert_close(model.encode(seen[1:2]).tokens[0, 0], together.tokens[0, 1])
    assert (together.tokens[0, 0] - together.tokens[0, 1]).abs().max() > 1e-3


def test_without_learning_nothing_changes() -> None:
    dynamics = CompactDynamics(DynamicsConfig(10))
    latents = torch.randn(3, 10)
    torch.testing.assert_close(dynamics(latents, torch.randn(3, 7), torch.randn(3, 7)), latents)


def test_a_controller_plans_with_it() -> None:
    model, (start, goal) = small_compact(), observations(2)
    controller = Controller(model, CEM(CEMConfig(horizon=3, samples=16, elites=4, iterations=2)), ACTIONS)
    controller.reset([Goal(goal.image, goal.pose)], seed=0)
    action, plan = controller.step(start)
    assert action.shape == (7,) and np.isfinite(plan.cost)


def test_parts_that_do_not_fit_are_named() -> None:
    model = small_compact()
    parts = model.encoder, model.readout, model.dynamics
    with pytest.raises(ValueError, match="numbers a frame of readout and dynamics differ: 10 and 12"):
        CompactModel(*parts[:2], CompactDynamics(DynamicsConfig(12)), ACTIONS, STATISTICS)
    with pytest.raises(ValueError, match="pose dimensions of statistics and dynamics differ: 6 and 7"):
        CompactModel(*parts, ACTIONS, Statistics.identity(7, 6))
    with pytest.raises(ValueError, match="a readout's latents must be at least 1"):
        ReadoutConfig(4, 12, latents=0)


def test_sigreg_is_small_for_a_gaussian_and_large_for_what_has_collapsed() -> None:
    generator = torch.Generator().manual_seed(0)
    gaussian = torch.randn(512, 16, generator=generator)

    def measure(latents: torch.Tensor) -> float:
        return sigreg(latents, torch.Generator().manual_seed(1)).item()

    expected = measure(gaussian)
    assert expected < 1.5  # its expectation under N(0, I) does not grow with the batch
    flat = gaussian.clone()
    flat[:, :8] = 0.0
    for other in (gaussian * 0.0, 2.0 * gaussian, flat, gaussian + 0.5):
        assert measure(other) > 3 * expected


def test_sigreg_pulls_a_collapsed_batch_apart() -> None:
    latents = (0.01 * torch.randn(256, 8, generator=torch.Generator().manual_seed(0))).requires_grad_()
    generator, optimizer = torch.Generator().manual_seed(1), torch.optim.Adam([latents], 0.05)
    for _ in range(200):
        optimizer.zero_grad()
        sigreg(latents, generator, slices=64).backward()
        optimizer.step()
    covariance = torch.cov(latents.detach().T)
    torch.testing.assert_close(covariance, torch.eye(8), atol=0.2, rtol=0.0)


@torch.no_grad()
def test_a_checkpoint_of_it_plans_alike(tmp_path: Path) -> None:
    model = small_compact()
    manifest = save_checkpoint(tmp_path / "small", model, training={"command": "made up"})
    assert manifest.kind == "compact" and set(manifest.parts) == {"encoder", "readout", "dynamics"}
    loaded = load_world_model(tmp_path / "small")
    assert isinstance(loaded, CompactModel) and loaded.image_size == 16
    seen, actions = observations(2), random_actions(3, 2)
    assert torch.equal(loaded.encode(seen).tokens, model.encode(seen).tokens)
    assert torch.equal(
        loaded.rollout(random_latents(), actions).tokens, model.rollout(random_latents(), actions).tokens
    )
    rounded = load_world_model(tmp_path / "small", precision="bf16").encode(seen)
    assert rounded.tokens.dtype == torch.float32
    torch.testing.assert_close(rounded.tokens, model.encode(seen).tokens, atol=0.1, rtol=0.1)


def test_a_backbone_of_transformers_is_its_encoder_in_a_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = Dinov2Config(hidden_size=12, num_hidden_layers=1, num_attention_heads=2, patch_size=8, image_size=16)
    Dinov2Model(shape).save_pretrained(tmp_path / "dino")
    encoder, small = load_encoder(tmp_path / "dino"), small_compact()
    model = CompactModel(encoder, small.readout, small.dynamics, ACTIONS, STATISTICS).freeze()
    save_checkpoint(tmp_path / "with-dino", model, training={})
    loaded, seen = load_world_model(tmp_path / "with-dino"), observations(2)
    assert isinstance(loaded, CompactModel)
    assert loaded.encoder.fingerprint == encoder.fingerprint
    assert torch.equal(loaded.encode(seen).tokens, model.encode(seen).tokens)
