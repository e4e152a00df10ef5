"""Proposed ways, all of them done: which part of a planner keeps it from choosing a good one?"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from envs.bar import progress
from envs.config import load_config
from envs.folders import explained, write_text
from envs.spec import ActionSpec
from envs.tasks.expert import act
from envs.tasks.manipulation import ManipulationEnv
from planner.control.controller import Controller
from planner.control.episode import run_episode
from planner.diagnostics.oracle import do_and_look
from planner.evaluation.choices_program import ChoicesConfig
from planner.evaluation.config import EvaluateConfig
from planner.evaluation.episodes import load_model, make_controller, make_task
from world_model.base import LatentState

_GIVEN_UP = 40  # actions of the expert
_JUDGES = ("expert", "came", "predicted")
_TOLD = {
    "expert": "the truth",
    "came": "cost of the frames that came",
    "predicted": "cost of the frames that are predicted",
    "first": "the first that is proposed",
    "mean": "none: mean of all ways",
}


@dataclass(frozen=True)
class Ways:
    """Sequences of actions from one state, what they led to, and what was thought of them.

    Attributes:
        expert: Actions that an expert needs from where each led.
        distance: From there to the goal [m].
        solved: Whether the task is solved there.
        came: Cost of the frames that came.
        predicted: Cost of those that were predicted.
        error: Mean squared difference of the last frames' latents.
    """

    expert: Float[np.ndarray, "G"]
    distance: Float[np.ndarray, "G"]
    solved: Float[np.ndarray, "G"]
    came: Float[np.ndarray, "G"]
    predicted: Float[np.ndarray, "G"]
    error: Float[np.ndarray, "G"]


def run(config: ChoicesConfig) -> None:
    """Compares, prints the table and writes choices.json; ends the program with one line for what can't be."""
    try:
        with explained(output=config.output):
            config.output.mkdir(parents=True, exist_ok=True)
        found = list(progress(compare(config), total=config.states, desc="choices", unit="state"))
    except ValueError as error:
        sys.exit(f"error: {error}")
    table = summarize(found)
    write_text(config.output / "choices.json", json.dumps(table, indent=2))
    print(tell(table))


def compare(config: ChoicesConfig) -> Iterator[Ways]:
    """Yields what came of all ways, state after state.

    Raises:
        ValueError: If plan, checkpoint and task do not fit together, the task has no expert, or nothing is proposed.
    """
    plan = load_config(EvaluateConfig, config.plan)
    plan = replace(plan, checkpoint=config.checkpoint or plan.checkpoint, task=config.task or plan.task)
    env = make_task(plan.task, plan.scene)
    task = env.unwrapped
    if not isinstance(task, ManipulationEnv):
        raise ValueError(f"{plan.task} has no expert that says how far a way led: take a manipulation task of ours")
    if not plan.controller.proposers:
        raise ValueError(f"{config.plan} has no controller.proposers: there are no ways to choose among")
    controller = make_controller(plan, load_model(plan), task.action_spec)
    for seed in range(config.seed, config.seed + config.states):
        generator = np.random.default_rng(seed)
        before = int(generator.integers(config.before + 1))
        steps = run_episode(env, controller, None, before + 1, seed=seed)
        for _ in islice(steps, before + 1):  # the last one's action is not done
            pass
        yield compare_ways(config, task, controller, seed)


