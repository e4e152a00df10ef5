"""Subgoals that are generated: what comes next on a way of so many actions, and what a search does about it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_retrieved import SPEC, make_model

from planner.control.controller import Controller, ControllerConfig
from planner.objectives.objective import GoalDistance, GoalDistanceConfig
from planner.search.cem import CEM, CEMConfig
from planner.subgoals.generated import Generated, GeneratedConfig
from world_model.base import LatentGoal, LatentState
from world_model.compact import CompactModel
from world_model.heads.subgoals import SubgoalGenerator
from world_model.heads.ways_config import JudgeShape, SubgoalGeneratorConfig, SubgoalGeneratorShape

JUDGE = JudgeShape(code=8, reader=32, longest=6, width=32, depth=1, dropout=0.0)
SHAPE = SubgoalGeneratorShape(JUDGE, ahead=3, width=64, depth=2)


def draw(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Frames, goals, poses, numbers of actions and next frames of ways that go straight and end at the goal."""
    now, counts = torch.randn(count, 2), torch.randint(0, 7, (count,))
    steps = torch.randn(count, 2) * 0.3
    goals = now + counts[:, None] * steps
    ahead = torch.minimum(counts[:, None], torch.arange(1, 4))
    return now, goals, torch.stack([now, goals]), counts, now[:, None] + ahead[..., None] * steps[:, None]


def at(*place: float) -> LatentState:
    return LatentState(torch.tensor([[[place]]]), torch.tensor([[place]]))


def walk(controller: Controller, place: np.ndarray, goal: LatentGoal, actions: int) -> list[np.ndarray]:
    """Returns where so many actions lead, one after another, where images are places and actions add to them."""
    controller.model.encode = lambda seen: at(*seen[0])  # type: ignore[method-assign, assignment]
    controller.model.encode_goal = lambda seen: goal  # type: ignore[method-assign]
    controller.reset([goal], seed=0)  # pyright: ignore[reportArgumentType]
    places = [place]
    for _ in range(actions):
        action, _ = controller.step(places[-1])  # pyright: ignore[reportArgumentType]
        places.append(places[-1] + action)
    return places[1:]


@pytest.fixture(scope="module")
def generator() -> SubgoalGenerator:
    torch.manual_seed(0)
    head = SubgoalGenerator(SubgoalGeneratorConfig(2, 2, SHAPE))
    now, _, _, _, frames = draw(2000)
    head.fit(now, frames)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(400):
        now, goals, poses, counts, frames = draw(256)
        errors = head.errors(now, goals, poses, counts, frames)
        optimizer.zero_grad()
        errors.total.backward()
        optimizer.step()
    return head.eval().requires_grad_(False)


@pytest.fixture
def model(generator: SubgoalGenerator) -> CompactModel:
    """Latents that are the place of the hand, and dynamics that add the action."""
    model = make_model([[0.0, 0.0], [1.0, 1.0]])
    model.add_head("subgoal_generator", generator)
    model.dynamics.forward = lambda latents, poses, actions: latents + actions  # type: ignore[method-assign]
    return model


def test_frames_follow_the_way_and_end_at_the_goal(generator: SubgoalGenerator) -> None:
    torch.manual_seed(1)
    now, goals, poses, counts, frames = draw(200)
    judged = generator.judge(now, goals, poses[0])
    found = generator.generate(now, judged, counts, 0.0, torch.Generator())
    assert found.shape == (200, 3, 2)
    error, moved = ((found - frames).norm(dim=-1).mean(), (frames - now[:, None]).norm(dim=-1).mean())
    assert error < 0.2 * moved
    slower = generator.generate(now, judged, (counts * 0 + 6), 0.0, torch.Generator())
    assert (slower[:, 0] - now).norm(dim=-1).mean() < (frames[:, 0] - now)[counts > 0].norm(dim=-1).mean()


def test_ways_differ_by_temperature_alone(generator: SubgoalGenerator) -> None:
    now, goals, poses, counts, _ = draw(3)
    judged = generator.judge(now, goals, poses[0])
    cold, warm = (
        [generator.generate(now, judged, counts, heat, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
        for heat in (0.0, 1.0)
    )
    assert torch.equal(*cold) and not torch.equal(*warm)
    again = generator.generate(now, judged, counts, 1.0, torch.Generator().manual_seed(1))
    assert torch.equal(again, warm[1])


def test_a_search_of_two_actions_reaches_what_is_six_away(model: CompactModel) -> None:
    config = ControllerConfig(subgoals=GeneratedConfig(ahead=2, pace=0.5))
    planner = CEM(CEMConfig(horizon=2, samples=64, elites=8, iterations=3))
    controller = Controller(model, planner, SPEC, config, GoalDistance)
    goal = LatentGoal(torch.tensor([[1.0, 0.6]]))
    places = walk(controller, np.array([-1.0, -0.8]), goal, 12)
    apart = [float(np.linalg.norm(place - goal.tokens[0].numpy())) for place in places]
    assert apart[0] > 1.2 and min(apart) < 0.15 and apart[-1] < 0.4


def test_a_goal_that_is_reached_is_pursued_itself(model: CompactModel) -> None:
    source = Generated(GeneratedConfig(), model, SPEC, GoalDistance)
    goal = LatentGoal(torch.tensor([[0.5, 0.5]]))
    source.reset([goal])
    assert source.next(at(0.5, 0.5), torch.Generator()) is goal
    far = source.next(at(-1.5, 0.0), torch.Generator())
    assert far is not None and far is not goal and far.way is not None
    assert far.way.shape == (3, 1, 2) and torch.equal(far.tokens, goal.tokens)


def test_each_frame_of_a_way_is_compared_with_its_own() -> None:
    way = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]])
    goal = LatentGoal(torch.tensor([[9.0, 9.0]]), way=way)
    along, across = (
        torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0]]),
        torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]]),
    )  # both end where the way does
    predicted = LatentState(torch.stack([along, across])[:, :, None], torch.zeros(2, 3, 2))
    costs = [GoalDistance(goal, GoalDistanceConfig(norm="l2", frames=which))(predicted, torch.zeros(2, 3, 2)).tolist()
             for which in ("all", "last")]  # fmt: skip
    assert costs == [[0.0, pytest.approx(1 / 3)], [0.0, 0.0]]
    with pytest.raises(ValueError, match="by norm l1 or l2, not by cosine"):
        GoalDistance(goal, GoalDistanceConfig(norm="cosine"))
    with pytest.raises(ValueError, match=r"frames like it, \(K, 1, 2\), got \(2, 2\)"):
        LatentGoal(way[-1], way=way[:, 0])


def test_what_it_cannot_do_it_says(model: CompactModel) -> None:
    with pytest.raises(ValueError, match="looks 1 to 3 actions ahead, 4 were asked for"):
        Generated(GeneratedConfig(ahead=4), model, SPEC, GoalDistance)
    goal = LatentGoal(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="on the way to one goal, got 2: give the last alone"):
        Generated(GeneratedConfig(), model, SPEC, GoalDistance).reset([goal, goal])
    with pytest.raises(ValueError, match="no subgoal generator: train one with"):
        Generated(GeneratedConfig(), make_model([[0.0, 0.0], [1.0, 1.0]]), SPEC, GoalDistance)
    for settings, name in (({"ahead": 0}, "ahead"), ({"pace": 0.0}, "pace"), ({"temperature": -1.0}, "temperature")):
        with pytest.raises(ValueError, match=name):
            GeneratedConfig(**settings)  # pyright: ignore[reportArgumentType]
