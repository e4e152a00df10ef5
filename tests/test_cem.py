"""The cross-entropy method on quadratics: it needs no model, no robot and no simulator."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor

from envs.spec import ActionSpec
from planner.base import Plan, Score
from planner.cem import CEM, CEMConfig

SPEC = ActionSpec(("x", "y", "fixed"), ("m", "m", "m"), (-1.0, -0.5, 0.25), (1.0, 0.5, 0.25), "base", 4.0)
CONFIG = CEMConfig(horizon=3, samples=128, iterations=8, elites=16, kept_elites=4)


def quadratic(target: Tensor) -> Score:
    return lambda actions: (actions - target).square().sum(dim=(1, 2))


def plan(score: Score, seed: int = 0, guesses: Tensor | None = None, config: CEMConfig = CONFIG) -> Plan:
    guesses = torch.zeros(1, config.horizon, 3) if guesses is None else guesses
    return CEM(config).plan(score, SPEC, guesses, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(5))
def test_planner_finds_the_optimum_of_a_quadratic(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand(3, 3, generator=generator) - 0.5) * torch.tensor([2.0, 1.0, 0.0]) * 0.9
    target[:, 2] = 0.25
    found = plan(quadratic(target), seed)
    torch.testing.assert_close(found.actions, target, atol=0.05, rtol=0)
    assert found.cost == pytest.approx(float(quadratic(target)(found.actions[None])))


def test_planner_finds_an_optimum_at_the_bounds() -> None:
    found = plan(quadratic(torch.tensor([7.0, -7.0, 0.25]).expand(3, 3)))
    torch.testing.assert_close(found.actions, torch.tensor([1.0, -0.5, 0.25]).expand(3, 3), atol=0.01, rtol=0)


def test_planner_scores_nothing_out_of_bounds_and_never_varies_a_fixed_dimension() -> None:
    seen: list[Tensor] = []

    def score(actions: Tensor) -> Tensor:
        seen.append(actions)
        return quadratic(torch.full((3, 3), 0.8))(actions)

    found = plan(score, guesses=torch.full((2, 3, 3), 9.0))
    scored = torch.cat(seen)
    assert torch.all(scored >= torch.tensor(SPEC.low)) and torch.all(scored <= torch.tensor(SPEC.high))
    assert torch.all(scored[..., 2] == 0.25) and torch.all(found.actions[..., 2] == 0.25)
    assert found.evaluations == len(scored) == 128 * 8 + 1


def test_same_seed_same_plan_and_another_seed_another() -> None:
    score = quadratic(torch.full((3, 3), 0.3))
    assert torch.equal(plan(score, 1).actions, plan(score, 1).actions)
    assert not torch.equal(plan(score, 1).actions, plan(score, 2).actions)


def test_replans_use_fresh_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    score, planner = quadratic(torch.full((3, 3), 0.3)), CEM(CONFIG)
    first, second = (planner.plan(score, SPEC, torch.zeros(1, 3, 3), generator) for _ in range(2))
    assert not torch.equal(first.actions, second.actions)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_plan_is_never_worse_than_any_guess(position: int) -> None:
    target = torch.tensor([0.321, -0.123, 0.25]).expand(3, 3)
    guesses = torch.full((3, 3, 3), -0.4)
    guesses[position] = target
    found = plan(
        quadratic(target),
        guesses=guesses,
        config=CEMConfig(horizon=3, samples=8, iterations=1, elites=2, kept_elites=2),
    )
    assert found.cost == 0.0 and torch.equal(found.actions, target)


def test_cost_trace_falls_to_the_plans_cost() -> None:
    found = plan(quadratic(torch.full((3, 3), 0.2)))
    assert found.costs.shape == (8,)
    assert torch.all(found.costs.diff() <= 0) and float(found.costs[-1]) == found.cost


def test_costs_that_are_not_numbers_never_win() -> None:
    target = torch.full((3, 3), 0.25)

    def score(actions: Tensor) -> Tensor:
        return torch.where(actions[:, 0, 0] > 0, float("nan"), quadratic(target)(actions))

    found = plan(score)
    assert found.actions[0, 0] <= 0 and found.cost < float("inf")


def test_deadline_is_kept_with_a_plan_at_hand() -> None:
    def slow(actions: Tensor) -> Tensor:
        time.sleep(0.02)
        return quadratic(torch.full((3, 3), 0.3))(actions)

    start = time.monotonic()
    planner = CEM(CEMConfig(horizon=3, samples=16, iterations=500, elites=4))
    found = planner.plan(slow, SPEC, torch.zeros(1, 3, 3), torch.Generator().manual_seed(0), start + 0.2)
    assert time.monotonic() - start < 0.2 * 1.2
    assert 1 < len(found.costs) < 20 and found.cost < float(quadratic(torch.full((3, 3), 0.3))(torch.zeros(1, 3, 3)))


def test_a_deadline_that_is_over_still_gives_the_best_guess() -> None:
    target = torch.tensor([0.5, 0.5, 0.25]).expand(3, 3)
    guesses = torch.stack([torch.zeros(3, 3), target])
    generator = torch.Generator().manual_seed(0)
    found = CEM(CONFIG).plan(quadratic(target), SPEC, guesses, generator, time.monotonic() - 1.0)
    assert found.evaluations == 2 and found.cost == 0.0 and torch.equal(found.actions, target)


@pytest.mark.parametrize("shape", [(1, 2, 3), (1, 3, 2), (0, 3, 3), (3, 3)])
def test_guesses_that_do_not_fit_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="horizon 3, actions 3"):
        plan(quadratic(torch.zeros(3, 3)), guesses=torch.zeros(shape))


@pytest.mark.parametrize(
    "wrong",
    [
        {"horizon": 0},
        {"iterations": 0},
        {"elites": 1},
        {"elites": 200},
        {"kept_elites": 13},
        {"initial_std": 0.0},
        {"minimum_std": 0.6},
        {"momentum_mean": 1.0},
    ],
)
def test_settings_out_of_range_are_an_error(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="|".join(wrong)):
        CEMConfig(**wrong)  # type: ignore[arg-type]
