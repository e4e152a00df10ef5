"""Subgoals pursued one after another: when they are left, and what the controller does then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from toy_reach import ToyReach

from envs.config import load_config
from envs.pose import compose
from envs.spec import Goal, Observation
from planner.base import Plan
from planner.control.controller import Controller, ControllerConfig
from planner.control.episode import run_episode
from planner.search.cem import CEM, CEMConfig
from planner.subgoals.listed import GoalProgress, ListedConfig, advance
from world_model.base import LatentGoal, LatentState
from world_model.toy import TOY_ACTION_SPEC, ToyWorldModel

START = np.array([0.4, 0.0, 0.3, np.pi, 0.0, 0.0, 0.0])
CORNER = np.array([0.4, 0.15, 0.3, np.pi, 0.0, 0.0, 0.0])
END = np.array([0.55, 0.15, 0.2, np.pi, 0.0, 0.0, 0.0])


def look(pose: np.ndarray) -> Observation:
    return Observation(np.zeros((4, 4, 3), np.uint8), pose, 0.0)


def want(pose: np.ndarray) -> Goal:
    return Goal(np.zeros((4, 4, 3), np.uint8), pose)


def indices(config: ListedConfig, costs: Sequence[Sequence[float]]) -> list[int]:
    """Returns which subgoal is pursued at each observation t, where costs[t][i] is its cost against subgoal i."""
    progress: GoalProgress | None = None
    found = []
    for now in costs:
        progress = advance(config, progress, len(now), now.__getitem__)
        found.append(progress.index)
    return found


def test_by_steps_each_subgoal_gets_its_number_of_actions_and_the_last_all_that_follow() -> None:
    unasked = [(float("nan"),) * 3] * 9
    assert indices(ListedConfig(steps=(2,)), unasked) == [0, 0, 1, 1, 2, 2, 2, 2, 2]
    for steps in ((4, 1), (4, 1, 3)):  # the last one's may be left out
        assert indices(ListedConfig(steps=steps), unasked) == [0, 0, 0, 0, 1, 2, 2, 2, 2]


def test_by_cost_a_subgoal_is_left_at_a_share_of_the_cost_it_was_taken_up_at() -> None:
    config = ListedConfig(by="cost", threshold=0.25)
    assert indices(config, [(8, 9, 9), (3, 8, 9), (2, 8, 9), (9, 3, 9), (9, 2, 9)]) == [0, 0, 1, 1, 2]


def test_a_subgoal_that_is_reached_already_is_left_after_one_action() -> None:
    assert indices(ListedConfig(by="cost"), [(0, 0, 5), (0, 0, 5), (0, 0, 5), (0, 0, 5)]) == [0, 1, 2, 2]


def test_by_plateau_a_subgoal_is_left_when_it_comes_no_nearer() -> None:
    config = ListedConfig(by="plateau", min_drop=0.1, patience=2)
    falling = [(10, 1), (9, 1), (8, 1), (7.5, 1), (7.1, 1), (7.15, 1), (7.2, 1), (7.2, 1)]
    # 7.5 is no tenth under 8, but 7.1 is, then two in a row are not
    assert indices(config, falling) == [0, 0, 0, 0, 0, 0, 1, 1]
    every_drop_counts = ListedConfig(by="plateau", min_drop=0.0, patience=2)
    assert indices(every_drop_counts, [(10, 1), (9.9, 1), (9.8, 1), (9.8, 1), (9.8, 1)]) == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("by", ["cost", "plateau"])
def test_no_subgoal_but_the_last_is_pursued_for_ever(by) -> None:
    never = [(0.9**t, 0.9**t) for t in range(20)]  # nearer at each step, but never near
    assert indices(ListedConfig(by=by, threshold=0.0, max_steps=6), never) == [0] * 6 + [1] * 14


@pytest.mark.parametrize("by", ["steps", "cost", "plateau"])
def test_no_cost_is_asked_for_where_it_does_not_matter(by) -> None:
    asked: list[int] = []

    def cost(index: int) -> float:
        asked.append(index)
        return 1.0

    progress = None
    for _ in range(5):
        progress = advance(ListedConfig(by=by), progress, 1, cost)
    assert progress == GoalProgress(0, 4) and not asked
    progress = advance(ListedConfig(by=by), None, 2, cost)
    assert asked == ([] if by == "steps" else [0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"by": "clock"},
        {"steps": ()},
        {"steps": (3, 0)},
        {"threshold": 1.0},
        {"min_drop": -0.1},
        {"patience": 0},
        {"max_steps": 0},
    ],
)
def test_settings_out_of_range_are_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ListedConfig(**wrong)


def test_a_schedule_is_part_of_the_controllers_settings_in_yaml() -> None:
    config = load_config(ControllerConfig, {"subgoals": {"by": "plateau", "patience": 4}})
    assert config.subgoals == ListedConfig(by="plateau", patience=4)


def controller(schedule: ListedConfig | None = None, horizon: int = 2) -> Controller:
    config = ControllerConfig(subgoals=schedule or ListedConfig())
    return Controller(ToyWorldModel(), CEM(CEMConfig(horizon=horizon, samples=64)), TOY_ACTION_SPEC, config)


def drive(actor: Controller, goals: Sequence[np.ndarray], steps: int) -> tuple[list[np.ndarray], list[int], list[Plan]]:
    """Returns the poses, the pursued goals and the plans of an episode in the exact world."""
    actor.reset([want(goal) for goal in goals], seed=0)
    poses, pursued, plans = [START], [], []
    for _ in range(steps):
        action, plan = actor.step(look(poses[-1]))
        pursued.append(actor.goal_index)
        plans.append(plan)
        poses.append(compose(poses[-1], action))
    return poses, pursued, plans


@pytest.mark.parametrize(
    "schedule",
    [
        ListedConfig(by="steps", steps=(5,)),
        ListedConfig(by="cost", threshold=0.1),
        ListedConfig(by="plateau", min_drop=0.2, patience=2),
    ],
    ids=lambda schedule: schedule.by,
)
def test_the_arm_passes_the_subgoal_and_stays_at_the_last_goal(schedule: ListedConfig) -> None:
    poses, pursued, _ = drive(controller(schedule), [CORNER, END], steps=14)
    assert pursued[0] == 0 and pursued[-1] == 1 and pursued == sorted(pursued)
    at_the_switch = poses[pursued.index(1)]
    assert np.linalg.norm(at_the_switch[:3] - CORNER[:3]) < 0.02
    assert np.linalg.norm(poses[-1][:3] - END[:3]) < 0.01
    direct, _, _ = drive(controller(), [END], steps=14)
    assert min(np.linalg.norm(pose[:3] - CORNER[:3]) for pose in direct) > 0.05  # it would not pass there by itself


@pytest.mark.parametrize("by", ["steps", "cost", "plateau"])
def test_with_one_goal_the_schedule_changes_nothing(by) -> None:
    schedule = ListedConfig(by=by, steps=(1,), threshold=0.9, min_drop=0.9, patience=1, max_steps=1)
    poses, pursued, plans = drive(controller(schedule), [END], steps=5)
    expected, _, expected_plans = drive(controller(), [END], steps=5)
    np.testing.assert_array_equal(poses, expected)
    assert [plan.cost for plan in plans] == [plan.cost for plan in expected_plans] and pursued == [0] * 5


def test_at_a_switch_the_search_starts_at_staying_again_and_each_goal_was_encoded_once() -> None:
    proposed: list[torch.Tensor] = []
    encoded: list[int] = []

    class Watched(CEM):
        def plan(self, score, spec, guesses, generator, deadline=None) -> Plan:
            proposed.append(guesses)
            return super().plan(score, spec, guesses, generator, deadline)

    class Encoding(ToyWorldModel):
        def encode(self, observations: Sequence[Observation]) -> LatentState:
            encoded.append(len(observations))
            return super().encode(observations)

        def encode_goal(self, goal: Goal) -> LatentGoal:
            encoded.append(1)
            return super().encode_goal(goal)

    actor = controller(ListedConfig(steps=(2,)))
    actor.planner, actor.model = Watched(CEMConfig(horizon=2, samples=16)), Encoding()
    _, pursued, plans = drive(actor, [CORNER, END, CORNER], steps=5)
    assert pursued == [0, 0, 1, 1, 2] and encoded == [1] * 8  # three goals and five looks
    for step, known in enumerate(proposed):
        assert torch.equal(known[-1], torch.zeros(2, 7))
        assert (len(known) == 1) == (step in {0, 2, 4})
        if step in {1, 3}:
            assert torch.equal(known[0, 0], plans[step - 1].actions[1])


def test_reset_starts_over_with_the_first_goal() -> None:
    actor = controller(ListedConfig(steps=(1,)))
    poses, pursued, _ = drive(actor, [CORNER, END], steps=3)
    again, pursued_again, _ = drive(actor, [CORNER, END], steps=3)
    np.testing.assert_array_equal(poses, again)
    assert pursued == pursued_again == [0, 1, 1]
    actor.reset([want(CORNER), want(END)], seed=0)
    assert actor.goal_index == 0


def test_goals_that_do_not_fit_the_schedule_are_an_error() -> None:
    with pytest.raises(ValueError, match="no goal: pass at least one"):
        controller().reset([], seed=0)
    with pytest.raises(ValueError, match=r"4 subgoals need 1, 3 or 4 numbers of steps, got 2: \(4, 10\)"):
        controller(ListedConfig(steps=(4, 10))).reset([want(END)] * 4, seed=0)
    controller(ListedConfig(steps=(4, 10))).reset([want(END)], seed=0)  # the only goal is never left


def test_an_environment_may_give_subgoals() -> None:
    class ByTheCorner(ToyReach):
        def _reset_task(self, options: dict[str, Any]) -> dict[str, Any]:
            goals = []
            for pose in (CORNER, END, START):
                self.toy.pose = pose.copy()
                goals.append(want(self.arm.observe().pose))
            self.goal = END[:3]
            return {"goals": goals[:2]}

    actor = controller(ListedConfig(by="cost", threshold=0.1))
    steps = list(run_episode(ByTheCorner(), actor, goals=None, max_steps=14))
    assert min(np.linalg.norm(step.observation.pose[:3] - CORNER[:3]) for step in steps) < 0.02
    assert steps[-1].info["distance"] < 0.01 and actor.goal_index == 1
