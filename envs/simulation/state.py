"""The whole state of a simulation, taken and put back."""

from __future__ import annotations

import mujoco
import numpy as np
from jaxtyping import Float

_KIND = mujoco.mjtState.mjSTATE_INTEGRATION


def take_state(model: mujoco.MjModel, data: mujoco.MjData) -> Float[np.ndarray, "n"]:
    """Returns everything that a simulation goes on from."""
    state = np.empty(mujoco.mj_stateSize(model, _KIND))
    mujoco.mj_getState(model, data, state, _KIND)
    return state


def put_state(model: mujoco.MjModel, data: mujoco.MjData, state: Float[np.ndarray, "n"]) -> None:
    """Puts a simulation back to where `take_state` was called."""
    mujoco.mj_setState(model, data, state, _KIND)
    mujoco.mj_forward(model, data)
