"""The receding horizon over the exact toy model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor
from toy_reach import ToyArm

from envs.pose import compose
from envs.spec import ActionSpec, Goal, Observation, SpecError
from planner.base import MakeObjective, Objective, Plan, Score
from planner.control.baselines import RandomActions, ZeroActions
from planner.control.controller import Controller, ControllerConfig
from planner.diagnostics.doctor import examine_view, moving_steps, record_moves
from planner.objectives.objective import GoalDistance, GoalDistanceConfig
from planner.search.cem import CEM, CEMConfig
from world_model.base import LatentGoal, LatentState
from world_model.toy import TOY_ACTION_SPEC, ToyWorldModel

START = np.array([0.4, 0.0, 0.3, np.pi, 0.0, 0.0, 0.0])
GOAL = np.array([0.55, -0.12, 0.2, np.pi, 0.0, 0.0, 0.3])
SPEC = TOY_ACTION_SPEC


def look(pose: np.ndarray, time: float = 0.0) -> Observation:
    return Observation(np.zeros((4, 4, 3), np.uint8), pose, time)


def want(pose: np.ndarray) -> Goal:
    return Goal(np.zeros((4, 4, 3), np.uint8), pose)


class Recorder:
    """A planner that keeps what it is asked and returns a plan made up beforehand."""

    horizon = 3

    def __init__(self, actions: Tensor | None = None, runners_up: Tensor | None = None) -> None:
        self.actions = torch.linspace(-0.04, 0.04, 21).reshape(3, 7) if actions is None else actions
        self.runners_up = runners_up
        self.guesses: list[Tensor] = []
        self.costs: list[Tensor] = []

    def plan(self, score: Score, spec: ActionSpec, guesses: Tensor, generator: torch.Generator, deadline=None) -> Plan:
        self.guesses.append(guesses)
        self.costs.append(score(guesses))
        cost = float(score(self.actions[None]))
        return Plan(self.actions, cost, torch.tensor([cost]), len(guesses) + 1, self.runners_up)


class WatchedModel(ToyWorldModel):
    """The toy model, keeping what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[int] = []
        self.rolled: list[tuple[int, int]] = []

    def encode(self, observations: Sequence[Observation]) -> LatentState:
        self.encoded.append(len(observations))
        return super().encode(observations)

    def encode_goal(self, goal: Goal) -> LatentGoal:
        self.encoded.append(1)
        return super().encode_goal(goal)

    def rollout(self, state: LatentState, actions: Tensor) -> LatentState:
        self.rolled.append((state.tokens.shape[1], len(actions)))
        return super().rollout(state, actions)


def ready(model: ToyWorldModel, planner, config: ControllerConfig | None = None, goal: np.ndarray = GOAL) -> Controller:
    controller = Controller(model, planner, TOY_ACTION_SPEC, config)
    controller.reset([want(goal)], seed=0)
    return controller


def test_controller_reaches_the_goal_in_an_exact_model() -> None:
    controller = ready(ToyWorldModel(), CEM(CEMConfig(horizon=2, samples=64)))
    pose = START
    for _ in range(6):
        action, _ = controller.step(look(pose))
        pose = compose(pose, action)
    assert np.linalg.norm(pose[:3] - GOAL[:3]) < 0.01
    np.testing.assert_array_equal(pose[3:6], START[3:6])


def test_first_guess_is_the_last_plan_shifted_and_staying_is_always_proposed() -> None:
    planner = Recorder()
    controller = ready(ToyWorldModel(), planner)
    controller.step(look(START))
    controller.step(look(START))
    assert torch.equal(planner.guesses[0], torch.zeros(1, 3, 7))
    shifted = torch.cat([planner.actions[1:], torch.zeros(1, 7)])
    assert torch.equal(planner.guesses[1], torch.stack([shifted, torch.zeros(3, 7)]))
    controller.reset([want(GOAL)], seed=0)
    controller.step(look(START))
    assert torch.equal(planner.guesses[2], torch.zeros(1, 3, 7))


def test_runners_up_are_shifted_too_and_come_between_the_last_plan_and_staying() -> None:
    runners_up = 0.01 * torch.arange(42.0).reshape(2, 3, 7)
    planner = Recorder(runners_up=runners_up)
    low = tuple(0.02 if name == "gripper" else bound for name, bound in zip(SPEC.names, SPEC.low, strict=True))
    controller = Controller(ToyWorldModel(), planner, dataclasses.replace(SPEC, low=low))  # staying is not all zeros
    controller.reset([want(GOAL)], seed=0)
    for _ in range(2):
        controller.step(look(START))
    staying = torch.tensor([0.0, 0, 0, 0, 0, 0, 0.02])
    expected = [torch.cat([plan[1:], staying[None]]) for plan in (planner.actions, *runners_up)]
    assert torch.equal(planner.guesses[1], torch.stack([*expected, staying.expand(3, 7)]))


