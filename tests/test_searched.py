"""Subgoals that a search among macros finds: what macros are, which are tried, and what is pursued."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_generated import at, walk
from test_retrieved import SPEC, make_model

from envs.config import load_config
from planner.control.controller import Controller, ControllerConfig
from planner.objectives.objective import GoalDistance
from planner.objectives.objective_config import ObjectiveConfig
from planner.search.cem import CEM, CEMConfig
from planner.subgoals.searched import Searched, SearchedConfig
from world_model.base import LatentGoal
from world_model.compact import CompactModel
from world_model.heads.bank import Bank
from world_model.heads.macros import MacroDynamics
from world_model.heads.ways_config import MacroDynamicsConfig, MacroDynamicsShape

SHAPE = MacroDynamicsShape(actions=3, numbers=3, encoder=16, width=64, depth=2)
PLANNER = CEMConfig(horizon=2, samples=128, elites=16, iterations=4, initial_std=0.17)


def draw(count: int, actions: int) -> torch.Tensor:
    """Recorded actions: each goes along x or along y, never across."""
    along = torch.randint(0, 2, (count, actions, 1))
    return 0.4 * torch.randn(count, actions, 1).clamp(-2, 2) * torch.cat([along, 1 - along], dim=2)


@pytest.fixture(scope="module")
def macros() -> MacroDynamics:
    """Latents and poses that are the place of the hand, which actions add to."""
    torch.manual_seed(0)
    head = MacroDynamics(MacroDynamicsConfig(2, 2, 2, SHAPE))
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200)
    for _ in range(200):
        actions, start = draw(192, 6), torch.randn(192, 1, 2)
        places = torch.cat([start, start + actions.cumsum(1)], dim=1)[:, ::3]
        optimizer.zero_grad()
        head.errors(places, places, actions).total.backward()
        optimizer.step()
        slower.step()
    return head.eval().requires_grad_(False)


@pytest.fixture
def model(macros: MacroDynamics) -> CompactModel:
    torch.manual_seed(1)
    model, walk = make_model([[0.0, 0.0], [1.0, 1.0]]), draw(1, 300)[0]
    model.add_head("bank", Bank.of([torch.cat([walk[:1] * 0, walk.cumsum(0)])], [walk]))
    model.add_head("macro_dynamics", macros)
    model.dynamics.forward = lambda latents, poses, actions: latents + actions  # type: ignore[method-assign]
    return model


def source(model: CompactModel, **settings: object) -> Searched:
    config = replace(SearchedConfig(planner=PLANNER), **settings)  # pyright: ignore[reportArgumentType]
    return Searched(config, model, SPEC, GoalDistance)


def test_a_macro_says_where_actions_lead_in_few_numbers_of_deviation_one(macros: MacroDynamics) -> None:
    torch.manual_seed(2)
    actions, start = draw(500, 6), torch.randn(500, 1, 2)
    places = torch.cat([start, start + actions.cumsum(1)], dim=1)[:, ::3]
    errors = macros.errors(places, places, actions)
    assert errors.last < 0.1 * errors.copied
    encoded = macros.encode(actions[:, :3])
    assert encoded.shape == (500, 3)
    assert (encoded.std(0) - 1).abs().max() < 0.3 and encoded.mean(0).abs().max() < 0.3
    otherwise = macros.encode(actions[:, [1, 2, 0]])  # another order, the same place
    assert (otherwise - encoded).norm(dim=1).mean() < 0.3 * (encoded.roll(1, 0) - encoded).norm(dim=1).mean()


def test_what_is_tried_lies_beside_what_was_recorded(model: CompactModel) -> None:
    tried = 3 * torch.rand(64, 2, 3) - 1.5
    recorded = source(model, slack=0.0).beside(tried).flatten(0, 1)
    near = source(model, slack=0.1).beside(tried).flatten(0, 1)
    bank = model.heads["bank"]
    assert isinstance(bank, Bank)
    windows = bank.actions[:300].unfold(0, 3, 1).transpose(1, 2)
    known = model.heads["macro_dynamics"].encode(windows)  # type: ignore[operator]
    assert torch.cdist(recorded, known).min(dim=1).values.max() < 2e-3
    assert 0 < (near - recorded).abs().max() <= 0.1 + 1e-6
    assert torch.equal(source(model, bank=0).beside(tried), tried)
    few = source(model, bank=4, slack=0.0).beside(tried).flatten(0, 1)
    assert len(few.unique(dim=0)) <= 4


@pytest.mark.parametrize("settings", [{}, {"objective": ObjectiveConfig(norm="l2", frames="last")}, {"bank": 0}])
def test_a_search_of_two_actions_reaches_what_is_far_away(model: CompactModel, settings: dict[str, object]) -> None:
    config = ControllerConfig(subgoals=replace(SearchedConfig(planner=PLANNER), **settings))  # type: ignore[arg-type]
    controller = Controller(model, CEM(CEMConfig(horizon=2, samples=64, iterations=3)), SPEC, config, GoalDistance)
    place, goal = np.array([-2.0, -3.0]), LatentGoal(torch.tensor([[4.0, 1.0]]))
    controller._subgoals.reset([goal])
    pursued = controller._subgoals.next(at(*place), torch.Generator().manual_seed(0))
    assert pursued is not None and pursued.way is not None and torch.equal(pursued.tokens, goal.tokens)
    before, after = (float((frame - goal.tokens).norm()) for frame in (torch.from_numpy(place)[None], pursued.way[0]))
    assert after < before - 0.5
    last = walk(controller, place, goal, 20)[-1]
    assert float(np.linalg.norm(last - goal.tokens[0].numpy())) < 0.4
    assert controller.goal_index == 0 and controller._last_plan is not None  # of one goal: plans go on from the last


def test_a_goal_that_is_as_near_as_a_macro_is_pursued_itself_and_the_same_seed_finds_the_same(
    model: CompactModel,
) -> None:
    subgoals, goal = source(model), LatentGoal(torch.tensor([[2.5, 0.0]]))
    subgoals.reset([goal])
    assert subgoals.next(at(0.0, 0.0), torch.Generator()) is goal  # 2.5 away, macros have 3 actions
    found = [subgoals.next(at(-4.0, 0.0), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    one, same, other = (each.way for each in found if each is not None and each.way is not None)
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_what_it_cannot_do_it_says(model: CompactModel) -> None:
    goal = LatentGoal(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="on the way to one goal, got 2: give the last alone"):
        source(model).reset([goal, goal])
    model.add_head("bank", Bank.of([torch.zeros(3, 2)], [torch.zeros(2, 2)]))
    with pytest.raises(ValueError, match="no recording of the bank has 3 actions, as many as a macro"):
        source(model)
    del model.heads["bank"]
    with pytest.raises(ValueError, match=r"no bank of recordings that macros could be of: .*subgoals.bank 0"):
        source(model)
    source(model, bank=0)
    del model.heads["temporal_distance"]
    with pytest.raises(ValueError, match="no temporal distance, which subgoals are searched with: train"):
        source(model)
    with pytest.raises(ValueError, match=r"no macro dynamics.*--learn temporal_distance macros"):
        source(make_model([[0.0, 0.0], [1.0, 1.0]]))
    with pytest.raises(ValueError, match="searched subgoals' slack must be at least 0"):
        SearchedConfig(slack=-0.1)
    with pytest.raises(ValueError, match="4 heads, which divide its width, got 30"):
        MacroDynamicsShape(encoder=30)
    other = MacroDynamics(MacroDynamicsConfig(2, 2, 3, SHAPE))
    with pytest.raises(ValueError, match="from actions of 3 numbers, the model has 2"):
        model.add_head("macro_dynamics", other)


def test_its_settings_are_read_from_a_plan() -> None:
    settings = load_config(
        ControllerConfig,
        {"subgoals": {"kind": "searched", "bank": 0, "planner": {"algorithm": "icem", "horizon": 3},
                      "objective": {"kind": "goal_distance", "norm": "l2"}}},
    ).subgoals  # fmt: skip
    assert isinstance(settings, SearchedConfig) and settings.planner.horizon == 3 and settings.bank == 0
    assert settings.objective.kind == "goal_distance"
