"""Checkpoints in joint space, driven: plans of joints become poses, which go the way of all motion, through SafeArm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from envs.arms.base import JointArm, StreamingArm
from envs.arms.limits import JointLimits
from envs.arms.remote.client import PlanClient
from envs.pose import difference
from envs.spec import POSE_NAMES, ActionSpec, Goal, Observation, SpecError
from planner.control.plan_thread import Answer, Committed

_CLOSER = 0.999  # of a bound that an action was over
_TRIES = 5  # to bring one within the bounds of poses


class JointPlans:
    """A plan server whose model acts in joint space, for an arm that is driven by poses. See `PlanSource`.

    The server sees the joint angles q of a measured pose. Of each action a it makes the pose of q' = q + a, a held to
    the limits of the joints and shortened until the pose's own bounds hold; the difference of the two poses is the
    action that executor and safety filter get. Position, speed and acceleration of the hand are theirs to limit.

    Attributes:
        metadata: The server's.
    """

    def __init__(self, client: PlanClient, arm: JointArm, limits: JointLimits) -> None:
        """Checks that the checkpoint's joints are the arm's.

        Raises:
            SpecError: If they are not, or come at another rate.
        """
        self.metadata = client.metadata
        self._client, self._arm, self._limits = client, arm, limits
        spec = ActionSpec.from_dict(client.metadata["action_spec"])
        names, units = (*arm.joint_names, "gripper"), ("rad",) * len(arm.joint_names) + ("1",)
        nothing = (0.0,) * len(names)
        spec.check_same_meaning(ActionSpec(names, units, nothing, nothing, "joints", arm.action_spec.rate))
        self._spec = spec

    def reset(self, goals: Sequence[Goal], seed: int, action_spec: Mapping[str, Any]) -> None:
        """Gives the server the goals and how far joints may go in one action.

        Args:
            goals: In the order in which they are pursued; photographs alone, their poses are not used.
            seed: Of the planner's noise.
            action_spec: Of poses: says whether the gripper stays.

        Raises:
            ValueError: If the server weighs goals by their poses, or the hand is to stay in a direction.
        """
        if self.metadata["goal_pose"]:
            raise ValueError("a checkpoint in joint space pursues photographs: plan with objective.pose_weight: 0")
        bounds = zip(POSE_NAMES[:6], action_spec["low"][:6], action_spec["high"][:6], strict=True)
        kept = [name for name, low, high in bounds if low == high]
        if kept:
            raise ValueError(
                f"a checkpoint in joint space moves joints, and the hand with them: it can't keep {', '.join(kept)} as "
                "they are. Take them out of `fixed` in the arm's file (the gripper can stay) and limit how far the "
                "hand may turn by max_tilt, or drive with a checkpoint of poses"
            )
        count, still = len(self._arm.joint_names), action_spec["low"][6] == action_spec["high"][6]
        most = np.array([self._limits.max_step] * count + [0.0 if still else 1.0])
        low, high = np.maximum(self._spec.low, -most), np.minimum(self._spec.high, most)
        spec = replace(self._spec, low=tuple(low.tolist()), high=tuple(high.tolist()))
        self._client.reset([replace(goal, pose=None) for goal in goals], seed, spec.to_dict())

    def infer(self, observation: Observation, committed: Committed = None, deadline: float | None = None) -> Answer:
        """See `PlanSource.infer`.

        Raises:
            ValueError: If actions are to come before the plan, or the answer is no plan.
        """
        if committed is not None and len(committed):
            raise ValueError("a checkpoint in joint space plans from standing still: --runtime.mode blocking")
        state = self._joints(observation.pose)
        answer = self._client.infer(replace(observation, pose=state), None, deadline)
        actions = np.asarray(answer.get("actions"), dtype=np.float64)
        if actions.ndim != 2 or actions.shape[1] != len(state) or not np.all(np.isfinite(actions)):
            raise ValueError(f"a plan is (H, {len(state)}) finite numbers, got {str(answer.get('actions'))[:200]}")
        return {**answer, "actions": self._as_poses(observation.pose, state, actions)}

    def _joints(self, pose: Float[np.ndarray, "7"]) -> Float[np.ndarray, "P"]:
        """Returns joint angles [rad] and closedness at a pose."""
        return np.append(self._arm.joints_of(pose[:6]), pose[6])

    def _as_poses(
        self, pose: Float[np.ndarray, "7"], state: Float[np.ndarray, "P"], actions: Float[np.ndarray, "H P"]
    ) -> Float[np.ndarray, "H 7"]:
        """Returns the pose actions that lead where joint actions do, one after the other from a pose and its joints."""
        made = []
        for action in actions:
            state, following = self._step(pose, state, action)
            made.append(difference(pose, following))
            pose = following
        return np.array(made)

    def _step(
        self, pose: Float[np.ndarray, "7"], state: Float[np.ndarray, "P"], action: Float[np.ndarray, "P"]
    ) -> tuple[Float[np.ndarray, "P"], Float[np.ndarray, "7"]]:
        """Returns the joints and the pose that an action leads to, within all limits."""
        bounds, step = np.array(self._arm.action_spec.high), np.array(action)
        for _ in range(_TRIES):
            after = self._limits.held(state[:-1], state[:-1] + step[:-1], self._arm.joint_ranges)
            closedness = np.clip(state[-1] + step[-1], 0.0, 1.0)
            following = np.append(self._arm.pose_of(after), closedness)
            excess = float((np.abs(difference(pose, following)) / bounds).max())
            if excess <= 1.0:
                return np.append(after, closedness), following
            step = step * (_CLOSER / excess)
        return state, pose


def plans_for(client: PlanClient, arm: StreamingArm, limits: JointLimits) -> PlanClient | JointPlans:
    """Returns what plans for an arm: the server itself, or through joints if its checkpoint acts in joint space.

    Raises:
        SpecError: If the checkpoint is not for this arm.
    """
    spec = ActionSpec.from_dict(client.metadata["action_spec"])
    if spec.frame != "joints":
        spec.check_same_meaning(arm.action_spec)
        return client
    if not isinstance(arm, JointArm):
        raise SpecError(
            f"the checkpoint acts on the joints {', '.join(spec.names)}, and this arm takes poses alone; LeRobot's "
            "arms take joints (kind: lerobot). For others train on poses: dataset.py inspect FOLDER --propose "
            "FILE.yaml --model ARM.xml --site NAME"
        )
    return JointPlans(client, arm, limits)
