"""What every planner promises, on functions that need no model, no robot and no simulator."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from envs.spec import ActionSpec
from planner.base import Plan, Planner, Score
from planner.search.cem import CEM, CEMConfig
from planner.search.first_guess import FirstGuess, FirstGuessConfig
from planner.search.gradient import Gradient, GradientConfig
from planner.search.hybrid import Hybrid, HybridConfig
from planner.search.icem import ICEM, ICEMConfig, noise_filter
from planner.search.mppi import MPPI, MPPIConfig, path_weights
from planner.search.official_cem import OfficialCEM, OfficialCEMConfig
from planner.search.planner_config import make_planner
from planner.search.predictive_sampling import PredictiveSampling, PredictiveSamplingConfig

SPEC = ActionSpec(("x", "y", "fixed"), ("m", "m", "m"), (-1.0, -0.5, 0.25), (1.0, 0.5, 0.25), "base", 4.0)
LOW, HIGH = torch.tensor(SPEC.low), torch.tensor(SPEC.high)
SAMPLING = ["cem", "icem", "mppi", "predictive_sampling"]
PLANNERS = [*SAMPLING, "adam", "lbfgs", "hybrid_adam", "hybrid_lbfgs"]

every_planner = pytest.mark.parametrize("name", PLANNERS)
every_planner_and_the_official = pytest.mark.parametrize("name", [*PLANNERS, "official_cem"])


def build(name: str, horizon: int = 3, samples: int = 64, iterations: int = 8, **others: Any) -> Planner:
    """Returns a planner whose noise narrows slowly enough for long searches; those by gradient take 8 starts."""
    sampling = {"horizon": horizon, "samples": samples, "iterations": iterations, **others}
    elites = max(2, samples // 8)
    descent = {"horizon": horizon, "iterations": iterations, "starts": 8, **others}
    match name:
        case "cem":
            return CEM(CEMConfig(**sampling, elites=elites, kept_elites=2))
        case "icem":
            return ICEM(ICEMConfig(**sampling, elites=elites, kept_elites=2))
        case "mppi":
            return MPPI(MPPIConfig(**sampling, std_decay=0.8))
        case "predictive_sampling":
            return PredictiveSampling(PredictiveSamplingConfig(**sampling, std=0.4, std_decay=0.85))
        case "official_cem":
            return OfficialCEM(OfficialCEMConfig(**sampling, elites=elites))
        case "adam" | "lbfgs":
            return Gradient(GradientConfig(**descent, optimizer=name))
    part: Any = ICEMConfig(samples=samples, iterations=iterations, elites=elites, kept_elites=2)
    if name == "hybrid_lbfgs":
        part = PredictiveSamplingConfig(samples=samples, iterations=iterations, std=0.4, std_decay=0.85)
    second = GradientConfig(optimizer=name.removeprefix("hybrid_"), starts=1, iterations=iterations)  # type: ignore[arg-type]
    return Hybrid(HybridConfig(horizon=horizon, sampling=part, gradient=second, **others))


def plan(
    planner: Planner, score: Score, seed: int = 0, guesses: Tensor | None = None, deadline: float | None = None
) -> Plan:
    guesses = torch.zeros(1, planner.horizon, 3) if guesses is None else guesses
    return planner.plan(score, SPEC, guesses, torch.Generator().manual_seed(seed), deadline)


def quadratic(target: Tensor) -> Score:
    return lambda actions: (actions - target).square().sum(dim=(1, 2))


def target_within_bounds(seed: int, horizon: int = 3) -> Tensor:
    shares = torch.rand(horizon, 3, generator=torch.Generator().manual_seed(100 + seed))
    return LOW + (0.1 + 0.8 * shares) * (HIGH - LOW)


def coupled_quadratic(seed: int) -> tuple[Score, Tensor]:
    """Returns a quadratic that couples all steps and dimensions, and where it is least."""
    target = target_within_bounds(seed)
    factor = torch.randn(9, 9, generator=torch.Generator().manual_seed(seed))
    matrix = factor @ factor.T / 9 + 0.3 * torch.eye(9)

    def score(actions: Tensor) -> Tensor:
        offset = (actions - target).flatten(1)  # (S, 9)
        return (offset @ matrix * offset).sum(dim=1)

    return score, target


class Watched:
    """A score that keeps all it is asked, in order."""

    def __init__(self, score: Score) -> None:
        self.score = score
        self.calls: list[Tensor] = []

    def __call__(self, actions: Tensor) -> Tensor:
        self.calls.append(actions.detach().clone())
        return self.score(actions)

    @property
    def scored(self) -> Tensor:
        return torch.cat(self.calls)


class Clock:
    """A clock that only scoring moves: tests of deadlines that no other load can disturb."""

    def __init__(self, seconds_a_call: float, seconds_a_sequence: float, unevenness: float = 0.0) -> None:
        self.now = 1000.0
        self.seconds_a_call = seconds_a_call
        self.seconds_a_sequence = seconds_a_sequence
        self.unevenness = unevenness
        self.generator = torch.Generator().manual_seed(0)

    def slow(self, score: Score) -> Score:
        """Returns the score, taking its time; with gradient three times as long."""

        def slow_score(actions: Tensor) -> Tensor:
            share = 1 + self.unevenness * (2 * float(torch.rand((), generator=self.generator)) - 1)
            seconds = self.seconds_a_call + self.seconds_a_sequence * len(actions)
            self.now += seconds * share * (3 if actions.requires_grad else 1)
            return score(actions)

        return slow_score


# What is found


@every_planner
@pytest.mark.parametrize("seed", range(4))
def test_planner_finds_the_optimum_of_a_coupled_quadratic(name: str, seed: int) -> None:
    score, target = coupled_quadratic(seed)
    found = plan(build(name, samples=256, iterations=24), score, seed)
    torch.testing.assert_close(found.actions, target, atol=0.03, rtol=0)
    assert found.cost == pytest.approx(float(score(found.actions[None])))


@every_planner
def test_planner_finds_an_optimum_at_the_bounds(name: str) -> None:
    found = plan(build(name, samples=128, iterations=20), quadratic(torch.tensor([7.0, -7.0, 0.25]).expand(3, 3)))
    torch.testing.assert_close(found.actions, torch.tensor([1.0, -0.5, 0.25]).expand(3, 3), atol=0.01, rtol=0)


def two_basins(actions: Tensor) -> Tensor:
    """Returns the cost of a narrow, shallow basin at (-0.6, -0.3) and a wide, deep one at (0.5, 0.3)."""
    to_shallow = (actions[..., :2] - torch.tensor([-0.6, -0.3])).square().sum(dim=(1, 2))
    to_deep = (actions[..., :2] - torch.tensor([0.5, 0.3])).square().sum(dim=(1, 2))
    return 3 - torch.exp(-20 * to_shallow) - 2 * torch.exp(-2 * to_deep)


@every_planner
@pytest.mark.parametrize("seed", range(4))
def test_planner_leaves_the_basin_of_a_bad_guess_for_a_better_one(name: str, seed: int) -> None:
    guess = torch.tensor([[[-0.6, -0.3, 0.25]]])
    found = plan(build(name, horizon=1, iterations=40), two_basins, seed, guess)
    torch.testing.assert_close(found.actions, torch.tensor([[0.5, 0.3, 0.25]]), atol=0.02, rtol=0)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_descent_from_a_bad_guess_alone_stays_in_its_basin(optimizer: Any) -> None:
    config = GradientConfig(optimizer=optimizer, starts=1, iterations=20)
    guess = torch.tensor([[[-0.55, -0.25, 0.25]]])
    assert plan(Gradient(config), two_basins, guesses=guess).actions[0, 0] < -0.5
    assert plan(Hybrid(HybridConfig(gradient=config)), two_basins, guesses=guess).actions[0, 0] > 0.4


@every_planner
@pytest.mark.parametrize("position", [0, 1, 2])
def test_plan_is_never_worse_than_any_guess(name: str, position: int) -> None:
    target = torch.tensor([0.321, -0.123, 0.25]).expand(3, 3)
    guesses = torch.full((3, 3, 3), -0.4)
    guesses[position] = target
    found = plan(build(name, samples=4, iterations=1), quadratic(target), guesses=guesses)
    assert found.cost == 0.0 and torch.equal(found.actions, target)


@every_planner
def test_a_good_first_guess_helps(name: str) -> None:
    score, target = coupled_quadratic(0)
    near = (target + 0.02 * torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[None]
    planner = build(name, samples=8, iterations=2)
    assert plan(planner, score, guesses=near).cost < 0.2 * plan(planner, score, guesses=-target[None]).cost


@every_planner
def test_cost_trace_falls_to_the_plans_cost_with_one_entry_an_iteration(name: str) -> None:
    score, _ = coupled_quadratic(0)
    found = plan(build(name), score)
    assert torch.all(found.costs.diff() <= 0) and float(found.costs[-1]) == found.cost
    assert found.costs.shape == (16 if name.startswith("hybrid") else 8,)


# What is scored


@every_planner_and_the_official
@pytest.mark.parametrize("deadline", [None, math.inf])
def test_nothing_scored_is_out_of_bounds_and_fixed_dimensions_never_vary(name: str, deadline: float | None) -> None:
    score = Watched(quadratic(torch.tensor([0.8, -3.0, 7.0])))
    found = plan(build(name), score, guesses=torch.full((2, 3, 3), 9.0), deadline=deadline)
    for actions in (score.scored, found.actions):
        assert torch.all(actions >= LOW) and torch.all(actions <= HIGH) and torch.all(actions[..., 2] == 0.25)


@every_planner_and_the_official
@pytest.mark.parametrize("deadline", [None, math.inf])
def test_evaluations_are_what_the_score_saw(name: str, deadline: float | None) -> None:
    score = Watched(coupled_quadratic(0)[0])
    found = plan(build(name), score, guesses=torch.zeros(2, 3, 3), deadline=deadline)
    assert found.evaluations == len(score.scored)
    assert deadline is None or name == "official_cem" or torch.equal(score.calls[0][..., :2], torch.zeros(2, 3, 2))


@every_planner
def test_more_guesses_than_samples_are_all_scored(name: str) -> None:
    guesses = torch.rand(11, 3, 3, generator=torch.Generator().manual_seed(0)).clamp(LOW, HIGH)
    score = Watched(quadratic(guesses[-1]))
    found = plan(build(name, samples=4, iterations=2), score, guesses=guesses)
    assert torch.equal(found.actions, guesses[-1])
    assert all(any(torch.equal(guess, other) for other in score.scored) for guess in guesses)


@every_planner
def test_where_all_dimensions_are_fixed_the_plan_is_what_they_are_fixed_at(name: str) -> None:
    fixed = ActionSpec(("x", "y"), ("m", "m"), (0.5, -0.5), (0.5, -0.5), "base", 4.0)
    found = build(name).plan(quadratic(torch.zeros(2)), fixed, torch.zeros(1, 3, 2), torch.Generator())
    assert torch.equal(found.actions, torch.tensor([0.5, -0.5]).expand(3, 2)) and found.cost == 1.5


@every_planner
def test_the_guesses_and_the_gradient_mode_are_left_as_they_are(name: str) -> None:
    guesses = torch.full((1, 3, 3), 5.0)
    with torch.no_grad():
        found = plan(build(name), coupled_quadratic(0)[0], guesses=guesses)
    assert torch.all(guesses == 5.0)
    assert not found.actions.requires_grad and not found.costs.requires_grad


# Randomness


@every_planner_and_the_official
def test_same_seed_same_search_and_another_seed_another(name: str) -> None:
    scores = [Watched(coupled_quadratic(0)[0]) for _ in range(3)]
    found = [plan(build(name), score, seed) for score, seed in zip(scores, (1, 1, 2), strict=True)]
    assert torch.equal(found[0].actions, found[1].actions)
    assert torch.equal(scores[0].scored, scores[1].scored)
    assert not torch.equal(scores[0].calls[0], scores[2].calls[0])


@every_planner_and_the_official
def test_replans_use_fresh_noise(name: str) -> None:
    generator, planner = torch.Generator().manual_seed(0), build(name)
    scores = [Watched(coupled_quadratic(0)[0]) for _ in range(2)]
    for score in scores:
        planner.plan(score, SPEC, torch.zeros(1, 3, 3), generator)
    assert not torch.equal(scores[0].calls[0], scores[1].calls[0])


# Costs and gradients that are not numbers


@every_planner
def test_costs_that_are_not_numbers_never_win(name: str) -> None:
    target = torch.full((3, 3), 0.25)

    def score(actions: Tensor) -> Tensor:
        return torch.where(actions[:, 0, 0] > 0, float("nan"), quadratic(target)(actions))

    found = plan(build(name), score, guesses=torch.full((1, 3, 3), -0.5))
    assert found.actions[0, 0] <= 0 and found.cost < 0.5 * float(score(torch.full((1, 3, 3), -0.5)))
    assert found.costs.isfinite().all()


@every_planner
@pytest.mark.parametrize("cost", [float("nan"), float("inf")])
def test_where_no_cost_is_a_number_the_plan_is_the_first_guess(name: str, cost: float) -> None:
    guesses = torch.tensor([0.1, 0.2, 0.25]).expand(2, 3, 3)
    found = plan(build(name), lambda actions: cost + 0 * actions.sum(dim=(1, 2)), guesses=guesses)
    assert torch.equal(found.actions, guesses[0]) and found.cost == float("inf")


@pytest.mark.parametrize("name", ["adam", "lbfgs", "hybrid_adam", "hybrid_lbfgs"])
def test_gradients_that_are_not_numbers_break_nothing(name: str) -> None:
    def score(actions: Tensor) -> Tensor:
        broken = torch.sqrt(torch.relu(actions[:, 0, 0] - 0.2))  # an infinite or undefined slope up to 0.2
        return quadratic(torch.full((3, 3), 0.25))(actions) + broken

    watched = Watched(score)
    found = plan(build(name), watched)
    assert watched.scored.isfinite().all()
    assert found.cost < float(score(torch.zeros(1, 3, 3)))


@pytest.mark.parametrize("name", ["adam", "lbfgs", "hybrid_adam"])
def test_a_score_without_a_gradient_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="no gradient"):
        plan(build(name), lambda actions: actions.detach().sum(dim=(1, 2)))


# Time


@every_planner
def test_deadline_is_kept_by_the_real_clock(name: str) -> None:
    score, _ = coupled_quadratic(0)

    def slow(actions: Tensor) -> Tensor:
        time.sleep(0.02)
        return score(actions)

    planner = build(name, samples=16, iterations=500)
    start = time.monotonic()
    found = plan(planner, slow, deadline=start + 0.4)
    assert time.monotonic() - start < 0.4 * 1.2
    assert 4 < len(found.costs) < 40 and found.cost < 0.5 * float(score(torch.zeros(1, 3, 3)))


@every_planner
@pytest.mark.parametrize(
    ("seconds_a_call", "seconds_a_sequence", "unevenness"),
    [(0.02, 0.0, 0.3), (0.0, 0.002, 0.3), (0.01, 0.001, 0.0), (0.0, 0.02, 0.0), (0.0, 0.02, 0.1)],
    ids=["time a call", "time a sequence", "both", "less than an iteration", "less than an uneven iteration"],
)
def test_deadline_is_kept_with_a_slow_score(
    name: str, seconds_a_call: float, seconds_a_sequence: float, unevenness: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    score, _ = coupled_quadratic(0)
    clock = Clock(seconds_a_call, seconds_a_sequence, unevenness)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    found = plan(build(name, iterations=500), clock.slow(score), deadline=clock.now + 1.0)
    assert clock.now < 1001.2 and (clock.now > 1000.6 or "lbfgs" in name)  # L-BFGS may have converged
    assert found.cost < float(score(torch.zeros(1, 3, 3)))


@every_planner
def test_a_deadline_that_is_over_still_gives_the_best_guess(name: str) -> None:
    target = torch.tensor([0.5, 0.5, 0.25]).expand(3, 3)
    guesses = torch.stack([torch.zeros(3, 3), target])
    found = plan(build(name), quadratic(target), guesses=guesses, deadline=time.monotonic() - 1.0)
    assert found.evaluations == 2 and found.cost == 0.0 and torch.equal(found.actions, target)
    assert found.costs.tolist() == [0.0]


@every_planner
def test_a_deadline_far_off_changes_little(name: str) -> None:
    score, target = coupled_quadratic(0)
    found = plan(build(name, samples=256, iterations=24), score, deadline=math.inf)
    torch.testing.assert_close(found.actions, target, atol=0.03, rtol=0)


@every_planner
def test_a_tolerance_ends_the_search_early(name: str) -> None:
    quadratic_score, _ = coupled_quadratic(0)

    def score(actions: Tensor) -> Tensor:
        return 1 + quadratic_score(actions)

    iterations = 200 if name == "lbfgs" else 30  # enough to converge from all starts
    full = plan(build(name, iterations=iterations), score)
    early = plan(build(name, iterations=iterations, tolerance=0.02), score)
    assert len(early.costs) < len(full.costs) and early.evaluations < full.evaluations
    assert early.cost < 1.2 * full.cost
    assert len(full.costs) == {"hybrid_adam": 60}.get(name, 30) or "lbfgs" in name


# What is refused


@every_planner_and_the_official
@pytest.mark.parametrize("shape", [(1, 2, 3), (1, 3, 2), (0, 3, 3), (3, 3)])
def test_guesses_that_do_not_fit_are_an_error(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="horizon 3, actions 3"):
        plan(build(name), quadratic(torch.zeros(3, 3)), guesses=torch.zeros(shape))


OUT_OF_RANGE: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    *((config, {"horizon": 0}) for config in (CEMConfig, ICEMConfig, MPPIConfig, PredictiveSamplingConfig)),
    *((config, {"iterations": 0}) for config in (CEMConfig, ICEMConfig, MPPIConfig, PredictiveSamplingConfig)),
    *((config, {"tolerance": 1.0}) for config in (CEMConfig, ICEMConfig, MPPIConfig, PredictiveSamplingConfig)),
    *((config, {"initial_std": 0.0, "minimum_std": 0.0}) for config in (CEMConfig, ICEMConfig, MPPIConfig)),
    *((config, {"minimum_std": 0.6}) for config in (CEMConfig, ICEMConfig, MPPIConfig)),
    *((config, {"elites": 1}) for config in (CEMConfig, ICEMConfig)),
    *((config, {"elites": 200}) for config in (CEMConfig, ICEMConfig)),
    *((config, {"kept_elites": 13}) for config in (CEMConfig, ICEMConfig)),
    (CEMConfig, {"momentum_mean": 1.0}),
    (CEMConfig, {"momentum_std": -0.1}),
    (ICEMConfig, {"elites": 17}),
    (ICEMConfig, {"samples_decay": 0.9}),
    (ICEMConfig, {"noise_exponent": -1.0}),
    (ICEMConfig, {"momentum": 1.0}),
    (MPPIConfig, {"samples": 1}),
    (MPPIConfig, {"temperature": 0.0}),
    (MPPIConfig, {"std_decay": 1.1}),
    (PredictiveSamplingConfig, {"samples": 0}),
    (PredictiveSamplingConfig, {"std": 0.0}),
    (PredictiveSamplingConfig, {"minimum_std": 0.3}),
    (PredictiveSamplingConfig, {"std_decay": 0.0}),
    *((GradientConfig, {name: 0}) for name in ("horizon", "iterations", "starts", "learning_rate")),
    (GradientConfig, {"optimizer": "newton"}),
    (GradientConfig, {"momentum": 1.0}),
    (GradientConfig, {"tolerance": 1.0}),
    (FirstGuessConfig, {"horizon": 0}),
    (HybridConfig, {"horizon": 0}),
    (HybridConfig, {"horizon": 2, "gradient": GradientConfig(horizon=3)}),
    (HybridConfig, {"sampling_share": 1.0}),
    (HybridConfig, {"tolerance": 1.0}),
]


@pytest.mark.parametrize(("config", "wrong"), OUT_OF_RANGE)
def test_settings_out_of_range_are_an_error_that_names_them(config: Callable[..., Any], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        config(**wrong)


@every_planner_and_the_official
def test_a_planner_is_made_from_its_configuration(name: str) -> None:
    planner = build(name)
    made = make_planner(planner.config)  # type: ignore[attr-defined]
    assert type(made) is type(planner) and made.config == planner.config  # type: ignore[attr-defined]


# What is each planner's own


def test_the_first_guess_is_followed_within_the_bounds_whatever_it_costs() -> None:
    guesses = torch.stack([torch.full((3, 3), 0.7), target_within_bounds(0)])
    followed = plan(FirstGuess(FirstGuessConfig(horizon=3)), quadratic(target_within_bounds(0)), guesses=guesses)
    expected = guesses[0].clamp(LOW, HIGH)
    assert torch.equal(followed.actions, expected) and followed.evaluations == 1
    assert followed.cost == pytest.approx(float(quadratic(target_within_bounds(0))(expected[None])))
    assert isinstance(make_planner(FirstGuessConfig()), FirstGuess)
    with pytest.raises(ValueError, match="horizon 3, actions 3"):
        plan(FirstGuess(FirstGuessConfig(horizon=3)), quadratic(torch.zeros(3, 3)), guesses=torch.zeros(1, 2, 3))


@pytest.mark.parametrize("horizon", [1, 2, 3, 8])
@pytest.mark.parametrize("exponent", [0.0, 1.0, 3.0])
def test_colored_noise_has_variance_1_at_every_step_of_every_horizon(horizon: int, exponent: float) -> None:
    variance = noise_filter(horizon, exponent).square().sum(dim=1)
    torch.testing.assert_close(variance, torch.ones(horizon, dtype=torch.float64))


def test_colored_noise_is_white_at_exponent_0_and_slower_the_larger_it_is() -> None:
    torch.testing.assert_close(noise_filter(5, 0.0), torch.eye(5, dtype=torch.float64))
    covariances = [noise_filter(8, exponent) @ noise_filter(8, exponent).T for exponent in (0.0, 1.0, 2.0, 4.0)]
    correlations = [float(covariance[3, 4]) for covariance in covariances]
    assert correlations == sorted(correlations) and correlations[-1] > 0.5


def test_icem_draws_fewer_samples_in_each_iteration_but_never_fewer_than_twice_the_elites() -> None:
    score = Watched(coupled_quadratic(0)[0])
    config = ICEMConfig(horizon=3, samples=32, iterations=5, elites=8, samples_decay=1.5)
    plan(ICEM(config), score)
    assert [len(call) for call in score.calls] == [32, 21, 16, 16, 16, 1]  # the last mean comes last


def test_icem_returns_its_further_elites_as_runners_up_best_first() -> None:
    score = coupled_quadratic(0)[0]
    found = plan(ICEM(ICEMConfig(horizon=3, elites=6, kept_elites=4)), score)
    assert found.runners_up is not None and 3 <= len(found.runners_up) <= 4
    costs = score(found.runners_up)
    assert torch.all(costs.diff() >= 0) and torch.all(costs > found.cost)


def test_mppi_weights_do_not_change_when_costs_are_shifted_or_scaled() -> None:
    costs = torch.tensor([3.0, 1.0, 2.0, 8.0, 1e6], dtype=torch.float64)
    weights = path_weights(costs, temperature=0.5)
    torch.testing.assert_close(path_weights(1e-6 * costs - 7.0, temperature=0.5), weights)
    assert float(weights.sum()) == pytest.approx(1.0)
    assert float(weights[0] / weights[1]) == pytest.approx(math.exp(-1 / 0.5))  # the median and the best


def test_mppi_gives_costs_that_are_not_finite_no_weight() -> None:
    inf = float("inf")
    torch.testing.assert_close(
        path_weights(torch.tensor([inf, 2.0, inf, 2.0]), 0.2), torch.tensor([0.0, 0.5, 0.0, 0.5])
    )
    assert torch.equal(path_weights(torch.tensor([inf, inf]), 0.2), torch.zeros(2))


def test_mppi_that_adapts_its_noise_finds_the_optimum_too() -> None:
    score, target = coupled_quadratic(1)
    config = MPPIConfig(horizon=3, samples=256, iterations=24, std_decay=1.0, adapt_std=True)
    torch.testing.assert_close(plan(MPPI(config), score).actions, target, atol=0.03, rtol=0)


def test_predictive_sampling_needs_no_more_than_one_sample() -> None:
    score = coupled_quadratic(0)[0]
    config = PredictiveSamplingConfig(horizon=3, samples=1, iterations=200, std_decay=1.0)
    found = plan(PredictiveSampling(config), score)
    assert found.evaluations == 200 and found.cost < 0.3 * float(score(torch.zeros(1, 3, 3)))


def test_descent_does_not_depend_on_the_unit_of_cost_or_action() -> None:
    """Powers of two, which rounding does not see."""
    target = torch.tensor([0.3, -0.2, 0.25]).expand(3, 3)
    large = ActionSpec(SPEC.names, SPEC.units, (-1024.0, -512.0, 256.0), (1024.0, 512.0, 256.0), "base", 4.0)
    for optimizer in ("adam", "lbfgs"):
        planner = Gradient(GradientConfig(horizon=3, optimizer=optimizer, starts=1, iterations=6))  # type: ignore[arg-type]
        found = plan(planner, quadratic(target))
        scaled = planner.plan(quadratic(1024 * target), large, torch.zeros(1, 3, 3), torch.Generator())
        torch.testing.assert_close(scaled.actions / 1024, found.actions)


def test_lbfgs_needs_few_evaluations_of_a_smooth_score() -> None:
    score, target = coupled_quadratic(2)
    found = plan(Gradient(GradientConfig(horizon=3, optimizer="lbfgs", starts=1, iterations=15)), score)
    torch.testing.assert_close(found.actions, target, atol=1e-3, rtol=0)


def test_lbfgs_goes_on_to_the_next_start_where_one_has_converged() -> None:
    score = Watched(two_basins)
    config = GradientConfig(optimizer="lbfgs", starts=3, iterations=100)
    found = plan(Gradient(config), score, guesses=torch.tensor([[[0.4, 0.2, 0.25]]]))
    assert len(found.costs) == len(score.calls) - 1 < 100  # the starts are scored in one call before
    assert found.evaluations == 3 + len(found.costs)
    assert score.scored[3:, 0, 0].min() < -0.3 or score.scored[3:, 0, 0].max() > 0.6


def test_hybrid_descends_from_the_plan_and_the_runners_up_of_its_first_part() -> None:
    score, watched = coupled_quadratic(0)[0], Watched(coupled_quadratic(0)[0])
    sampling = ICEMConfig(horizon=3, kept_elites=3)
    first = plan(ICEM(sampling), score)
    found = plan(Hybrid(HybridConfig(horizon=3, sampling=sampling)), watched)
    assert first.runners_up is not None and found.runners_up is not None
    assert torch.equal(watched.calls[5], torch.cat([first.actions[None], first.runners_up]))
    assert torch.equal(found.runners_up, first.runners_up)
    assert found.cost < first.cost and torch.equal(found.costs[:4], first.costs)


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_hybrid_gives_its_first_part_the_share_of_the_time_asked_for(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(0.01, 0.0)
    slow, starts_of_descent = clock.slow(coupled_quadratic(0)[0]), []

    def score(actions: Tensor) -> Tensor:
        if actions.requires_grad:
            starts_of_descent.append(clock.now - 1000.0)
        return slow(actions)

    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    first, second = CEMConfig(iterations=500), GradientConfig(iterations=500)
    planner = Hybrid(HybridConfig(horizon=3, sampling=first, gradient=second, sampling_share=share))
    plan(planner, score, deadline=clock.now + 1.0)
    assert starts_of_descent[0] == pytest.approx(share, abs=0.05)
    assert 0.9 < clock.now - 1000.0 < 1.05


def test_adams_rate_falls_to_nothing_by_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, (score, target) = Clock(0.001, 0.0), coupled_quadratic(0)
    monkeypatch.setattr("planner.search.sampling.time.monotonic", lambda: clock.now)
    planner = Gradient(GradientConfig(horizon=len(target), iterations=100_000, learning_rate=0.3))
    guess, generator = torch.zeros(1, *target.shape), torch.Generator().manual_seed(0)
    found = planner.plan(clock.slow(score), SPEC, guess, generator, clock.now + 0.3)
    torch.testing.assert_close(found.actions, target, atol=0.01, rtol=0)
