"""Subgoals from recordings: the shortest way, what of it is pursued and when."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.control.controller import Controller, ControllerConfig
from planner.objectives.objective import GoalDistance
from planner.search.cem import CEM, CEMConfig
from planner.subgoals.retrieved import Retrieved, RetrievedConfig, shortest_ways
from world_model.base import LatentGoal, LatentState
from world_model.compact import CompactModel
from world_model.encoders.convolutions import ConvolutionalEncoder
from world_model.encoders.convolutions_config import ConvolutionsConfig
from world_model.encoders.readout import Readout, ReadoutConfig
from world_model.heads.bank import Bank
from world_model.heads.ways import TemporalDistance
from world_model.heads.ways_config import JudgeShape, TemporalDistanceConfig, TemporalDistanceShape
from world_model.predictors.compact import CompactDynamics, DynamicsConfig
from world_model.statistics import Statistics

SPEC = ActionSpec(("x", "y"), ("m", "m"), (-1.0, -1.0), (1.0, 1.0), "base", 4.0)


class Apart(TemporalDistance):
    """A distance that is that of the latents, a number an action."""

    def actions(
        self, now: Float[Tensor, "B Z"], goal: Float[Tensor, "B Z"], poses: Tensor | None, quickest_of: int = 1
    ) -> Float[Tensor, "B"]:
        return (now - goal).norm(dim=-1)


def make_model(places: list[list[float]]) -> CompactModel:
    """Returns a model with recordings of these places, two numbers each."""
    encoder = ConvolutionalEncoder(ConvolutionsConfig(image_size=16, channels=(8, 8, 8)))
    readout = Readout(ReadoutConfig(encoder.tokens, encoder.width, latents=1, width=2, narrow=4, hidden=8))
    statistics = Statistics((0.0, 0.0), (1.0, 1.0), (0.0, 0.0), (1.0, 1.0))
    dynamics = CompactDynamics(DynamicsConfig(2, 2, 2, width=8, depth=1))
    model = CompactModel(encoder, readout, dynamics, SPEC, statistics).freeze()
    model.add_head("bank", Bank.of([torch.tensor(places)], [torch.zeros(len(places) - 1, 2)]))
    shape = TemporalDistanceShape(JudgeShape(code=4, reader=8, width=8, longest=4), members=1)
    model.add_head("temporal_distance", Apart(TemporalDistanceConfig(2, 2, shape)).eval())
    return model


def source(model: CompactModel, **settings: float) -> Retrieved:
    config = RetrievedConfig(**{"reach": 3.0, "arrived": 1.0, **settings})  # pyright: ignore[reportArgumentType]
    return Retrieved(config, model, SPEC, GoalDistance)


def at(*place: float) -> LatentState:
    return LatentState(torch.tensor([[[place]]]), torch.zeros(1, 1, 2))


def ask(subgoals: Retrieved, *place: float) -> list[float] | None:
    found = subgoals.next(at(*place), torch.Generator())
    return None if found is None else found.tokens[0].round(decimals=1).tolist()


CORRIDOR = [[0.0, 2.0], [0.0, 4.0], [2.0, 5.0], [4.0, 4.0], [4.0, 2.0], [9.0, 9.0]]
"""Around a corner from (0, 0) to (4, 0), and a place that nothing leads to."""


def test_the_shortest_way_is_found_backwards_from_the_goal() -> None:
    edges = np.array([[0.0, 1.0, 9.0], [9.0, 0.0, 2.0], [9.0, 9.0, 0.0]])
    lengths, following = shortest_ways(edges, np.array([9.0, 9.0, 3.0]), reach=3.0)
    np.testing.assert_allclose(lengths, [6.0, 5.0, 3.0])
    assert following.tolist() == [1, 2, -1]  # edges have directions: none leads from the third back


def test_what_nothing_leads_from_is_infinitely_far() -> None:
    lengths, following = shortest_ways(np.full((2, 2), 9.0), np.array([9.0, 2.0]), reach=3.0)
    assert lengths.tolist() == [np.inf, 2.0] and following.tolist() == [-1, -1]


def test_recorded_frames_are_pursued_one_after_another_and_then_the_goal() -> None:
    subgoals = source(make_model(CORRIDOR))
    subgoals.reset([LatentGoal(torch.tensor([[4.0, 0.0]]))])
    assert ask(subgoals, 0.0, 0.0) == [0.0, 2.0]
    assert ask(subgoals, 0.0, 0.5) is None  # on the way
    assert ask(subgoals, 0.0, 1.5) == [0.0, 4.0]  # arrived: the furthest that is within reach
    assert ask(subgoals, 0.0, 3.5) == [2.0, 5.0]
    assert ask(subgoals, 2.0, 4.8) == [4.0, 4.0]
    assert ask(subgoals, 4.0, 3.2) == [4.0, 2.0]
    assert ask(subgoals, 4.0, 2.6) == [4.0, 0.0]  # the goal itself, within reach
    assert ask(subgoals, 4.0, 0.1) is None


def test_a_subgoal_that_is_not_reached_is_given_up() -> None:
    subgoals = source(make_model(CORRIDOR), patience=2)
    subgoals.reset([LatentGoal(torch.tensor([[4.0, 0.0]]))])
    assert ask(subgoals, 0.0, 0.0) == [0.0, 2.0]
    assert ask(subgoals, 0.0, 0.0) is None
    assert ask(subgoals, 4.0, 4.5) == [4.0, 2.0]  # carried off: another way is the shortest


def test_without_a_recorded_way_the_goal_is_pursued() -> None:
    subgoals = source(make_model(CORRIDOR))
    subgoals.reset([LatentGoal(torch.tensor([[-7.0, -7.0]]))])
    assert ask(subgoals, 0.0, 0.0) == [-7.0, -7.0]


def test_a_controller_takes_it_and_refuses_what_it_can_not_do() -> None:
    model, settings = make_model(CORRIDOR), ControllerConfig(subgoals=RetrievedConfig(reach=3.0))
    controller = Controller(model, CEM(CEMConfig(horizon=2)), SPEC, settings, GoalDistance)
    goals = [LatentGoal(torch.zeros(1, 2))] * 2
    with pytest.raises(ValueError, match=r"one goal, got 2: give the last alone \(--goals last\)"):
        controller._subgoals.reset(goals)
    del model.heads["temporal_distance"]
    with pytest.raises(ValueError, match="bank of recordings and its temporal distance: train one"):
        Controller(model, CEM(CEMConfig(horizon=2)), SPEC, settings, GoalDistance)
    with pytest.raises(ValueError, match="arrived must be at least 0 and under reach"):
        RetrievedConfig(arrived=9.0)