def compare_ways(config: ChoicesConfig, task: ManipulationEnv, controller: Controller, seed: int) -> Ways:
    """Returns what comes of all ways from where the arm is, and leaves it there.

    Args:
        config: How many ways.
        task: Where they are done.
        controller: That has just seen the state; its proposers give the ways, its model predicts.
        seed: Of what is random.
    """
    model, proposers, horizon = controller.model, controller.proposers, controller.planner.horizon
    state, generator = controller.state(), torch.Generator().manual_seed(seed)
    share = -(-config.ways // len(proposers))
    proposed = [each.propose(state, controller.goal, horizon, share, generator) for each in proposers]
    ways = _shaken(torch.cat(proposed), task.action_spec, config, generator)
    cost = controller.objective(controller.goal)
    predicted = replace(model.rollout(state, ways), start=state)
    arm, start = task.mujoco_arm, task.mujoco_arm.snapshot()
    came, expert, distance, solved = [], [], [], []
    for way in ways.cpu().double().numpy():
        seen = do_and_look(arm, way)
        came.append(model.encode(seen))
        told = task.judge()
        distance.append(told.distance)
        solved.append(told.success)
        actions = 0
        for action in islice(task.finish(), _GIVEN_UP):
            act(arm, action)
            actions += 1
        expert.append(actions)
        arm.restore(start)
    real = LatentState(torch.cat([each.tokens for each in came]), torch.cat([each.poses for each in came]), start=state)
    with torch.no_grad():
        cost_came, cost_predicted = (cost(frames, ways).float().cpu().numpy() for frames in (real, predicted))
    error = (predicted.tokens[:, -1] - real.tokens[:, -1]).float().square().flatten(1).mean(1).cpu().numpy()
    return Ways(np.array(expert, float), np.array(distance), np.array(solved, float), cost_came, cost_predicted, error)


def _shaken(
    ways: Float[Tensor, "G H A"], spec: ActionSpec, config: ChoicesConfig, generator: torch.Generator
) -> Float[Tensor, "G+n H A"]:
    """Returns the ways and some of them again with noise, within the bounds."""
    low, high = ways.new_tensor(spec.low), ways.new_tensor(spec.high)
    some = ways[torch.randint(len(ways), (config.shaken,), generator=generator)]
    noise = config.shaky * (high - low) / 2 * torch.randn(some.shape, generator=generator).to(some)
    return torch.cat([ways, some + noise]).clamp(low, high)


def summarize(found: list[Ways]) -> dict[str, dict[str, float]]:
    """Returns what is chosen by each judge, in the mean over the states in which ways differ.

    Raises:
        ValueError: If they differ in none.
    """
    found = [ways for ways in found if ways.expert.max() > ways.expert.min()]
    if not found:
        raise ValueError("in no state do the ways lead to different ends: nothing can be told")
    measures = ("expert", "distance", "solved", "error")
    table: dict[str, dict[str, float]] = {}
    for judge in (*_JUDGES, "first"):
        taken = [0 if judge == "first" else int(getattr(ways, judge).argmin()) for ways in found]
        table[judge] = {
            name: float(np.mean([getattr(ways, name)[index] for ways, index in zip(found, taken, strict=True)]))
            for name in measures
        }
    table["mean"] = {name: float(np.mean([getattr(ways, name).mean() for ways in found])) for name in measures}
    for judge in _JUDGES:
        table[judge]["rank"] = float(np.mean([_rank(getattr(ways, judge), ways.expert) for ways in found]))
    return {"states": {"compared": float(len(found))}, **table}


def _rank(one: Float[np.ndarray, "G"], other: Float[np.ndarray, "G"]) -> float:
    """Returns Spearman's correlation; 0 where one of them is everywhere the same."""
    if not (np.ptp(one) and np.ptp(other)):
        return 0.0
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def tell(table: dict[str, dict[str, float]]) -> str:
    """Returns the table as text."""
    lines = [
        f"{table['states']['compared']:.0f} states in which ways differ. The way that is chosen by ...",
        f"{'':<40}{'expert needs':>13}{'from goal':>11}{'solved':>8}{'rank':>7}{'error':>8}",
    ]
    for judge, words in _TOLD.items():
        row = table[judge]
        rank = f"{row['rank']:.2f}" if "rank" in row else "-"
        lines.append(
            f"{words:<40}{row['expert']:>13.1f}{1000 * row['distance']:>8.0f} mm{row['solved']:>8.0%}{rank:>7}"
            f"{row['error']:>8.3f}"
        )
    lines.append("expert needs: actions; rank: Spearman's with them; error: squared, of the last predicted latents")
    return "\n".join(lines)
