"""The world model: against the official code's stored rollouts, what a rollout is, gradients, losses, units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from envs.pose import compose, difference
from envs.spec import Goal, Observation
from tests.small_models import (
    ACTIONS,
    STATISTICS,
    golden_model,
    golden_outputs,
    random_actions,
    random_state,
    randomise,
    small_model,
    small_predictor,
)
from world_model.base import LatentState
from world_model.encoders.vjepa2 import layer_norm
from world_model.statistics import Statistics
from world_model.vjepa2_ac import VJEPA2AC


@pytest.mark.parametrize("sample", [0, 1])
@torch.no_grad()
def test_rollout_equals_the_official_code(sample: int) -> None:
    # Tolerance 1e-4 for other machines' matrix products; 3.3e-6 (latents) and 1.2e-7 (poses) are reached here.
    model, golden = golden_model(), {key: value[sample : sample + 1] for key, value in golden_outputs().items()}
    state = LatentState(golden["latents"][:, :1], golden["rollout_state0"])
    predicted = model.rollout(state, golden["actions"])
    torch.testing.assert_close(golden["rollout_latents"][:, :1], state.tokens, atol=1e-4, rtol=0)
    torch.testing.assert_close(predicted.tokens, golden["rollout_latents"][:, 1:], atol=1e-4, rtol=0)
    torch.testing.assert_close(predicted.poses, golden["rollout_states"][:, 1:], atol=1e-4, rtol=0)


@torch.no_grad()
def test_encode_gives_layer_normed_tokens_and_measured_poses() -> None:
    model, random = small_model(), np.random.default_rng(0)
    seen = [
        Observation(random.integers(0, 256, size, dtype=np.uint8), random.normal(size=7), time)
        for time, size in enumerate([(20, 30, 3), (16, 16, 3)])
    ]
    state = model.encode(seen)
    assert state.tokens.shape == (1, 2, 4, 12) and state.poses.shape == (1, 2, 7) and not state.tokens.requires_grad
    assert np.allclose(state.poses[0].numpy(), [look.pose for look in seen])
    alone = model.encoder(model.encoder.preprocess(torch.from_numpy(seen[0].image)[None]))
    torch.testing.assert_close(state.tokens[0, :1], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_goal_is_encoded_as_an_observation_is_and_what_is_open_stays_open() -> None:
    model, pose = small_model(), np.linspace(0.1, 0.7, 7)
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    seen, opened = model.encode([Observation(image, pose, 0.0)]), model.encode_goal(Goal(image))
    assert torch.equal(opened.tokens, seen.tokens[0, 0]) and opened.image is image
    assert opened.pose is None and opened.mask is None
    told = model.encode_goal(Goal(image, pose)).pose
    assert told is not None and torch.equal(told, seen.poses[0, 0])


@torch.no_grad()
def test_a_goals_mask_becomes_the_weights_of_the_patches_that_the_encoder_sees() -> None:
    model, image, mask = small_model(), np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30), bool)
    mask[:, :5], mask[:10, 5:15], mask[10:, 15:20] = True, True, True  # its central square is columns 5..24
    weights = model.encode_goal(Goal(image, mask=mask)).mask
    assert weights is not None
    torch.testing.assert_close(weights, torch.tensor([1.0, 0.0, 0.0, 0.5]))
    levels = model.encode_goal(Goal(image, mask=np.where(mask, 255, 0).astype(np.uint8))).mask
    assert levels is not None and torch.equal(levels, weights)
    mask[:, 5:] = False
    with pytest.raises(ValueError, match="the central square of the goal's mask is all black"):
        model.encode_goal(Goal(image, mask=mask))


@pytest.mark.parametrize("frames", [1, 3])
@torch.no_grad()
def test_three_steps_at_once_equal_three_rollouts_of_one_step(frames: int) -> None:
    model = small_model(context=frames + 2)
    state, actions = random_state(frames), random_actions(1, 3)
    expected = model.rollout(state, actions)
    for step in range(3):
        predicted = model.rollout(state, actions[:, step : step + 1])
        torch.testing.assert_close(predicted.tokens[:, 0], expected.tokens[:, step], atol=1e-4, rtol=0)
        torch.testing.assert_close(predicted.poses[:, 0], expected.poses[:, step], atol=1e-5, rtol=0)
        tokens = torch.cat([state.tokens, predicted.tokens], dim=1)
        state = LatentState(tokens, torch.cat([state.poses, predicted.poses], dim=1))


@torch.no_grad()
def test_samples_are_independent() -> None:
    model, state, actions = small_model(), random_state(2), random_actions(6, 3)
    together = model.rollout(state, actions)
    assert together.tokens.shape == (6, 3, 4, 12) and together.poses.shape == (6, 3, 7)
    for sample in (0, 5):
        alone = model.rollout(state, actions[sample : sample + 1])
        torch.testing.assert_close(alone.tokens[0], together.tokens[sample], atol=2e-5, rtol=0)
        torch.testing.assert_close(alone.poses[0], together.poses[sample], atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_frame_depends_on_its_past_actions_alone() -> None:
    model, state, actions = small_model(), random_state(2), random_actions(4, 3)
    changed = actions.clone()
    changed[:, 1] += 0.05
    difference = (model.rollout(state, changed).tokens - model.rollout(state, actions).tokens).abs().amax((0, 2, 3))
    assert difference[0] == 0 and torch.all(difference[1:] > 1e-4)


@torch.no_grad()
def test_a_rollout_is_the_predictor_on_normalised_frames_actions_and_poses() -> None:
    model, state, actions = small_model(context=3), random_state(4), random_actions(2, 2)
    mean, std = torch.tensor(STATISTICS.action_mean), torch.tensor(STATISTICS.action_std)
    pose_mean, pose_std = torch.tensor(STATISTICS.pose_mean), torch.tensor(STATISTICS.pose_std)
    tokens, poses = state.tokens[:, -3:].expand(2, -1, -1, -1), state.poses[:, -3:].expand(2, -1, -1)
    past = difference(poses[:, :-1], poses[:, 1:])
    for step in range(2):
        past = torch.cat((past, actions[:, step : step + 1]), 1)
        predicted = layer_norm(model.predictor(tokens, (past - mean) / std, (poses - pose_mean) / pose_std))[:, -1:]
        tokens = torch.cat((tokens, predicted), 1)
        poses = torch.cat((poses, compose(poses[:, -1:], actions[:, step : step + 1])), 1)
    result = model.rollout(state, actions)
    torch.testing.assert_close(result.tokens, tokens[:, 3:], atol=1e-4, rtol=0)
    torch.testing.assert_close(result.poses, poses[:, 3:], atol=1e-5, rtol=0)


@torch.no_grad()
def test_frames_older_than_the_context_do_not_matter() -> None:
    model, state, actions = small_model(context=2), random_state(4), random_actions(3, 2)
    recent = LatentState(state.tokens[:, 2:], state.poses[:, 2:])
    assert torch.equal(model.rollout(state, actions).tokens, model.rollout(recent, actions).tokens)
    last = LatentState(state.tokens[:, 3:], state.poses[:, 3:])
    assert not torch.allclose(model.rollout(state, actions).tokens, model.rollout(last, actions).tokens, atol=1e-3)


@pytest.mark.parametrize("frames", [1, 2])
def test_rollout_gradients_equal_finite_differences(frames: int) -> None:
    model = small_model(token_width=12, width=12, depth=1, mlp_ratio=1.0).double()
    state = random_state(frames)
    state = LatentState(state.tokens.double(), state.poses.double())
    actions = random_actions(2, 2).double().requires_grad_()
    weights = torch.randn(2, 2, 4, 12, dtype=torch.float64)

    def cost(actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        predicted = model.rollout(state, actions)
        return (predicted.tokens * weights).sum((1, 2, 3)), predicted.poses

    assert torch.autograd.gradcheck(cost, actions)


def test_no_graph_is_kept_unless_the_actions_need_gradients() -> None:
    model, state = small_model(), random_state(2)
    assert not model.rollout(state, random_actions(2, 2)).tokens.requires_grad
    assert model.rollout(state, random_actions(2, 2).requires_grad_()).tokens.requires_grad


@pytest.mark.parametrize("steps", [1, 2, 4])
@torch.no_grad()
def test_losses_are_those_of_predictions_made_one_by_one(steps: int) -> None:
    model, generator = small_model(), torch.Generator().manual_seed(0)
    tokens = layer_norm(torch.randn(3, 5, 4, 12, generator=generator))
    poses, actions = torch.rand(3, 5, 7, generator=generator) * 0.3, random_actions(3, 4)
    statistics = [torch.tensor(values) for values in vars(STATISTICS).values()]
    normal_actions = (actions - statistics[0]) / statistics[1]
    normal_poses = (poses - statistics[2]) / statistics[3]

    def predict(frames: torch.Tensor) -> torch.Tensor:
        length = frames.shape[1]
        return layer_norm(model.predictor(frames, normal_actions[:, :length], normal_poses[:, :length]))[:, -1:]

    forced = torch.cat([predict(tokens[:, :length]) for length in range(1, 5)], 1)
    rolled = tokens[:, :1]
    for _ in range(steps):
        rolled = torch.cat((rolled, predict(rolled)), 1)
    losses = model.loss(tokens, actions, poses, steps)
    torch.testing.assert_close(losses.teacher_forcing, (forced - tokens[:, 1:]).abs().mean())
    torch.testing.assert_close(losses.rollout, (rolled - tokens[:, : steps + 1])[:, 1:].abs().mean())
    torch.testing.assert_close(losses.total, losses.teacher_forcing + losses.rollout)


def test_the_rollout_loss_trains_through_its_own_predictions() -> None:
    model, state, actions = small_model(), random_state(3), random_actions(1, 2)
    weight = model.predictor.predictor_proj.weight
    normal_actions = (actions - model.action_mean) / model.action_std
    normal_poses = (state.poses - model.pose_mean) / model.pose_std

    def gradient(detach: bool) -> torch.Tensor:
        first = layer_norm(model.predictor(state.tokens[:, :1], normal_actions[:, :1], normal_poses[:, :1]))
        frames = torch.cat((state.tokens[:, :1], first.detach() if detach else first), 1)
        second = layer_norm(model.predictor(frames, normal_actions, normal_poses[:, :2]))[:, 1:]
        return torch.autograd.grad((torch.cat((first, second), 1) - state.tokens[:, 1:]).abs().mean(), weight)[0]

    (found,) = torch.autograd.grad(model.loss(state.tokens, actions, state.poses, 2).rollout, weight)
    torch.testing.assert_close(found, gradient(detach=False), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found, gradient(detach=True), atol=1e-3)


def test_losses_take_bfloat16_latents_and_leave_the_encoder_alone() -> None:
    model, state, actions = small_model(), random_state(4), random_actions(1, 3)
    losses = model.train().loss(state.tokens.bfloat16(), actions, state.poses, 2)
    losses.total.backward()
    assert losses.total.dtype == torch.float32 and not model.encoder.training and model.predictor.training
    assert all(p.grad is None and not p.requires_grad for p in model.encoder.parameters())
    assert all(p.grad is not None for name, p in model.predictor.named_parameters() if "extrinsics" not in name)
    assert model.loss(state.tokens, actions, state.poses, 0).rollout == 0
    with pytest.raises(ValueError, match="4 frames has no 4 rollout steps"):
        model.loss(state.tokens, actions, state.poses, 4)


@torch.no_grad()
def test_bfloat16_is_near_float32() -> None:
    # 2^-9 relative rounding in each product; layer-normed values are of order 1.
    model, state, actions = small_model(), random_state(2), random_actions(2, 2)
    expected = model.rollout(state, actions)
    model.predictor.bfloat16()
    rounded = model.rollout(state, actions)
    assert rounded.tokens.dtype == torch.float32 and torch.equal(rounded.poses, expected.poses)
    assert 0 < (rounded.tokens - expected.tokens).abs().mean() < 0.05


def test_parts_that_do_not_fit_are_refused() -> None:
    model = small_model()
    with pytest.raises(ValueError, match="tokens a frame differ: 4 and 6"):
        VJEPA2AC(model.encoder, small_predictor(), ACTIONS, STATISTICS)
    with pytest.raises(ValueError, match="of spec and predictor differ: 7 and 3"):
        VJEPA2AC(model.encoder, small_predictor(grid_width=2, action_size=3), ACTIONS, STATISTICS)
    with pytest.raises(ValueError, match="of statistics and predictor differ: 2 and 7"):
        VJEPA2AC(model.encoder, model.predictor, ACTIONS, Statistics.identity(action_size=2))
    with pytest.raises(ValueError, match=r"context must be 1 \.\. 6"):
        VJEPA2AC(model.encoder, model.predictor, ACTIONS, STATISTICS, context=7)
    with pytest.raises(ValueError, match="a std positive"):
        replace(STATISTICS, pose_std=(0.0,) * 7)


@torch.no_grad()
def test_a_predictor_without_pose_tokens_rolls_out_too() -> None:
    model = small_model(pose_size=0)
    randomise(model.predictor, seed=3)
    predicted = model.rollout(random_state(2), random_actions(2, 2))
    assert predicted.tokens.shape == (2, 2, 4, 12) and predicted.poses.shape == (2, 2, 7)
