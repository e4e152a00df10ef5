"""Costs against their formulas, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from envs.config import dump_config, load_config
from envs.pose import SUM, difference
from envs.spec import ActionSpec
from planner.objectives.action_cost import ActionCost, ActionCostConfig
from planner.objectives.mask import read_mask
from planner.objectives.objective import GoalDistance, GoalDistanceConfig, ObjectiveConfig, WeightedSum, make_objective
from planner.objectives.objective_config import SumConfig, TermConfig
from world_model.base import LatentGoal, LatentState
from world_model.encoders.mask import average_over_patches
from world_model.toy import ToyWorldModel


def state(samples: int, frames: int, seed: int = 0) -> LatentState:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(samples, frames, 4, 5, generator=generator, dtype=torch.float64)
    poses = 0.3 * torch.randn(samples, frames, 7, generator=generator, dtype=torch.float64)
    return LatentState(tokens, poses)


def masked(weights: object, goal: LatentGoal | None = None) -> LatentGoal:
    return replace(GOAL if goal is None else goal, mask=torch.as_tensor(weights).to(torch.float64))


GOAL = state(1, 1, seed=1).as_goal()
POSE = state(1, 1, seed=1).poses
PREDICTED = state(3, 2)
ACTIONS = torch.zeros(3, 2, 7, dtype=torch.float64)


@pytest.mark.parametrize(("norm", "power"), [("l1", 1), ("l2", 2)])
@pytest.mark.parametrize(("frames", "used"), [("all", slice(None)), ("last", slice(1, None))])
def test_distance_is_the_mean_over_frames_tokens_and_channels(norm, power, frames, used) -> None:
    expected = [
        torch.stack([(frame - GOAL.tokens).abs() ** power for frame in sample[used]]).mean()
        for sample in PREDICTED.tokens
    ]
    cost = GoalDistance(GOAL, GoalDistanceConfig(norm, frames))(PREDICTED, ACTIONS)
    torch.testing.assert_close(cost, torch.stack(expected))


@pytest.mark.parametrize("weights", [None, [[0.0, 1.0], [0.0, 3.0]]], ids=["plain", "masked"])
@pytest.mark.parametrize("scales", [(1,), (1, 2)])
@pytest.mark.parametrize("frames", ["all", "last", "discounted"])
@pytest.mark.parametrize("norm", ["l1", "l2", "cosine"])
def test_distance_has_the_right_gradient_though_it_overwrites_its_residuals(norm, frames, scales, weights) -> None:
    config = GoalDistanceConfig(norm, frames, 0.7, pose_weight=0.5, pose_parts=(1.0, 0.3, 2.0), scales=scales)
    objective = GoalDistance(GOAL if weights is None else masked(np.ravel(weights)), config)

    def cost(tokens: torch.Tensor, poses: torch.Tensor) -> torch.Tensor:
        return objective(LatentState(tokens, poses), ACTIONS)

    inputs = (PREDICTED.tokens.clone().requires_grad_(), PREDICTED.poses.clone().requires_grad_())
    assert torch.autograd.gradcheck(cost, inputs, fast_mode=True)


def test_a_search_changes_neither_what_was_predicted_nor_the_goal() -> None:
    for norm in ("l1", "l2", "cosine"):
        predicted, goal = state(3, 2), state(1, 1, seed=1)
        config = GoalDistanceConfig(norm, pose_weight=1.0, scales=(1, 2))
        objective = GoalDistance(masked(np.ones(4), goal.as_goal()), config)
        assert torch.equal(objective(predicted, ACTIONS), objective(predicted, ACTIONS))
        for one, other in ((predicted, PREDICTED), (goal, state(1, 1, seed=1))):
            assert torch.equal(one.tokens, other.tokens) and torch.equal(one.poses, other.poses)


def test_cosine_distance_is_one_minus_the_cosine_of_each_token() -> None:
    cosines = torch.cosine_similarity(PREDICTED.tokens, GOAL.tokens, dim=-1)  # (S, H, N)
    cost = GoalDistance(GOAL, GoalDistanceConfig("cosine"))(PREDICTED, ACTIONS)
    torch.testing.assert_close(cost, 1 - cosines.mean(dim=(1, 2)))
    averaged = torch.cosine_similarity(PREDICTED.tokens.mean(dim=2), GOAL.tokens.mean(dim=0), dim=-1)
    coarse = GoalDistance(GOAL, GoalDistanceConfig("cosine", scales=(2,)))(PREDICTED, ACTIONS)
    torch.testing.assert_close(coarse, 1 - averaged.mean(dim=1))
    longer = LatentState(GOAL.tokens[None, None] * 3, PREDICTED.poses[:1, :1])
    assert float(GoalDistance(GOAL, GoalDistanceConfig("cosine"))(longer, ACTIONS[:1, :1])[0]) == pytest.approx(0)


def test_cosine_distance_sees_a_small_change_in_single_precision() -> None:
    goal = LatentGoal(GOAL.tokens.float())
    near = LatentState(goal.tokens + 1e-5 * torch.randn(1, 1, 4, 5), torch.zeros(1, 1, 7))
    cost = GoalDistance(goal, GoalDistanceConfig("cosine"))(near, ACTIONS[:1])
    exact = 1 - torch.cosine_similarity(near.tokens.double(), goal.tokens.double(), dim=-1).mean()
    assert float(exact) < 1e-9 and float(cost[0]) == pytest.approx(float(exact), rel=0.1)


def test_discounted_frames_count_less_the_later_they_are() -> None:
    for frames in (0, 1):
        moved = GOAL.tokens.expand(1, 2, 4, 5).clone()
        moved[:, frames] += 1.0
        cost = GoalDistance(GOAL, GoalDistanceConfig(frames="discounted", discount=0.5))(
            LatentState(moved, PREDICTED.poses[:1]), ACTIONS[:1]
        )
        assert float(cost[0]) == pytest.approx([2 / 3, 1 / 3][frames])
    same, plain = (GoalDistance(GOAL, GoalDistanceConfig(frames=f, discount=1.0)) for f in ("discounted", "all"))
    torch.testing.assert_close(same(PREDICTED, ACTIONS), plain(PREDICTED, ACTIONS))


@pytest.mark.parametrize(("norm", "power"), [("l1", 1), ("l2", 2), ("cosine", 1)])
def test_pose_parts_weigh_position_rotation_and_gripper(norm, power) -> None:
    parts = torch.tensor([2.0, 2.0, 2.0, 0.5, 0.5, 0.5, 0.0], dtype=torch.float64)
    way = difference(PREDICTED.poses, POSE.expand(3, 2, 7)).abs() ** power
    config = GoalDistanceConfig(norm, pose_weight=3.0, pose_parts=(2.0, 0.5, 0.0))
    extra = GoalDistance(GOAL, config)(PREDICTED, ACTIONS) - GoalDistance(GOAL, GoalDistanceConfig(norm))(
        PREDICTED, ACTIONS
    )
    torch.testing.assert_close(extra, 3.0 * (way * parts).mean(dim=(1, 2)))


def test_a_mask_of_tokens_makes_a_weighted_mean_over_tokens() -> None:
    weights = torch.tensor([1.0, 0.0, 2.0, 5.0])
    each = (PREDICTED.tokens - GOAL.tokens).abs().mean(dim=(1, 3))  # (S, N)
    cost = GoalDistance(masked(weights))(PREDICTED, ACTIONS)
    torch.testing.assert_close(cost, (each * weights / 8).sum(dim=1))
    as_integers = GoalDistance(replace(GOAL, mask=torch.tensor([10, 0, 20, 50])))(PREDICTED, ACTIONS)
    torch.testing.assert_close(as_integers, cost)


@pytest.mark.parametrize("norm", ["l1", "l2", "cosine"])
def test_a_mask_that_is_equal_everywhere_is_none(norm) -> None:
    config = GoalDistanceConfig(norm, scales=(1, 2))
    weighted = GoalDistance(masked(np.full(4, 7.0)), config)(PREDICTED, ACTIONS)
    torch.testing.assert_close(weighted, GoalDistance(GOAL, config)(PREDICTED, ACTIONS))


@pytest.mark.parametrize("norm", ["l1", "l2", "cosine"])
def test_a_token_of_weight_zero_counts_on_no_scale(norm) -> None:
    tokens = torch.randn(2, 1, 25, 3, generator=torch.Generator().manual_seed(0))  # 5 x 5
    weights = torch.ones(5, 5)
    weights[1:4, :3] = 0  # a window of 3 x 3 of nothing
    hidden = (weights == 0).flatten()
    elsewhere = tokens.clone()
    elsewhere[:, :, hidden] += 10.0
    goal = LatentGoal(tokens[0, 0], mask=weights.flatten())
    objective = GoalDistance(goal, GoalDistanceConfig(norm, scales=(1, 2, 3)))
    costs = [objective(LatentState(seen, torch.zeros(2, 1, 7)), ACTIONS[:2]) for seen in (tokens, elsewhere)]
    torch.testing.assert_close(costs[0], costs[1])
    assert float(costs[0][0]) == pytest.approx(0, abs=1e-6) and float(costs[0][1]) > 0.1


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"\(4,\), got \(3,\)"),
        (np.ones((1, 4)), r"\(4,\), got \(1, 4\)"),
        (np.ones((2, 2)), r"\(4,\), got \(2, 2\)"),
        (np.zeros(4), "not all of them 0"),
        (np.array([1, 1, -1, 1]), "from 0 up"),
        (np.array([1, 1, np.nan, 1]), "finite"),
    ],
)
def test_a_mask_that_does_not_fit_the_tokens_is_an_error(weights, message) -> None:
    with pytest.raises(ValueError, match=message):
        masked(weights)


def test_a_mask_is_averaged_over_each_patch_of_the_central_square(tmp_path: Path) -> None:
    levels = np.zeros((30, 50), np.uint8)
    levels[:, :10] = 255  # outside the central square, columns 10..39
    levels[:15, 10:25] = 255  # the upper left patch
    levels[15:, 25:40] = 51  # the lower right one
    Image.fromarray(levels).save(tmp_path / "mask.png")
    averages = average_over_patches(read_mask(tmp_path / "mask.png"), tokens=4)
    np.testing.assert_allclose(averages, [[1.0, 0.0], [0.0, 0.2]])
    config = GoalDistanceConfig(mask=tmp_path / "mask.png")
    cost, own = GoalDistance(GOAL, config)(PREDICTED, ACTIONS), masked(averages.ravel())
    torch.testing.assert_close(cost, GoalDistance(own)(PREDICTED, ACTIONS))
    other = masked([0.0, 1.0, 1.0, 0.0])  # a goal's own goes before that of the settings
    assert torch.equal(GoalDistance(other, config)(PREDICTED, ACTIONS), GoalDistance(other)(PREDICTED, ACTIONS))


@pytest.mark.parametrize("side", [1, 2, 3, 7, 64])
def test_a_mask_of_any_size_keeps_its_mean(side: int) -> None:
    mask = np.random.default_rng(side).uniform(size=(side, side))
    averages = average_over_patches(mask, tokens=25)
    assert averages.shape == (5, 5) and averages.mean() == pytest.approx(mask.mean())
    if side == 3:
        assert averages[0, 1] == pytest.approx((2 * mask[0, 0] + mask[0, 1]) / 3)  # pixels 0.6 .. 1.2 of three


def test_masks_that_say_nothing_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no mask .*none\.png"):
        read_mask(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ValueError, match="not a picture"):
        read_mask(tmp_path / "text.png")
    Image.new("L", (8, 4)).save(tmp_path / "black.png")
    with pytest.raises(ValueError, match=r"black\.png is all black"):
        GoalDistance(GOAL, GoalDistanceConfig(mask=tmp_path / "black.png"))
    Image.new("I;16", (4, 4), 1000).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match="8 bits a channel"):
        read_mask(tmp_path / "deep.png")
    with pytest.raises(ValueError, match="square grid of tokens, got 3"):
        average_over_patches(np.ones((4, 4)), tokens=3)


def test_pose_counts_only_where_it_is_asked_for() -> None:
    elsewhere = LatentState(PREDICTED.tokens, PREDICTED.poses + 1.0)
    assert torch.equal(GoalDistance(GOAL)(PREDICTED, ACTIONS), GoalDistance(GOAL)(elsewhere, ACTIONS))
    at_goal = LatentState(PREDICTED.tokens, POSE.expand(3, 2, 7))
    with_pose = GoalDistance(GOAL, GoalDistanceConfig(pose_weight=2.0))
    torch.testing.assert_close(with_pose(at_goal, ACTIONS), GoalDistance(GOAL)(at_goal, ACTIONS))
    moved = POSE.expand(3, 2, 7) + torch.tensor([0.07, 0, 0, 0, 0, 0, 0], dtype=torch.float64)
    extra = with_pose(LatentState(PREDICTED.tokens, moved), ACTIONS) - with_pose(at_goal, ACTIONS)
    torch.testing.assert_close(extra, torch.full((3,), 2.0 * 0.01, dtype=torch.float64))


def test_joints_differ_as_numbers_and_have_no_parts() -> None:
    poses = torch.tensor([[[0.0, 0.0, 0.0, 3.0, -3.0]]], dtype=torch.float64)
    goal = LatentState(
        torch.zeros(1, 1, 4, 5, dtype=torch.float64), torch.zeros(1, 1, 5, dtype=torch.float64)
    ).as_goal()
    cost = GoalDistance(goal, GoalDistanceConfig(pose_weight=1.0), SUM)
    assert cost(LatentState(goal.tokens[None, None], poses), ACTIONS[:1, :1, :5]).item() == pytest.approx(6.0 / 5)
    with pytest.raises(ValueError, match="pose_parts weighs position, rotation and gripper"):
        GoalDistance(goal, GoalDistanceConfig(pose_weight=1.0, pose_parts=(1.0, 0.0, 0.0)), SUM)


@pytest.mark.parametrize(
    "wrong",
    [
        {"norm": "l3"},
        {"frames": "first"},
        {"discount": 0.0},
        {"discount": 1.1},
        {"pose_weight": -1.0},
        {"pose_parts": (1.0, 1.0)},
        {"pose_parts": (1.0, -1.0, 1.0)},
        {"scales": (0,)},
        {"scales": ()},
        {"scales": (1, 1)},
    ],
)
def test_unknown_settings_are_an_error(wrong) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        GoalDistanceConfig(**wrong)


def test_a_goal_of_several_frames_is_an_error() -> None:
    for make in (PREDICTED.as_goal, lambda: LatentGoal(PREDICTED.tokens)):
        with pytest.raises(ValueError, match=r"one frame.*\(3, 2, 4, 5\)"):
            make()


def test_a_goal_whose_pose_is_open_is_refused_where_its_pose_counts() -> None:
    opened = replace(GOAL, pose=None)
    assert torch.equal(GoalDistance(opened)(PREDICTED, ACTIONS), GoalDistance(GOAL)(PREDICTED, ACTIONS))
    for config in (ObjectiveConfig(pose_weight=0.5), SumConfig(terms=(TermConfig(ObjectiveConfig(pose_weight=0.5)),))):
        with pytest.raises(ValueError, match=r"weighs the goal's pose \(pose_weight 0\.5\), which is open"):
            make_objective(opened, config, SPEC, MODEL)


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
    goal = LatentGoal(places[0, 0])
    fine, coarse = (GoalDistance(goal, GoalDistanceConfig(scales=(s,)))(predicted, ACTIONS[:, :1]) for s in (1, 2))
    assert fine[1] == fine[2] > fine[0] == 0
    assert coarse[2] > coarse[1] > coarse[0] == 0


def test_scales_need_a_grid_that_is_wide_enough() -> None:
    with pytest.raises(ValueError, match="scales up to 3 need a square grid of tokens at least that wide, got 4"):
        GoalDistance(GOAL, GoalDistanceConfig(scales=(1, 3)))
    three = LatentGoal(GOAL.tokens[:3])
    with pytest.raises(ValueError, match="square"):
        GoalDistance(three, GoalDistanceConfig(scales=(2,)))


def test_plans_out_of_the_workspace_cost_more():
    tokens = torch.zeros(2, 1, 4, 3)
    poses = torch.zeros(2, 1, 7)
    poses[1, 0, 0] = 0.2
    workspace = GoalDistanceConfig(workspace_low=(-0.1, -0.1, -0.1), workspace_high=(0.1, 0.1, 0.1))
    objective = GoalDistance(LatentGoal(tokens[0, 0], poses[0, 0]), workspace)
    costs = objective(LatentState(tokens, poses), torch.zeros(2, 1, 7))
    assert costs[0] == 0
    torch.testing.assert_close(costs[1], torch.tensor(1.0))


def test_a_workspace_with_one_corner_is_refused():
    with pytest.raises(ValueError, match="both corners"):
        GoalDistanceConfig(workspace_low=(0.0, 0.0, 0.0))


MODEL = ToyWorldModel()
SPEC = ActionSpec(("x", "y", "fixed"), ("m", "m", "m"), (-0.1, -0.2, 0.3), (0.3, 0.2, 0.3), "base", 4.0)


def test_action_cost_is_in_half_ranges_over_the_dimensions_that_can_move() -> None:
    actions = torch.tensor([[[0.2, 0.0, 0.3], [0.0, 0.4, 0.3]], [[0.0, 0.0, 0.3], [0.0, 0.0, 0.3]]])
    cost = ActionCost(ActionCostConfig(action_weight=2.0), SPEC)(PREDICTED, actions)
    torch.testing.assert_close(cost, torch.tensor([2.0 * (1 + 4) / 4, 0.0]))
    cost = ActionCost(ActionCostConfig(smoothness_weight=3.0), SPEC)(PREDICTED, actions)
    torch.testing.assert_close(cost, torch.tensor([3.0 * (1 + 4) / 2, 0.0]))
    assert torch.equal(ActionCost(ActionCostConfig(0.0, 3.0), SPEC)(PREDICTED, actions[:, :1]), torch.zeros(2))


def test_action_cost_is_differentiable() -> None:
    actions = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: ActionCost(ActionCostConfig(0.5, 2.0), SPEC)(PREDICTED, a), (actions,))


def test_negative_action_weights_are_an_error() -> None:
    with pytest.raises(ValueError, match="smoothness_weight"):
        ActionCostConfig(smoothness_weight=-0.1)


def test_a_weighted_sum_adds_its_objectives() -> None:
    distance, effort = GoalDistance(GOAL), ActionCost(ActionCostConfig(1.0), SPEC)
    actions = torch.randn(3, 2, 3, dtype=torch.float64)
    cost = WeightedSum([(2.0, distance), (0.5, effort)])(PREDICTED, actions)
    torch.testing.assert_close(cost, 2.0 * distance(PREDICTED, actions) + 0.5 * effort(PREDICTED, actions))
    with pytest.raises(ValueError, match="at least one"):
        WeightedSum([])
    with pytest.raises(ValueError, match="finite"):
        WeightedSum([(float("nan"), distance)])


def test_a_configuration_makes_a_goal_distance_plus_what_actions_cost(tmp_path: Path) -> None:
    plain = make_objective(GOAL, ObjectiveConfig(norm="l2"), SPEC, MODEL)
    assert isinstance(plain, GoalDistance)
    actions = torch.randn(3, 2, 3, dtype=torch.float64)
    assert torch.equal(plain(PREDICTED, actions), GoalDistance(GOAL, GoalDistanceConfig("l2"))(PREDICTED, actions))
    (tmp_path / "objective.yaml").write_text("norm: l2\nmask: some.png\nactions: {smoothness_weight: 0.1}\n")
    config = load_config(ObjectiveConfig, tmp_path / "objective.yaml")
    assert config.mask == Path("some.png") and load_config(ObjectiveConfig, dump_config(config)) == config
    both = make_objective(GOAL, ObjectiveConfig(norm="l2", actions=ActionCostConfig(0.0, 0.1)), SPEC, MODEL)
    expected = plain(PREDICTED, actions) + ActionCost(ActionCostConfig(0.0, 0.1), SPEC)(PREDICTED, actions)
    torch.testing.assert_close(both(PREDICTED, actions), expected)


def test_a_workspace_in_metres_is_refused_for_joint_angles():
    joints = ActionSpec(SPEC.names, ("rad", "rad", "rad"), SPEC.low, SPEC.high, "joints", SPEC.rate)
    box = ObjectiveConfig(workspace_low=(0.1, -0.2, 0.0), workspace_high=(0.3, 0.2, 0.3))
    with pytest.raises(ValueError, match=r"in metres.*joint angles.*leave workspace_low"):
        make_objective(GOAL, box, joints, MODEL)
    make_objective(GOAL, box, SPEC, MODEL)