def test_of_plans_of_one_step_no_runner_up_is_left_to_propose() -> None:
    planner = Recorder(torch.zeros(1, 7), runners_up=torch.ones(5, 1, 7))
    planner.horizon = 1
    controller = ready(ToyWorldModel(), planner)
    for _ in range(2):
        controller.step(look(START))
    assert torch.equal(planner.guesses[1], torch.zeros(2, 1, 7))


def test_without_warm_start_only_staying_is_proposed() -> None:
    planner = Recorder(runners_up=torch.zeros(2, 3, 7))
    controller = ready(ToyWorldModel(), planner, ControllerConfig(warm_start=False))
    for _ in range(2):
        controller.step(look(START))
    assert torch.equal(planner.guesses[1], torch.zeros(1, 3, 7))


def test_what_is_followed_is_neither_searched_nor_judged_otherwise_than_the_first_guess_has_it() -> None:
    planner = Recorder(torch.full((3, 7), 0.03))
    controller = ready(ToyWorldModel(), planner, ControllerConfig(follow=("gripper", "z")))
    action, plan = controller.step(look(START))  # the first guess is to stay
    expected = torch.full((3, 7), 0.03)
    expected[:, [2, 6]] = 0.0
    assert torch.equal(plan.actions, expected)
    np.testing.assert_allclose(action, np.clip(expected[0].numpy(), SPEC.low, SPEC.high), rtol=1e-6)
    assert plan.cost == float(controller.score(controller.state(), expected[None]))
    with pytest.raises(ValueError, match="follow names grip, but an action has x, y, z"):
        Controller(ToyWorldModel(), planner, SPEC, ControllerConfig(follow=("grip", "z")))


def test_each_frame_is_encoded_once_and_the_context_is_bounded() -> None:
    model = WatchedModel()
    controller = ready(model, Recorder(), ControllerConfig(chunk=64))
    poses = [START + 0.01 * i * np.eye(7)[0] for i in range(4)]
    for pose in poses:
        controller.step(look(pose))
    assert model.encoded == [1] * 5  # the goal and four frames
    assert [frames for frames, _ in model.rolled] == [1, 1, 2, 2, 2, 2, 2, 2]
    expected = model.tokens(torch.tensor(np.stack(poses[-2:]), dtype=torch.float32)[None])
    torch.testing.assert_close(controller.state().tokens, expected)


def test_chunks_change_no_cost() -> None:
    model = WatchedModel()
    actions = 0.03 * torch.randn(10, 3, 7, generator=torch.Generator().manual_seed(0))
    costs = []
    for chunk in (3, 128):
        controller = ready(model, Recorder(), ControllerConfig(chunk=chunk))
        controller.step(look(START))
        model.rolled.clear()
        costs.append(controller.score(controller.state(), actions))
        assert [samples for _, samples in model.rolled] == ([3, 3, 3, 1] if chunk == 3 else [10])
    torch.testing.assert_close(costs[0], costs[1])


def test_score_has_a_gradient_only_where_the_actions_ask_for_one() -> None:
    controller = ready(ToyWorldModel(), Recorder())
    controller.step(look(START))
    actions = torch.zeros(2, 3, 7)
    assert not controller.score(controller.state(), actions).requires_grad
    cost = controller.score(controller.state(), actions.requires_grad_())
    (gradient,) = torch.autograd.grad(cost.sum(), actions)
    assert torch.all(gradient[..., :3].abs().sum(dim=-1) > 0)


def test_same_seed_same_actions_and_fresh_noise_at_each_step() -> None:
    controller = ready(ToyWorldModel(), CEM(CEMConfig(samples=16, elites=4)), ControllerConfig(warm_start=False))
    first = [controller.step(look(START))[0] for _ in range(2)]
    controller.reset([want(GOAL)], seed=0)
    again = [controller.step(look(START))[0] for _ in range(2)]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])


@pytest.mark.parametrize(("improvement", "holds"), [(0.0, False), (0.99, True)])
def test_controller_holds_when_the_plan_is_not_better_by_the_share_asked_for(improvement: float, holds: bool) -> None:
    towards = torch.zeros(3, 7)
    towards[:, 0] = 0.05
    config = ControllerConfig(rather="stay", min_improvement=improvement)
    action, plan = ready(ToyWorldModel(), Recorder(towards), config).step(look(START))
    assert np.array_equal(action, np.zeros(7)) == holds
    assert torch.equal(plan.actions, torch.zeros(3, 7)) == holds


