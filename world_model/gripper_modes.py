"""A gripper as a search moves it: it opens all the way, keeps, or closes all the way."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec

_MODE = 1 / 3  # share of a gripper's bound from which on it opens or closes all the way


def gripper_modes(spec: ActionSpec) -> tuple[int, tuple[float, float, float]] | None:
    """Returns which number of an action is the gripper's, and what opens, keeps and closes it; None if none is."""
    index = spec.gripper
    return None if index is None else (index, (spec.low[index], 0.0, spec.high[index]))


def in_gripper_modes(actions: Float[Tensor, "*B A"], spec: ActionSpec) -> Float[Tensor, "*B A"]:
    """Returns actions, in physical units, whose gripper does the nearest of the three; others as they are."""
    modes = gripper_modes(spec)
    if modes is None:
        return actions
    index, (opening, _, closing) = modes
    actions = actions.clone()
    moved = actions[..., index]
    actions[..., index] = opening * (moved < _MODE * opening) + closing * (moved > _MODE * closing)
    return actions
