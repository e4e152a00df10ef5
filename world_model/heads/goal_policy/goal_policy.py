"""A checkpoint's goal-conditioned policy: how many actions are left to a goal image, and what to do first."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from world_model.base import LatentGoal, LatentState, WorldModel
from world_model.checkpoints.checkpoint import StoredModel
from world_model.heads.goal_policy.config import ArmEnd, ThingEnd
from world_model.heads.goal_policy.critic import OPEN, Critic

HEAD = "goal_policy"
"""Its name among a model's heads."""


class GoalPolicy:
    """What a critic says of a world model's latents.

    Args:
        model: That it was learnt on.
        pose: Where it is asked to take the arm, see `ArmEnd`.

    Raises:
        ValueError: If the model has none, or the pose is to be open and it has not learnt that.
    """

    def __init__(self, model: WorldModel, pose: ArmEnd = "seen") -> None:
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

    def count_actions(self, state: LatentState, goal: LatentGoal, share: float = 1.0) -> Float[Tensor, "S H"]:
        """Returns how many actions lie between each of the state's frames and a goal frame.

        Args:
            state: Frames, recorded or predicted.
            goal: Its pose does not matter.
            share: Of the lower end of the predicted distribution that is averaged, in (0, 1].
        """
        critic, frames = self.critic, state.tokens.shape[1]
        poses = self.model.normalise_poses(state.poses.to(self.model.action_mean)).flatten(0, 1)
        seen = critic.sight.thing(state.tokens.flatten(0, 1))
        logits, _ = critic.compare(seen, poses, critic.sight(goal.tokens[None]))
        return critic.mean_count(logits, share).unflatten(0, (-1, frames))  # (S*H,) -> (S, H)

    def propose(
        self,
        state: LatentState,
        goal: LatentGoal,
        horizon: int,
        pace: float = 0.1,
        pose: ArmEnd = "seen",
        thing: ThingEnd = "seen",
    ) -> Float[Tensor, "1 H A"]:
        """Returns actions towards a goal [physical units], each after looking at what those before it lead to.

        Args:
            state: Frames up to the present one.
            goal: What is wanted.
            horizon: How many actions, H.
            pace: How quick: the quantile of the predicted number of actions that they are to take, in (0, 1].
            pose: Where the arm is to be in the end, see `ArmEnd`.
            thing: Where the thing is to be, see `ThingEnd`.

        Raises:
            ValueError: If the pose is to be open and it has not learnt that, or is to be told and the goal's is open.
        """
        self._check(pose)
        model, critic, actions = self.model, self.critic, state.poses.new_zeros(1, 0, self.model.action_spec.size)
        low, high = (state.poses.new_tensor(bound) for bound in (model.action_spec.low, model.action_spec.high))
        with torch.no_grad():
            wanted = self._read(state, goal, pose, thing)
            for step in range(horizon):
                seen = model.rollout(state, actions) if step else state
                poses = model.normalise_poses(seen.poses[:, -1].to(model.action_mean))
                count, action = critic(seen.tokens[:, -1], poses, wanted, pace)
                action = model.actions_of(action) * (count > 0)[:, None]  # there already: stay
                action = action.clamp(low, high)
                actions = torch.cat([actions, action[:, None]], dim=1)
        return actions

    def _read(self, state: LatentState, goal: LatentGoal, pose: ArmEnd, thing: ThingEnd) -> Float[Tensor, "1 V"]:
        """Returns the numbers that say what is wanted, see `Sight`."""
        sight, mean = self.critic.sight, self.model.action_mean
        read = sight(goal.tokens[None])
        things, arm = read[:, : -sight.pose_size], read[:, -sight.pose_size :]
        if thing == "kept":
            things = sight.thing(state.tokens[:, -1])
        if pose == "open":
            arm = mean.new_full(arm.shape, OPEN)
        elif pose == "told":
            if goal.pose is None:
                raise ValueError(
                    "the goal policy is to take the arm to the goal's pose, which is open: give the goal its pose, or "
                    "set the proposer's pose to seen"
                )
            arm = self.model.normalise_poses(goal.pose[None].to(mean))
        return torch.cat([things, arm], dim=1)

    def _check(self, pose: ArmEnd) -> None:
        """Returns if it has learnt such goals."""
        if pose == "open" and not self.critic.config.open_goals:
            raise ValueError(
                "this checkpoint's critic has not learnt goals whose pose is open: train one with open_goals above 0, "
                "or set the proposer's pose to seen"
            )
