"""The official planner's arithmetic: its stored actions from its own noise, and the contract of a planner."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from envs.spec import POSE_NAMES, POSE_UNITS, ActionSpec
from planner.objectives.objective import GoalDistance, GoalDistanceConfig
from planner.search.official_cem import OfficialCEM, OfficialCEMConfig
from world_model.base import LatentState
from world_model.importing.official import load_official

GOLDEN = Path(__file__).parent / "golden"
NOTEBOOK_ACTIONS = ActionSpec(
    POSE_NAMES,
    POSE_UNITS,
    (-0.075,) * 3 + (0.0,) * 3 + (-0.75,),
    (0.075,) * 3 + (0.0,) * 3 + (0.75,),
    "base",
    4.0,
)


class StoredNoise(OfficialCEM):
    """The planner with noise from a file: (iterations, H, samples, searched dimensions)."""

    def __init__(self, config: OfficialCEMConfig, noise: Tensor) -> None:
        super().__init__(config)
        self.iterations = iter(noise)

    def draw_noise(self, searched: Tensor, like: Tensor, generator: torch.Generator) -> Tensor:
        full = like.new_zeros(self.config.samples, self.horizon, len(like))
        full[..., searched] = next(self.iterations).transpose(0, 1)
        return full


@pytest.mark.parametrize("horizon", [1, 2])
def test_the_official_noise_gives_the_official_action(horizon: int) -> None:
    stored = load_file(GOLDEN / "vjepa2_ac_tiny.safetensors")
    model = load_official(GOLDEN / "vjepa2_ac_tiny.pt", image_size=64, encoder_heads=3, predictor_heads=4, max_frames=8)
    config = OfficialCEMConfig(
        horizon=horizon, samples=32, iterations=4, elites=6, momentum_mean=0.15, momentum_std=0.75
    )
    tokens = model.encoder.tokens
    latents = stored["latents"].unflatten(1, (-1, tokens))  # (B, T, N, D)
    start = LatentState(latents[:1, :1], stored["rollout_state0"][:1].reshape(1, 1, 7))
    goal = LatentState(latents[1:2, -1:], torch.zeros(1, 1, 7))
    objective = GoalDistance(goal.as_goal(), GoalDistanceConfig(frames="last"))

    def score(actions: Tensor) -> Tensor:
        return objective(model.rollout(start, actions), actions)

    planner = StoredNoise(config, stored[f"cem_H{horizon}_noise"])
    plan = planner.plan(score, NOTEBOOK_ACTIONS, torch.zeros(1, horizon, 7), torch.Generator())
    expected = stored[f"cem_H{horizon}_action"].reshape(-1, 7)
    torch.testing.assert_close(plan.actions[: len(expected)], expected, atol=1e-5, rtol=0)


def quadratic(actions: Tensor, target: Tensor) -> Tensor:
    return (actions - target).square().sum(dim=(1, 2))


def test_it_finds_the_optimum_of_a_quadratic_within_the_bounds() -> None:
    target = torch.tensor([[0.05, -0.2, 0.0, 0.0, 0.0, 0.0, 0.5]])
    planner = OfficialCEM(OfficialCEMConfig(samples=400, iterations=12, gripper_momentum_mean=0.0))
    plan = planner.plan(
        partial(quadratic, target=target), NOTEBOOK_ACTIONS, torch.zeros(1, 1, 7), torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(plan.actions, torch.tensor([[0.05, -0.075, 0.0, 0.0, 0.0, 0.0, 0.5]]), atol=5e-3, rtol=0)
    assert plan.cost == pytest.approx(float(quadratic(plan.actions[None], target)[0]))
    assert plan.evaluations == 12 * 400 + 1


def test_a_small_change_of_the_gripper_becomes_none() -> None:
    target = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2]])
    plan = OfficialCEM(OfficialCEMConfig(iterations=8)).plan(
        partial(quadratic, target=target), NOTEBOOK_ACTIONS, torch.zeros(1, 1, 7), torch.Generator().manual_seed(0)
    )
    assert plan.actions[0, 6] == 0.0


def test_the_same_seed_gives_the_same_plan_and_a_deadline_ends_it_early() -> None:
    target = torch.full((1, 7), 0.01)
    planner = OfficialCEM()
    plans = [
        planner.plan(
            partial(quadratic, target=target), NOTEBOOK_ACTIONS, torch.zeros(1, 1, 7), torch.Generator().manual_seed(4)
        )
        for _ in range(2)
    ]
    assert torch.equal(plans[0].actions, plans[1].actions)
    early = planner.plan(
        partial(quadratic, target=target), NOTEBOOK_ACTIONS, torch.zeros(1, 1, 7), torch.Generator(), deadline=0.0
    )
    assert early.evaluations == 801


@pytest.mark.parametrize("wrong", [{"horizon": 0}, {"elites": 1}, {"momentum_std": 1.0}, {"gripper_std": 0.0}])
def test_settings_out_of_range_are_an_error(wrong) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        OfficialCEMConfig(**wrong)
