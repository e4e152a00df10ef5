"""An exact, instant world model: the whole stack is tested on it, without weights and without a simulator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from envs.pose import compose, matrix_from_euler
from envs.spec import POSE_NAMES, POSE_UNITS, ActionSpec, Goal, Observation
from world_model.base import LatentGoal, LatentState

TOY_ACTION_SPEC = ActionSpec(
    names=POSE_NAMES,
    units=POSE_UNITS,
    low=(-0.05, -0.05, -0.05, 0.0, 0.0, 0.0, -0.5),
    high=(0.05, 0.05, 0.05, 0.0, 0.0, 0.0, 0.5),
    frame="base",
    rate=4.0,
)


class ToyWorldModel:
    """Predicts exactly, because its tokens are a known smooth function of the pose alone.

    ::

        z(s) = sin(W [p; vec(R); g] + b)             p position [m], R rotation matrix, g gripper closedness
        rollout: s_{k+1} = compose(s_k, a_k),  z_{k+1} = z(s_{k+1})

    W and b are drawn once from a fixed seed; W's scale (about 2 rad a metre, a radian or a closing) keeps the distance
    of two tokens monotone over an arm's workspace. The image is not looked at.
    """

    def __init__(
        self,
        action_spec: ActionSpec = TOY_ACTION_SPEC,
        context: int = 2,
        tokens: int = 4,
        width: int = 16,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Draws the fixed features.

        Args:
            action_spec: What its actions mean; seven dimensions, those of `envs.pose`.
            context: How many past frames it pretends to make use of.
            tokens: Tokens a frame, N.
            width: Token width, D.
            dtype: Precision of tokens and poses.
        """
        self.action_spec = action_spec
        self.context = context
        generator = torch.Generator().manual_seed(0)
        self._weights = 2.0 * torch.randn(tokens, width, 13, generator=generator).to(dtype)
        self._phases = torch.pi * (2.0 * torch.rand(tokens, width, generator=generator) - 1.0).to(dtype)

    def tokens(self, poses: Float[Tensor, "B T 7"]) -> Float[Tensor, "B T N D"]:
        """Returns the tokens seen from poses."""
        rotations = matrix_from_euler(poses[..., 3:6]).flatten(-2)  # (B, T, 9)
        features = torch.cat([poses[..., :3], rotations, poses[..., 6:7]], dim=-1)  # (B, T, 13)
        return torch.sin(torch.einsum("ndf,btf->btnd", self._weights, features) + self._phases)

    def encode(self, observations: Sequence[Observation]) -> LatentState:
        """See `WorldModel.encode`."""
        stacked = np.stack([observation.pose for observation in observations])
        poses = torch.as_tensor(stacked, dtype=self._weights.dtype)[None]
        return LatentState(self.tokens(poses), poses)

    def encode_goal(self, goal: Goal) -> LatentGoal:
        """See `WorldModel.encode_goal`.

        Raises:
            ValueError: If its pose is open, which is all that is looked at, or a part of its image is masked.
        """
        if goal.pose is None:
            raise ValueError("the toy model reads poses and not images: a goal needs its pose")
        if goal.mask is not None:
            raise ValueError("the toy model looks at no image, so none of it can be masked: leave the mask out")
        pose = torch.as_tensor(goal.pose, dtype=self._weights.dtype)
        return LatentGoal(self.tokens(pose[None, None])[0, 0], pose, image=goal.image)

    def rollout(self, state: LatentState, actions: Float[Tensor, "S H A"]) -> LatentState:
        """See `WorldModel.rollout`."""
        pose = state.poses[:, -1].expand(actions.shape[0], -1)  # (S, 7)
        poses = []
        for step in range(actions.shape[1]):
            pose = compose(pose, actions[:, step])
            poses.append(pose)
        predicted = torch.stack(poses, dim=1)  # (S, H, 7)
        return LatentState(self.tokens(predicted), predicted)
