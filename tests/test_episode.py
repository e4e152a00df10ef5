"""One loop, over an environment in which the toy model is exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from toy_reach import ToyReach

from envs.spec import Goal
from planner.control.baselines import ZeroActions
from planner.control.controller import Controller
from planner.control.episode import run_episode
from planner.search.cem import CEM, CEMConfig
from world_model.toy import TOY_ACTION_SPEC, ToyWorldModel


def controller() -> Controller:
    return Controller(ToyWorldModel(), CEM(CEMConfig(horizon=2, samples=64)), TOY_ACTION_SPEC)


@pytest.mark.parametrize("seed", range(3))
def test_episode_reaches_the_goal_the_environment_gives(seed: int) -> None:
    steps = list(run_episode(ToyReach(), controller(), goals=None, max_steps=12, seed=seed))
    assert len(steps) == 13
    assert steps[0].info["distance"] >= 0.08 and not steps[0].info["success"]
    assert steps[-1].info["distance"] < 0.01
    assert all(step.action is not None and step.plan is not None and step.seconds > 0 for step in steps[:-1])
    assert steps[-1].action is None and steps[-1].plan is None


def test_episode_pursues_the_callers_goal_instead_where_there_is_one() -> None:
    pose = np.array([0.5, 0.1, 0.3, np.pi, 0.0, 0.0, 0.0])
    goal = Goal(np.zeros((32, 32, 3), np.uint8), pose)
    *_, last = run_episode(ToyReach(), controller(), [goal], max_steps=12, seed=0)
    np.testing.assert_allclose(last.observation.pose[:3], pose[:3], atol=0.01)


def test_each_moment_pairs_an_observation_with_the_action_that_follows_it() -> None:
    steps = list(run_episode(ToyReach(), controller(), None, max_steps=3, seed=1))
    for before, after in itertools.pairwise(steps):
        moved = after.observation.pose[:3] - before.observation.pose[:3]
        assert before.action is not None
        np.testing.assert_allclose(moved, before.action[:3], atol=1e-9)
        assert after.observation.time == before.observation.time + 0.25


def test_success_does_not_end_an_episode() -> None:
    steps = list(run_episode(ToyReach(), controller(), None, max_steps=15, seed=0))
    assert sum(step.info["success"] for step in steps) > 3 and len(steps) == 16


def test_stop_ends_the_episode_before_its_action_is_executed() -> None:
    env = ToyReach()
    steps = list(run_episode(env, ZeroActions(TOY_ACTION_SPEC), None, 10, stop=lambda step: step.observation.time >= 1))
    assert [step.observation.time for step in steps] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert env.arm.observe().time == 1.0


def test_same_seed_same_episode() -> None:
    first, again = (list(run_episode(ToyReach(), controller(), None, max_steps=4, seed=7)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.observation.pose, other.observation.pose)


def test_an_environment_without_a_goal_needs_one_from_the_caller() -> None:
    class Goalless(ToyReach):
        def _reset_task(self, options: dict) -> dict:
            return {}

    with pytest.raises(ValueError, match=r"no goal.*distance"):
        next(run_episode(Goalless(), controller(), None, max_steps=1))
