"""The simulator in the world model's place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.tasks.manipulation import FrankaPushEnv
from planner.diagnostics.oracle import SimulatedDynamics
from planner.evaluation.choices import Ways, compare, summarize, tell
from planner.evaluation.choices_program import ChoicesConfig
from planner.evaluation.config import EvaluateConfig
from planner.evaluation.episodes import simulated_arm, workplace
from planner.objectives.objective_config import ObjectiveConfig
from planner.search.sampling_config import CEMConfig
from world_model.toy import ToyWorldModel

ASIDE = """
from dataclasses import dataclass
import torch

@dataclass(frozen=True)
class Settings:
    kind: str = "aside.py:Aside"

class Aside:
    Config = Settings

    def __init__(self, config, model, spec): ...

    def propose(self, state, goal, horizon, count, generator):
        ways = torch.zeros(count, horizon, 7)
        ways[..., 1], ways[..., 2] = torch.linspace(-0.03, 0.03, count)[:, None], 0.02
        return ways
"""


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


def test_choices_tell_proposals_cost_and_predictions_apart(tmp_path: Path) -> None:
    plan, proposer = tmp_path / "plan.yaml", tmp_path / "aside.py"
    proposer.write_text(ASIDE, encoding="utf-8")
    plan.write_text(
        "checkpoint: toy\ntask: FrankaPush-v0\nplanner: {algorithm: first_guess, horizon: 4}\n"
        f"controller: {{proposers: [{{kind: '{proposer}:Aside'}}]}}\n",
        encoding="utf-8",
    )
    config = ChoicesConfig(plan, states=1, ways=3, shaken=2, before=2)
    (ways,) = compare(config)
    (again,) = compare(config)
    assert len(ways.expert) == 5 and np.array_equal(ways.expert, again.expert)
    assert ways.error.max() < 1e-3  # the toy model is exact where nothing is touched
    np.testing.assert_allclose(ways.came, ways.predicted, atol=0.01)
    with pytest.raises(ValueError, match=r"no controller\.proposers: there are no ways"):
        plan.write_text("checkpoint: toy\ntask: FrankaPush-v0\n", encoding="utf-8")
        next(compare(config))
    with pytest.raises(ValueError, match="FrankaReach-v0 has no expert"):
        next(compare(replace(config, task="FrankaReach-v0")))
    with pytest.raises(ValueError, match="held out"):
        ChoicesConfig(plan, seed=9990)


def test_choices_are_summed_up_by_who_chose() -> None:
    ends = np.array([5.0, 1.0, 3.0])
    ways = Ways(ends, ends / 100, ends == 1, came=np.array([2.0, 3.0, 1.0]), predicted=-ends, error=np.zeros(3))
    same = replace(ways, expert=np.ones(3))
    table = summarize([ways, same])
    assert table["states"]["compared"] == 1
    chosen = {name: table[name]["expert"] for name in ("expert", "came", "predicted", "first", "mean")}
    assert chosen == {"expert": 1.0, "came": 3.0, "predicted": 5.0, "first": 5.0, "mean": 3.0}
    assert table["predicted"]["rank"] == pytest.approx(-1.0) and table["came"]["rank"] == pytest.approx(-0.5)
    assert "1 states in which ways differ" in tell(table)
    with pytest.raises(ValueError, match="in no state"):
        summarize([same])
