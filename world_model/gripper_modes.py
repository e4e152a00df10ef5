"""A gripper as a search moves it: it opens all the way, keeps, or closes all the way."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec

_MODE = 1 / 3  # share of a gripper's bound from which on it opens or closes all the way


def gripper_modes(spec: ActionSpec) -> tuple[float, float, float] | None:
    """Returns the gripper's action that opens it, that keeps it and that closes it; None where an arm has none."""
    gripper = spec.gripper
    return None if gripper is None else (spec.low[gripper], 0.0, spec.high[gripper])


def in_gripper_modes(actions: Float[Tensor, "*B A"], spec: ActionSpec) -> Float[Tensor, "*B A"]:
    """Returns actions, in physical units, whose gripper does the nearest of the three; others as they are."""
    gripper, modes = spec.gripper, gripper_modes(spec)
    if gripper is None or modes is None:
        return actions
    opening, _, closing = modes
    actions = actions.clone()
    moved = actions[..., gripper]
    actions[..., gripper] = opening * (moved < _MODE * opening) + closing * (moved > _MODE * closing)
    return actions
