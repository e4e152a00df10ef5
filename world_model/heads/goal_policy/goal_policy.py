"""A checkpoint's goal-conditioned policy: how many actions are left to a goal image, and what to do first."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from world_model.base import LatentState, WorldModel
from world_model.checkpoints.checkpoint import StoredModel
from world_model.choices import GoalPose, GoalThing
from world_model.heads.goal_policy.critic import OPEN, Critic

HEAD = "goal_policy"
"""Its name among a model's heads."""


class GoalPolicy:
    """What a critic says of a world model's latents.

    Args:
        model: That it was learnt on.
        pose: Where it is asked to take the arm.

    Raises:
        ValueError: If the model has none, or the pose is to be open and it has not learnt that.
    """

    def __init__(self, model: WorldModel, pose: GoalPose = "seen") -> None:
        if not isinstance(model, StoredModel):
            raise ValueError(f"a {type(model).__name__} has no critic: plan without proposals and objectives of one")
        critic = model.heads[HEAD] if HEAD in model.heads else None
        if not isinstance(critic, Critic):
            raise ValueError(
                "this checkpoint has no critic: train one with scripts/train_critic.py --parent NAME, or plan without "
                "(an objective of another kind than actions_left, no goal_policy in controller.proposers)"
            )
        self.model, self.critic = model, critic
        self._check(pose)

    def count_actions(self, state: LatentState, goal: LatentState, share: float = 1.0) -> Float[Tensor, "S H"]:
        """Returns how many actions lie between each of the state's frames and a goal frame.

        Args:
            state: Frames, recorded or predicted.
            goal: One frame, (1, 1, N, D); its poses do not matter.
            share: Of the lower end of the predicted distribution that is averaged, in (0, 1].
        """
        critic, frames = self.critic, state.tokens.shape[1]
        poses = self.model.normalise_poses(state.poses.to(self.model.action_mean)).flatten(0, 1)
        seen = critic.sight.thing(state.tokens.flatten(0, 1))
        logits, _ = critic.compare(seen, poses, critic.sight(goal.tokens[:, 0]))
        return critic.mean_count(logits, share).unflatten(0, (-1, frames))  # (S*H,) -> (S, H)

    def propose(
        self,
        state: LatentState,
        goal: LatentState,
        horizon: int,
        pace: float = 0.1,
        pose: GoalPose = "seen",
        thing: GoalThing = "seen",
    ) -> Float[Tensor, "1 H A"]:
        """Returns actions towards a goal [physical units], each after looking at what those before it lead to.

        Args:
            state: Frames up to the present one.
            goal: One frame, (1, 1, N, D).
            horizon: How many actions, H.
            pace: How quick: the quantile of the predicted number of actions that they are to take, in (0, 1].
            pose: Where the arm is to be in the end, see `GoalPose`.
            thing: Where the thing is to be, see `GoalThing`.

        Raises:
            ValueError: If the pose is to be open and it has not learnt that.
        """
        self._check(pose)
        model, critic, actions = self.model, self.critic, state.poses.new_zeros(1, 0, self.model.action_spec.size)
        low, high = (state.poses.new_tensor(bound) for bound in (model.action_spec.low, model.action_spec.high))
        with torch.no_grad():
            wanted = critic.sight(goal.tokens[:, 0])
            if pose != "seen":
                told = model.normalise_poses(goal.poses[:, -1].to(model.action_mean))
                told = torch.full_like(told, OPEN) if pose == "open" else told
                wanted = torch.cat([wanted[:, : -told.shape[1]], told], dim=1)
            if thing == "kept":
                now = critic.sight.thing(state.tokens[:, -1])
                wanted = torch.cat([now, wanted[:, now.shape[1] :]], dim=1)
            for step in range(horizon):
                seen = model.rollout(state, actions) if step else state
                poses = model.normalise_poses(seen.poses[:, -1].to(model.action_mean))
                count, action = critic(seen.tokens[:, -1], poses, wanted, pace)
                action = (action * model.action_std + model.action_mean) * (count > 0)[:, None]  # there already: stay
                action = action.clamp(low, high)
                actions = torch.cat([actions, action[:, None]], dim=1)
        return actions

    def _check(self, pose: GoalPose) -> None:
        """Returns if it has learnt such goals."""
        if pose == "open" and not self.critic.config.open_goals:
            raise ValueError(
                "this checkpoint's critic has not learnt goals whose pose is open: train one with open_goals above 0, "
                "or set the proposer's pose to seen"
            )
