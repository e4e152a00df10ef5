"""The simulator in the world model's place: tells what the model's predictions cost from what the rest does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from envs.pose import compose
from envs.simulation.arm import MujocoArm
from envs.spec import Goal, Observation
from world_model.base import LatentGoal, LatentState, WorldModel


class SimulatedDynamics:
    """A `WorldModel` that encodes as another does and predicts nothing: it acts in the simulation and looks.

    Each rollout begins where the arm is and leaves everything there. With it a search fails for its proposals or its
    cost alone; what it reaches and the model's own predictions do not is what those cost. Privileged, and slow: an
    action of a sample is simulated and drawn, some milliseconds.

    Source: the oracle of IMWM (arXiv 2606.01626), exact dynamics under the same search.

    Attributes:
        action_spec: The model's.
        context: The model's: heads make use of earlier frames, rollouts of the simulation's state alone.
        encoding: The model that encodes.
        heads: The model's, for proposers and objectives that ask them.
    """

    def __init__(self, model: WorldModel, arm: MujocoArm) -> None:
        """Takes the model whose latents are compared, and the arm of the task."""
        self.action_spec, self.context = model.action_spec, model.context
        self.heads: Any = getattr(model, "heads", {})
        self.encoding, self._arm = model, arm

    def encode(self, observations: Sequence[Observation]) -> LatentState:
        """See `WorldModel.encode`."""
        return self.encoding.encode(observations)

    def encode_goal(self, goal: Goal) -> LatentGoal:
        """See `WorldModel.encode_goal`."""
        return self.encoding.encode_goal(goal)

    @torch.no_grad()
    def rollout(self, state: LatentState, actions: Float[Tensor, "S H A"]) -> LatentState:
        """See `WorldModel.rollout`; without gradients, from where the arm is, whatever the state."""
        arm = self._arm
        start = arm.snapshot()
        try:
            frames = [self._do(sequence) for sequence in actions.detach().cpu().double().numpy()]
        finally:
            arm.restore(start)
        tokens, poses = zip(*((each.tokens, each.poses) for each in frames), strict=True)
        return LatentState(torch.cat(tokens), torch.cat(poses))

    def _do(self, sequence: Float[np.ndarray, "H A"]) -> LatentState:
        """Returns what is seen after each action of a sequence, done from where the arm is; it is put back there."""
        before = self._arm.snapshot()
        seen = do_and_look(self._arm, sequence)
        self._arm.restore(before)
        return self.encoding.encode(seen)


def do_and_look(arm: MujocoArm, actions: Float[np.ndarray, "H A"]) -> list[Observation]:
    """Does actions one after another in the simulation and returns what is seen after each."""
    seen = []
    for action in actions:
        target = compose(arm.pose(), action)
        arm.command(target[:6], float(target[6]), arm.action_spec.period)
        seen.append(arm.observe())
    return seen
