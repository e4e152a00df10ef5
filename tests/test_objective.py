"""Goal distances against the formula, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from planner.objective import GoalDistance, GoalDistanceConfig
from world_model.base import LatentState


def state(samples: int, frames: int, seed: int = 0) -> LatentState:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(samples, frames, 4, 5, generator=generator, dtype=torch.float64)
    poses = 0.3 * torch.randn(samples, frames, 7, generator=generator, dtype=torch.float64)
    return LatentState(tokens, poses)


GOAL = state(1, 1, seed=1)
PREDICTED = state(3, 2)
ACTIONS = torch.zeros(3, 2, 7, dtype=torch.float64)


@pytest.mark.parametrize(("norm", "power"), [("l1", 1), ("l2", 2)])
@pytest.mark.parametrize(("frames", "used"), [("all", slice(None)), ("last", slice(1, None))])
def test_distance_is_the_mean_over_frames_tokens_and_channels(norm, power, frames, used) -> None:
    expected = [
        torch.stack([(frame - GOAL.tokens[0, 0]).abs() ** power for frame in sample[used]]).mean()
        for sample in PREDICTED.tokens
    ]
    cost = GoalDistance(GOAL, GoalDistanceConfig(norm, frames))(PREDICTED, ACTIONS)
    torch.testing.assert_close(cost, torch.stack(expected))


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_distance_is_differentiable(norm) -> None:
    def cost(tokens: torch.Tensor, poses: torch.Tensor) -> torch.Tensor:
        return GoalDistance(GOAL, GoalDistanceConfig(norm, pose_weight=0.5, scales=(1, 2)))(
            LatentState(tokens, poses), ACTIONS
        )

    inputs = (PREDICTED.tokens.clone().requires_grad_(), PREDICTED.poses.clone().requires_grad_())
    assert torch.autograd.gradcheck(cost, inputs)


def test_pose_counts_only_where_it_is_asked_for() -> None:
    elsewhere = LatentState(PREDICTED.tokens, PREDICTED.poses + 1.0)
    assert torch.equal(GoalDistance(GOAL)(PREDICTED, ACTIONS), GoalDistance(GOAL)(elsewhere, ACTIONS))
    at_goal = LatentState(PREDICTED.tokens, GOAL.poses.expand(3, 2, 7))
    with_pose = GoalDistance(GOAL, GoalDistanceConfig(pose_weight=2.0))
    torch.testing.assert_close(with_pose(at_goal, ACTIONS), GoalDistance(GOAL)(at_goal, ACTIONS))
    moved = GOAL.poses.expand(3, 2, 7) + torch.tensor([0.07, 0, 0, 0, 0, 0, 0], dtype=torch.float64)
    extra = with_pose(LatentState(PREDICTED.tokens, moved), ACTIONS) - with_pose(at_goal, ACTIONS)
    torch.testing.assert_close(extra, torch.full((3,), 2.0 * 0.01, dtype=torch.float64))


@pytest.mark.parametrize(
    "wrong", [{"norm": "l3"}, {"frames": "first"}, {"pose_weight": -1.0}, {"scales": (0,)}, {"scales": ()}]
)
def test_unknown_settings_are_an_error(wrong) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        GoalDistanceConfig(**wrong)


def test_a_goal_of_several_frames_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"one frame.*\(3, 2, 4, 5\)"):
        GoalDistance(PREDICTED)


@pytest.mark.parametrize(("norm", "power"), [("l1", 1), ("l2", 2)])
def test_coarser_scales_compare_averages_of_neighbouring_tokens(norm, power) -> None:
    residuals = (PREDICTED.tokens - GOAL.tokens).unflatten(2, (2, 2))
    fine = (residuals.abs() ** power).flatten(1).mean(1)
    coarse = (residuals.mean((2, 3)).abs() ** power).flatten(1).mean(1)
    cost = GoalDistance(GOAL, GoalDistanceConfig(norm, scales=(2, 1)))(PREDICTED, ACTIONS)
    torch.testing.assert_close(cost, (fine + coarse) / 2)


def test_a_near_miss_costs_less_than_a_far_one_on_a_coarse_scale_alone() -> None:
    places = torch.zeros(3, 1, 25, 1)  # 5 x 5
    places[0, 0, 6], places[1, 0, 7], places[2, 0, 18] = 1.0, 1.0, 1.0  # goal, beside it, far from it
    predicted = LatentState(places, torch.zeros(3, 1, 7))
    goal = LatentState(places[:1], torch.zeros(1, 1, 7))
    fine, coarse = (GoalDistance(goal, GoalDistanceConfig(scales=(s,)))(predicted, ACTIONS[:, :1]) for s in (1, 2))
    assert fine[1] == fine[2] > fine[0] == 0
    assert coarse[2] > coarse[1] > coarse[0] == 0


def test_scales_need_a_grid_that_is_wide_enough() -> None:
    with pytest.raises(ValueError, match="scales up to 3 need a square grid of tokens at least that wide, got 4"):
        GoalDistance(GOAL, GoalDistanceConfig(scales=(1, 3)))
    three = LatentState(GOAL.tokens[:, :, :3], GOAL.poses)
    with pytest.raises(ValueError, match="square"):
        GoalDistance(three, GoalDistanceConfig(scales=(2,)))


def test_plans_out_of_the_workspace_cost_more():
    tokens = torch.zeros(2, 1, 4, 3)
    poses = torch.zeros(2, 1, 7)
    poses[1, 0, 0] = 0.2
    workspace = GoalDistanceConfig(workspace_low=(-0.1, -0.1, -0.1), workspace_high=(0.1, 0.1, 0.1))
    objective = GoalDistance(LatentState(tokens[:1], poses[:1]), workspace)
    costs = objective(LatentState(tokens, poses), torch.zeros(2, 1, 7))
    assert costs[0] == 0
    torch.testing.assert_close(costs[1], torch.tensor(1.0))


def test_a_workspace_with_one_corner_is_refused():
    with pytest.raises(ValueError, match="both corners"):
        GoalDistanceConfig(workspace_low=(0.0, 0.0, 0.0))
