"""What is the cross-entropy method's own; what it shares with the other planners is in test_planners.py."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from envs.spec import ActionSpec
from planner.base import Plan
from planner.search.cem import CEM, CEMConfig

SPEC = ActionSpec(("x", "y", "fixed"), ("m", "m", "m"), (-1.0, -0.5, 0.25), (1.0, 0.5, 0.25), "base", 4.0)
LOW, HIGH = torch.tensor(SPEC.low), torch.tensor(SPEC.high)
TARGET = torch.tensor([0.3, -0.6, 0.25])
GUESSES = torch.stack([torch.zeros(3, 3), torch.full((3, 3), -0.4)]).clamp(LOW, HIGH)


def score(actions: Tensor) -> Tensor:
    return (actions - TARGET).square().sum(dim=(1, 2))


def plan(config: CEMConfig, calls: list[Tensor] | None = None) -> Plan:
    def watched(actions: Tensor) -> Tensor:
        if calls is not None:
            calls.append(actions)
        return score(actions)

    return CEM(config).plan(watched, SPEC, GUESSES, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("momentum", [0.0, 0.3])
def test_a_search_without_kept_elites_is_the_equations_of_the_docstring(momentum: float) -> None:
    config = CEMConfig(horizon=3, samples=16, kept_elites=0, momentum_mean=momentum, momentum_std=momentum)
    generator = torch.Generator().manual_seed(0)
    mean, std, scored = GUESSES[0], (0.4 * (HIGH - LOW)).expand(3, 3), torch.empty(0, 3, 3)
    known = GUESSES
    for _ in range(4):
        noise = torch.randn(16 - len(known), 3, 3, generator=generator)
        drawn = torch.cat([known, torch.clamp(mean + std * noise, LOW, HIGH)])
        elites = drawn[score(drawn).argsort()[:4]]
        mean = (1 - momentum) * elites.mean(dim=0) + momentum * mean
        std = torch.maximum((1 - momentum) * elites.std(dim=0) + momentum * std, 0.01 * (HIGH - LOW))
        known, scored = mean[None], torch.cat([scored, drawn])
    scored = torch.cat([scored, mean[None]])
    torch.testing.assert_close(plan(config).actions, scored[score(scored).argmin()])


def test_each_iteration_scores_the_samples_asked_for_and_the_last_mean_comes_last() -> None:
    calls: list[Tensor] = []
    found = plan(CEMConfig(horizon=3, samples=12, iterations=5), calls)
    assert [len(call) for call in calls] == [12] * 5 + [1] and found.evaluations == 61


def test_kept_elites_pull_the_mean_and_are_not_scored_again() -> None:
    calls: list[Tensor] = []
    plan(CEMConfig(horizon=3, samples=12, elites=4, kept_elites=4, iterations=2), calls)
    scored = torch.cat(calls[:2])
    assert len(torch.unique(scored, dim=0)) == len(scored) == 24
    best = scored[score(scored).argsort()[:4]]  # of both iterations
    torch.testing.assert_close(calls[2][0], best.mean(dim=0))
