"""Is the energy low where it should be? Costs of single actions around a step whose true action is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from planner.base import MakeObjective, Score
from planner.objectives.objective import rollout_score
from planner.search.chunks import Chunks
from world_model.base import LatentState, WorldModel

TRANSLATION = slice(0, 3)


@dataclass(frozen=True)
class StepDiagnosis:
    """What the energy says about one recorded step from an observation to the next.

    All compared actions have the true action's rotation and gripper change.

    Attributes:
        rank: Share of the shell, translations as long as the true one in random directions, with a lower energy than
            the true action: 0 is best, 0.5 is what a model that knows nothing about actions gets.
        cost: Energy of the true action.
        shuffled_cost: Mean energy over the shell: actions that belong to other steps.
        static_cost: Energy of the observation itself, as if nothing moved and nothing was predicted.
        angle: Between the direction in which the energy falls fastest at the zero action and the true translation
            [rad]; pi / 2 is what chance gets.
    """

    rank: float
    cost: float
    shuffled_cost: float
    static_cost: float
    angle: float


def diagnose_step(
    model: WorldModel,
    objective: MakeObjective,
    now: LatentState,
    after: LatentState,
    action: Float[Tensor, "A"],
    generator: torch.Generator,
    shell: int = 256,
    chunks: Chunks | None = None,
) -> StepDiagnosis:
    """Returns how well the energy, with the next observation as the goal, singles out the action that led there.

    Args:
        model: What predicts.
        objective: Makes the cost from the goal's latent.
        now: Latent of the observation, one frame.
        after: Latent of the next one.
        action: What led from one to the other, physical units, its first three numbers a translation [m].
        generator: Source of the random directions.
        shell: How many directions.
        chunks: Splits what does not fit into memory; worth keeping from step to step.

    Raises:
        ValueError: If the action has no translation: there is nothing to compare.
    """
    length = action[TRANSLATION].norm()
    if length == 0:
        raise ValueError("a step whose translation is zero can't be compared with others of the same length")
    cost = objective(after.as_goal())
    directions = torch.randn(shell, 3, generator=generator).to(action)
    actions = action.repeat(shell + 1, 1, 1)  # (shell + 1, H=1, A), the true one first
    actions[1:, 0, TRANSLATION] = length * torch.nn.functional.normalize(directions, dim=-1)
    score = rollout_score(model, cost, now)
    costs = (chunks or Chunks()).score(score, actions)
    zero = torch.zeros_like(action)[None, None].requires_grad_()
    (gradient,) = torch.autograd.grad(score(zero).sum(), zero)
    cosine = torch.cosine_similarity(-gradient[0, 0, TRANSLATION], action[TRANSLATION], dim=0)
    return StepDiagnosis(
        rank=float((costs[1:] < costs[0]).float().mean()),
        cost=float(costs[0]),
        shuffled_cost=float(costs[1:].mean()),
        static_cost=float(cost(now, zero.detach())[0]),
        angle=float(cosine.clamp(-1, 1).arccos()),
    )


def energy_plane(
    score: Score,
    center: Float[Tensor, "A"],
    plane: tuple[int, int],
    values: tuple[Float[Tensor, "n"], Float[Tensor, "m"]],
) -> Float[Tensor, "m n"]:
    """Returns the cost of single actions on a grid over two dimensions, the others as in `center`.

    Row i is the i-th value of the second dimension, column j the j-th of the first.
    """
    first, second = torch.meshgrid(*values, indexing="xy")
    actions = center.repeat(first.numel(), 1, 1)
    actions[:, 0, plane[0]], actions[:, 0, plane[1]] = first.flatten(), second.flatten()
    return score(actions).view(first.shape)


def plane_values(action: Float[Tensor, "A"], high: tuple[float, ...], points: int) -> Float[Tensor, "n"]:
    """Returns the translations along a side of a landscape around an action [m], up to the largest allowed at least."""
    reach = max(1.3 * float(action[TRANSLATION].abs().max()), *np.abs(high[TRANSLATION]))
    return torch.linspace(-reach, reach, points).to(action)


def draw_plane(
    axis: Any,
    values: Float[Tensor, "n"],
    costs: Float[np.ndarray, "n n"],
    action: Float[Tensor, "A"],
    plane: tuple[int, int],
    **levels: Any,
) -> Any:
    """Draws what `energy_plane` gave for the same values on both sides and returns what its colour scale is made from.

    A red star is the true action, a white cross the lowest energy on the grid.

    Args:
        axis: Of matplotlib.
        values: Translations along a side [m].
        costs: On the grid.
        action: The true one.
        plane: The two dimensions.
        levels: How energies become colours, see contourf.
    """
    grid = 1000 * values.cpu().numpy()  # [mm]
    filled = axis.contourf(grid, grid, costs, cmap="viridis", **levels)
    best = np.unravel_index(costs.argmin(), costs.shape)
    axis.plot(grid[best[1]], grid[best[0]], "x", color="white", markersize=9, markeredgewidth=2, clip_on=False)
    axis.plot(*(1000 * float(action[i]) for i in plane), "*", color="red", markersize=13, markeredgecolor="white")
    first, second = ("xyz"[i] for i in plane)
    axis.set(xlabel=f"d{first} [mm]", ylabel=f"d{second} [mm]", aspect="equal")
    return filled