def test_a_gripper_of_modes_opens_keeps_or_closes_all_the_way() -> None:
    planned = torch.zeros(3, 7)
    planned[:, 6] = torch.tensor([-0.5, 0.2, 0.4]) * SPEC.high[6]
    planner = Recorder(planned)
    controller = ready(ToyWorldModel(), planner, ControllerConfig(gripper_modes=True))
    _, plan = controller.step(look(START))
    assert plan.actions[:, 6].tolist() == [SPEC.low[6], 0.0, SPEC.high[6]]
    assert plan.cost == float(controller.score(controller.state(), plan.actions[None]))
    assert torch.equal(plan.actions[:, :6], planned[:, :6])
    _, plan = ready(ToyWorldModel(), planner).step(look(START))
    assert torch.equal(plan.actions, planned)


def test_controller_holds_at_the_goal_rather_than_follow_a_plan_away() -> None:
    away = torch.full((3, 7), 0.02) * torch.tensor([1.0, 1, 1, 0, 0, 0, 0])
    config = ControllerConfig(rather="stay")
    action, plan = ready(ToyWorldModel(), Recorder(away), config, goal=START).step(look(START))
    np.testing.assert_array_equal(action, np.zeros(7))
    assert plan.cost == pytest.approx(0.0, abs=1e-6)


def test_a_plan_is_followed_once_what_is_seen_has_come_no_nearer_for_as_long_as_asked() -> None:
    towards = torch.zeros(3, 7)
    towards[:, 0] = 0.05
    controller = ready(ToyWorldModel(), Recorder(towards), ControllerConfig(rather="stay", patience=2))

    def follows(share: float) -> bool:
        return bool(controller.step(look(START + share * (GOAL - START)))[0].any())

    assert [follows(0.0) for _ in range(4)] == [False, False, True, True]
    assert [follows(0.5) for _ in range(3)] == [False, False, True]  # it has come nearer
    controller.reset([want(GOAL)], seed=0)
    assert not follows(0.5)
    for make in (partial(ControllerConfig, patience=2), partial(ControllerConfig, margin=1.0)):
        with pytest.raises(ValueError, match="needs rather"):
            make()
    with pytest.raises(ValueError, match="at least 0"):
        ControllerConfig(rather="stay", patience=-1)


@pytest.mark.parametrize(("improvement", "departs"), [(0.0, True), (0.99, False)])
def test_a_search_departs_from_the_first_guess_only_for_as_much_as_asked(improvement: float, departs: bool) -> None:
    config = ControllerConfig(rather="first guess", min_improvement=improvement)
    planner = Recorder(torch.tensor([0.01, 0, 0, 0, 0, 0, 0]).repeat(3, 1))
    controller = ready(ToyWorldModel(), planner, config)
    controller.step(look(START))  # from then on the first guess is this plan, shifted
    shifted = torch.cat([planner.actions[1:], torch.zeros(1, 7)])
    planner.actions = torch.tensor([0.05, 0, 0, 0, 0, 0, 0]).repeat(3, 1)
    _, plan = controller.step(look(START))
    assert torch.equal(plan.actions, planner.actions if departs else shifted)


@pytest.mark.parametrize("lower", [0.0, 100.0])
@pytest.mark.parametrize(
    ("settings", "holds"),
    [({}, False), ({"margin": 0.001}, False), ({"margin": 1.0}, True), ({"min_improvement": 0.99}, True)],
)
def test_a_margin_is_in_the_costs_unit_and_costs_may_be_below_zero(
    settings: dict[str, Any], holds: bool, lower: float
) -> None:
    def objective(goal: LatentGoal) -> Objective:
        distance = GoalDistance(goal)
        return lambda predicted, actions: distance(predicted, actions) - lower

    towards = torch.zeros(3, 7)
    towards[:, 0] = 0.05
    config = ControllerConfig(rather="stay", **settings)
    controller = Controller(ToyWorldModel(), Recorder(towards), TOY_ACTION_SPEC, config, objective)
    controller.reset([want(GOAL)], seed=0)
    assert np.array_equal(controller.step(look(START))[0], np.zeros(7)) == holds


def test_actions_stay_within_the_bounds_in_double_precision() -> None:
    action, _ = ready(ToyWorldModel(), Recorder(torch.full((3, 7), -0.05))).step(look(START))
    assert action.dtype == np.float64
    assert np.all(action >= TOY_ACTION_SPEC.low) and np.all(action <= TOY_ACTION_SPEC.high)


def test_a_model_of_other_actions_is_an_error() -> None:
    other = dataclasses.replace(TOY_ACTION_SPEC, rate=10.0)
    with pytest.raises(SpecError, match=r"rate: 4\.0 here, 10\.0 there"):
        Controller(ToyWorldModel(), Recorder(), other)


def test_more_context_than_the_model_uses_is_an_error() -> None:
    with pytest.raises(ValueError, match="makes use of 2 past frames, 3 were asked for"):
        Controller(ToyWorldModel(), Recorder(), TOY_ACTION_SPEC, ControllerConfig(context=3))


