"""The simulator in the world model's place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from envs.tasks.manipulation import FrankaPushEnv
from planner.diagnostics.oracle import SimulatedDynamics
from planner.evaluation.config import EvaluateConfig
from planner.evaluation.episodes import simulated_arm, workplace
from planner.objectives.objective_config import ObjectiveConfig
from planner.search.sampling_config import CEMConfig
from world_model.toy import ToyWorldModel


def test_it_predicts_what_then_happens_and_leaves_everything_as_it_was() -> None:
    env = FrankaPushEnv()
    env.reset(seed=0)
    arm = env.mujoco_arm
    oracle, before = SimulatedDynamics(ToyWorldModel(), arm), arm.snapshot()
    actions = torch.zeros(2, 3, 7)
    actions[0, :, 0], actions[1, :, 2] = 0.05, 0.04
    predicted = oracle.rollout(oracle.encode([arm.observe()]), actions)
    assert predicted.poses.shape == (2, 3, 7) and np.array_equal(arm.snapshot(), before)
    for step in range(3):
        pose = arm.pose()
        target = pose + np.array([0.0, 0.0, 0.04, 0.0, 0.0, 0.0, 0.0])
        arm.command(target[:6], float(pose[6]), arm.action_spec.period)
        np.testing.assert_allclose(predicted.poses[1, step, :3].numpy(), arm.pose()[:3], atol=2e-3)


def test_an_evaluation_plans_with_it_where_asked() -> None:
    settings = EvaluateConfig(
        checkpoint="toy", task="FrankaPush-v0", dynamics="simulator", objective=ObjectiveConfig(),
        planner=CEMConfig(horizon=2, samples=6, iterations=1, elites=3),
    )  # fmt: skip
    env, controller = workplace(settings)
    assert isinstance(controller.model, SimulatedDynamics) and controller.model._arm is simulated_arm(env, "x")
    env.close()
    workplace.cache_clear()


def test_a_task_without_a_simulated_arm_says_so() -> None:
    class Other:
        unwrapped = None

    with pytest.raises(ValueError, match="needs a task with a simulated arm of ours, and Lamp-v0 has none"):
        simulated_arm(Other(), "Lamp-v0")  # type: ignore[arg-type]
