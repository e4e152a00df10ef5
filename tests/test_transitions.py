"""The energy of transitions: learnt by contrast, and what a search finds cheapest by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int
from test_retrieved import SPEC, Apart, make_model
from torch import Tensor

from planner.control.controller import Controller, ControllerConfig
from planner.objectives.objective_config import TransitionEnergyConfig
from planner.objectives.transition_energy import TransitionEnergyCost
from planner.search.cem import CEM, CEMConfig
from world_model.base import LatentGoal, LatentState
from world_model.compact import CompactModel
from world_model.heads.transitions import ComparedWays, TransitionEnergy, TransitionErrors
from world_model.heads.ways_config import JudgeShape, TransitionEnergyShape
from world_model.heads.ways_config import TransitionEnergyConfig as Shape
from world_model.toy import ToyWorldModel
from world_model.training.contrast import Others

JUDGE = JudgeShape(code=8, reader=32, longest=6, width=48, depth=1, dropout=0.0)
STEP = 0.3  # that recordings go at once, straight to the goal
STD = 0.2  # of what they go at once
BOUNDS = torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 1.0])


class Counted(Apart):
    """A distance that knows how many steps there are."""

    def longest(
        self, now: Float[Tensor, "B Z"], goal: Float[Tensor, "B Z"], poses: Tensor | None
    ) -> tuple[Float[Tensor, "B K+1"], Float[Tensor, "B"]]:
        counts = ((goal - now).norm(dim=-1) / STEP).round().long().clamp(max=6)
        return 20.0 * torch.eye(7)[counts], counts.float()


def draw(count: int) -> tuple[Tensor, Tensor, Int[Tensor, "B"], Tensor]:
    """Frames, goals, numbers of actions and the first two of them."""
    angle, counts = torch.rand(count) * 2 * torch.pi, torch.randint(0, 7, (count,))
    straight = STEP * torch.stack([angle.cos(), angle.sin()], 1)
    now = torch.randn(count, 2)
    return now, now + counts[:, None] * straight, counts, straight[:, None] + 0.1 * torch.randn(count, 2, 2)


def contrast(head: TransitionEnergy, count: int) -> TransitionErrors:
    now, goal, counts, recorded = draw(count)
    ahead = counts > 0
    low, high = (bound / STD for bound in BOUNDS)
    recorded = recorded[ahead] / STD
    alike = torch.stack([recorded[torch.randperm(len(recorded))] for _ in range(3)], dim=1)
    actions = STD * Others(torch.ones(2), low, high, rest=torch.zeros(2)).beside(recorded, alike, 12)
    led = now[ahead, None, None] + actions.cumsum(dim=2)
    compared = (actions != actions[:, :1]).any(3).cummax(2).values
    compared[:, 0] = True
    ways = ComparedWays(now[ahead], now[ahead], goal[ahead], counts[ahead], led, led, compared)
    return head.errors(now, goal, torch.stack([now, goal]), counts, ways)


@pytest.fixture(scope="module")
def energy() -> TransitionEnergy:
    torch.manual_seed(0)
    head = TransitionEnergy(Shape(2, 2, TransitionEnergyShape(JUDGE)))
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    slower = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 400)
    for _ in range(400):
        optimizer.zero_grad()
        contrast(head, 128).total.backward()
        optimizer.step()
        slower.step()
    return head.eval().requires_grad_(False)


@pytest.fixture
def model(energy: TransitionEnergy) -> CompactModel:
    """Latents that are the place of the hand, and dynamics that add the action."""
    model = make_model([[0.0, 0.0], [1.0, 1.0]])
    model.add_head("transition_energy", energy)
    model.add_head("temporal_distance", Counted(model.heads["temporal_distance"].config).eval())  # type: ignore[arg-type]
    model.dynamics.forward = lambda latents, poses, actions: latents + actions  # type: ignore[method-assign]
    return model


def at(*place: float) -> LatentState:
    return LatentState(torch.tensor([[[place]]]), torch.tensor([[place]]))


def test_recorded_actions_are_told_from_others_by_where_they_lead(energy: TransitionEnergy) -> None:
    torch.manual_seed(1)
    before = TransitionEnergy(energy.config).eval()
    with torch.no_grad():
        learnt, guessed = contrast(energy, 1000), contrast(before, 1000)
    assert learnt.told > 2 * guessed.told and learnt.contrast < 0.8 * guessed.contrast


@pytest.mark.parametrize("horizon", [1, 2])
def test_a_search_goes_as_recordings_went_and_stays_at_the_goal(model: CompactModel, horizon: int) -> None:
    config = TransitionEnergyConfig(pace=0.5)
    planner = CEM(CEMConfig(horizon=horizon, samples=64, elites=8, iterations=6))
    controller = Controller(
        model, planner, SPEC, ControllerConfig(), lambda goal: TransitionEnergyCost(config, goal, SPEC, model)
    )
    place, goal = np.array([-0.6, -0.2]), LatentGoal(torch.tensor([[0.6, -0.2]]))
    controller.model.encode = lambda seen: at(*seen[0])  # type: ignore[method-assign, assignment]
    controller.model.encode_goal = lambda seen: goal  # type: ignore[method-assign]
    controller.reset([goal], seed=0)  # pyright: ignore[reportArgumentType]
    steps = []
    for _ in range(8):
        action, _ = controller.step(place)  # pyright: ignore[reportArgumentType]
        place = place + action
        steps.append(float(np.linalg.norm(action)))
    assert steps[:3] == pytest.approx([STEP] * 3, abs=0.15)  # as long as recorded ones, not as far as the bounds allow
    assert np.linalg.norm(place - goal.tokens[0].numpy()) < 0.75 * STEP and max(steps[-2:]) == 0.0


def test_what_was_seen_costs_the_actions_left_and_a_plan_what_its_start_says(model: CompactModel) -> None:
    cost = TransitionEnergyCost(TransitionEnergyConfig(), LatentGoal(torch.tensor([[1.2, 0.0]])), SPEC, model)
    still = torch.zeros(1, 1, 2)
    assert float(cost(at(0.0, 0.0), still)) == pytest.approx(1.2 / STEP, abs=0.3)
    for begun, near, far in ((0.0, STEP, -STEP), (0.0, STEP, 1.2), (0.9, 1.2, STEP)):  # the best depends on the start
        first, second = (
            LatentState(torch.tensor([[[[x, 0.0]]]]), torch.tensor([[[x, 0.0]]]), start=at(begun, 0.0))
            for x in (near, far)
        )
        assert float(cost(first, still)) < float(cost(second, still)) - 2.0


def test_what_comes_after_the_goal_costs_nothing(model: CompactModel) -> None:
    cost = TransitionEnergyCost(TransitionEnergyConfig(), LatentGoal(torch.tensor([[STEP, 0.0]])), SPEC, model)
    first = torch.tensor([[STEP, 0.0]])
    ways = torch.stack([torch.cat([first, first + torch.tensor([further])]) for further in ((0.1, 0.0), (0.9, -0.9))])
    costs = cost(LatentState(ways[:, :, None], ways, start=at(0.0, 0.0)), torch.zeros(2, 2, 2))
    assert costs[0] == costs[1]


def test_at_the_goal_staying_is_what_costs_least(model: CompactModel) -> None:
    cost = TransitionEnergyCost(TransitionEnergyConfig(), LatentGoal(torch.tensor([[0.5, 0.0]])), SPEC, model)
    places = torch.tensor([[[0.49, 0.0]], [[0.5, 0.0]], [[0.6, 0.0]]])  # the first is where it is, the second the goal
    costs = cost(LatentState(places[:, :, None], places, start=at(0.49, 0.0)), torch.zeros(3, 1, 2))
    assert costs[0] == 0.0 and costs[0] < costs[1] < costs[2]


def test_a_slower_way_once_taken_up_is_gone_to_its_end(model: CompactModel, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = TransitionEnergyCost(TransitionEnergyConfig(), LatentGoal(torch.tensor([[1.2, 0.0]])), SPEC, model)
    asked, doubted = [], iter([2, 6, 2, 3, 2, 0, 2])

    class Doubts:
        def __call__(self, *frames: Tensor) -> Int[Tensor, "1"]:
            return torch.tensor([next(doubted)])

        def seen(self, *frames: object) -> Tensor:
            return torch.zeros(1, 1)

        def quick(self, logits: Tensor) -> Int[Tensor, "1"]:
            return torch.tensor([3])

    monkeypatch.setattr(cost, "_pace", Doubts())
    for step in range(7):
        cost(replace(at(STEP, 0.0), start=at(0.01 * step, 0.0)), torch.zeros(1, 1, 2))
        asked.append(int(cost._count))
    assert asked == [2, 6, 5, 4, 3, 0, 2]  # until the goal is reached


def test_others_are_within_the_bounds_and_leave_what_recordings_hold_fixed() -> None:
    torch.manual_seed(0)
    actions = torch.randn(50, 2, 3).clamp(-0.9, 0.9)
    low, high = torch.tensor([-1.0, -2.0, -1.0]), torch.tensor([1.0, 2.0, 1.0])
    others = Others(torch.tensor([1.0, 1.0, 0.0]), low, high, torch.zeros(3))
    alike = torch.stack([actions.roll(by, dims=0) for by in (1, 2, 3)], dim=1)
    found = others.beside(actions, alike, 13)
    assert found.shape == (50, 14, 2, 3)
    blurred = (found[:, 0] - actions)[..., :2]
    assert 0.2 < blurred.std() < 0.3 and blurred.mean().abs() < 0.05
    assert torch.equal(found[..., 2], actions[:, None, :, 2].expand(-1, 14, -1))
    assert bool(((found >= low) & (found <= high)).all())
    differs = (found[:, 1:] != found[:, :1]).any(-1)
    assert differs.any(-1).float().mean() > 0.8 and 0.3 < differs.float().mean() < 0.8  # some actions are kept
    assert found[..., 1].min() < -1.5 and found[..., 1].max() > 1.5
    assert others.beside(actions, alike, 1).shape == (50, 2, 2, 3)


def test_dropout_is_the_same_for_all_that_is_compared_of_a_pair() -> None:
    torch.manual_seed(0)
    judge = TransitionEnergy(Shape(2, 2, TransitionEnergyShape(replace(JUDGE, dropout=0.5)))).train().judge
    latents = torch.randn(2).expand(3, 4, 2)
    code = judge.look(latents).code
    assert torch.equal(code[:, :1].expand_as(code), code) and not torch.equal(code[0], code[1])


def test_others_move_a_gripper_as_a_search_does() -> None:
    torch.manual_seed(0)
    modes = torch.tensor([-4.0, 0.0, 4.0])
    actions = torch.cat([torch.randn(50, 1, 2), modes[torch.randint(3, (50, 1, 1))]], dim=2)
    others = Others(torch.ones(3), -5 * torch.ones(3), 5 * torch.ones(3), torch.zeros(3), (2, modes))
    found = others.beside(actions, actions[:, None].expand(-1, 3, -1, -1), 13)
    assert torch.isin(found[..., 2], modes).all() and torch.equal(found[:, 0, :, 2], actions[..., 2])
    assert 0.1 < (found[:, 1:, :, 2] != actions[:, None, :, 2]).float().mean() < 0.5


def test_what_it_lacks_it_says(model: CompactModel) -> None:
    goal, bare = LatentGoal(torch.zeros(1, 2)), make_model([[0.0, 0.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match=r"no transition energy: train one with .* --learn transition_energy"):
        TransitionEnergyCost(TransitionEnergyConfig(), goal, SPEC, bare)
    with pytest.raises(ValueError, match=r"can have no transition_energy, .* take a compact checkpoint"):
        TransitionEnergyCost(TransitionEnergyConfig(), goal, SPEC, ToyWorldModel())
    del model.heads["temporal_distance"]
    with pytest.raises(ValueError, match="set doubt to null"):
        TransitionEnergyCost(TransitionEnergyConfig(doubt=4.0), goal, SPEC, model)
    with pytest.raises(ValueError, match="pace"):
        TransitionEnergyConfig(pace=0.0)