def test_step_before_reset_and_no_goal_are_errors() -> None:
    controller = Controller(ToyWorldModel(), Recorder(), TOY_ACTION_SPEC)
    with pytest.raises(ValueError, match="before reset"):
        controller.step(look(START))
    with pytest.raises(ValueError, match="no goal"):
        controller.reset([], seed=0)


def test_planning_time_stops_the_planner() -> None:
    planner = CEM(CEMConfig(samples=16, elites=4, iterations=100_000))
    _, plan = ready(ToyWorldModel(), planner, ControllerConfig(planning_time=0.05)).step(look(START))
    assert 1 <= len(plan.costs) < 100_000


def test_baselines_stay_or_draw_within_the_bounds() -> None:
    zero, random = ZeroActions(TOY_ACTION_SPEC), RandomActions(TOY_ACTION_SPEC)
    np.testing.assert_array_equal(zero.step(look(START))[0], np.zeros(7))
    random.reset([], seed=3)
    drawn = np.stack([random.step(look(START))[0] for _ in range(50)])
    assert np.all(drawn >= TOY_ACTION_SPEC.low) and np.all(drawn <= TOY_ACTION_SPEC.high)
    random.reset([], seed=3)
    np.testing.assert_array_equal(random.step(look(START))[0], drawn[0])


def test_a_camera_rotation_turns_what_the_model_reads_into_the_arms_directions() -> None:
    turned = Rotation.from_euler("z", 90, degrees=True)
    config = ControllerConfig(camera_rotation=tuple(turned.as_rotvec()))
    plans = []
    for settings in (ControllerConfig(), config):
        controller = Controller(ToyWorldModel(), CEM(CEMConfig(samples=256, iterations=8)), TOY_ACTION_SPEC, settings)
        controller.reset([want(compose(START, np.array([0.02, 0.0, 0.01, 0.0, 0.0, 0.0, 0.0])))], seed=0)
        plans.append(controller.step(look(START))[0])
    np.testing.assert_allclose(plans[0][:3], [0.02, 0.0, 0.01], atol=3e-3)
    np.testing.assert_allclose(plans[1][:3], [0.0, 0.02, 0.01], atol=3e-3)


class TurnedModel(ToyWorldModel):
    """What a model trained elsewhere reads from a turned camera: to it an action looks like the turned action.

    It adds up the poses of the actions as it is told, as `world_model.vjepa2_ac` does.
    """

    def __init__(self, turn: Rotation) -> None:
        super().__init__()
        self.turn = torch.tensor(turn.as_matrix(), dtype=torch.float32)

    def rollout(self, state: LatentState, actions: Tensor) -> LatentState:
        turned = torch.cat([actions[..., :3] @ self.turn.T, actions[..., 3:]], dim=-1)
        return LatentState(super().rollout(state, turned).tokens, super().rollout(state, actions).poses)


def final_errors(model: ToyWorldModel, config: ControllerConfig, objective: MakeObjective = GoalDistance) -> np.ndarray:
    """Returns how far from three goals on different sides the arm ends after six actions [m]."""
    errors = []
    for way in ([0.12, 0.05, 0.0], [-0.1, 0.1, 0.05], [0.0, -0.15, -0.05]):
        goal, pose = compose(START, np.array([*way, 0.0, 0.0, 0.0, 0.0])), START
        controller = Controller(model, CEM(CEMConfig(samples=48)), SPEC, config, objective)
        controller.reset([want(goal)], seed=0)
        for _ in range(6):
            pose = compose(pose, controller.step(look(pose))[0])
        errors.append(np.linalg.norm(pose[:3] - goal[:3]))
    return np.array(errors)


def test_the_rotation_that_the_doctor_fits_makes_the_controller_reach_its_goals() -> None:
    turn = Rotation.from_euler("zx", [100, 20], degrees=True)
    model = TurnedModel(turn)
    recording = record_moves(ToyArm(), SPEC, step=0.02, steps=24, generator=np.random.default_rng(0))
    fitted = Rotation.from_matrix(examine_view(model, recording, moving_steps(recording, 12)).rotation)
    assert np.degrees((fitted.inv() * turn).magnitude()) < 3
    straight = final_errors(ToyWorldModel(), ControllerConfig())
    assert straight.max() < 0.005
    for right in (turn, fitted):
        corrected = final_errors(model, ControllerConfig(camera_rotation=tuple(right.as_rotvec())))
        assert corrected.max() < 0.005
    with_pose = partial(GoalDistance, config=GoalDistanceConfig(pose_weight=10.0))
    assert final_errors(model, ControllerConfig(camera_rotation=tuple(turn.as_rotvec())), with_pose).max() < 0.005
    for wrong in (Rotation.identity(), turn.inv()):
        missed = final_errors(model, ControllerConfig(camera_rotation=tuple(wrong.as_rotvec())))
        assert missed.min() > 0.05
