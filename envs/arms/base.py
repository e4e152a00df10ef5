"""What an arm is, blocking or streaming, and the gymnasium environment over any arm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast, runtime_checkable

import gymnasium
import numpy as np
from jaxtyping import Float

from envs.pose import compose
from envs.spec import ActionSpec, Observation

_POSE_BOUND = np.array([10.0] * 3 + [np.pi] * 3 + [1.0])
"""No arm's pose (7,) is beyond this [m, rad, 1]."""

RELEASE = 0.1
"""An arm that holds something lets go of it at a closedness that is more than this below the measured one."""


class ArmError(RuntimeError):
    """A driver failed: one line that says what failed and what to do. The arm must not be relied on any more."""


class OutOfReach(ArmError):
    """A driver did not take a set-point, because no joint angles reach it; the arm holds its last one."""


class Device(Protocol):
    """What every arm's driver has. Failures are `ArmError`."""

    @property
    def action_spec(self) -> ActionSpec:
        """What an action on this arm means and how far one may go."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, 3) of its observations."""
        ...

    def connect(self) -> None:
        """Makes the arm ready to observe and to move. Connecting twice does no harm."""
        ...

    def observe(self) -> Observation:
        """Returns the newest image with the pose measured at the same time, `time.monotonic()` of the image [s]."""
        ...

    def stop(self) -> None:
        """Holds the arm where it is, at once, whatever it is doing. Stopping twice does no harm."""
        ...

    def close(self) -> None:
        """Stops and releases the device. Closing twice does no harm."""
        ...


class Arm(Device, Protocol):
    """A driver whose commands block: an arm in simulated time."""

    def command(self, target_pose: Float[np.ndarray, "6"], gripper: float, duration: float) -> Float[np.ndarray, "7"]:
        """Moves towards a pose for a duration and returns the pose (7,) that was really sent.

        Args:
            target_pose: Position [m] and extrinsic-xyz Euler angles [rad] in the base frame.
            gripper: Closedness to move to [0 open .. 1 closed].
            duration: Time until the arm should be there [s]; the call returns when it is over.
        """
        ...


class StreamingArm(Device, Protocol):
    """A driver that follows a stream of set-points: what real arms are, and the one file to write for another robot.

    `stop` may be called from any thread at any time, `observe` from another one than `send`.
    """

    def send(self, set_point: Float[np.ndarray, "7"]) -> None:
        """Takes the newest set-point, to be reached in about one executor period (10 ms at most), and returns at once.

        Args:
            set_point: Position [m], extrinsic-xyz Euler angles [rad] in the base frame, gripper closedness
                [0 open .. 1 closed].

        Raises:
            OutOfReach: If the arm can't get there; it holds its last set-point.
            ArmError: If the driver failed.
        """
        ...


@runtime_checkable
class JointArm(StreamingArm, Protocol):
    """A streaming arm that knows its joints, so that a checkpoint in joint space can plan for it.

    Angles are counted as in recordings of the arm. Both directions may be asked by any one thread.
    """

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the joints, as recordings have them, without the gripper."""
        ...

    @property
    def joint_ranges(self) -> Float[np.ndarray, "joints 2"]:
        """Lowest and highest angle of each joint [rad]; infinite where there is no end."""
        ...

    def joints_of(self, pose: Float[np.ndarray, "6"]) -> Float[np.ndarray, "joints"]:
        """Returns the joint angles [rad] at a pose, the ones next to where the arm is.

        Raises:
            OutOfReach: If there are none near.
        """
        ...

    def pose_of(self, joints: Float[np.ndarray, "joints"]) -> Float[np.ndarray, "6"]:
        """Returns the pose at joint angles [rad]."""
        ...


class ArmEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """A gymnasium environment over any `Arm`.

    An action is a pose difference (A,) in physical units. A step composes it onto the *measured* pose, sends the
    target for one control period and observes. Tasks subclass it and override `_reset_task` and `_report`.

    Observations are ``{"image": (h, w, 3) uint8, "pose": (7,) float64}``; ``info["time"]`` is the arm's clock [s].

    Attributes:
        robot_type: Name of the arm, as recordings of it have it.
    """

    robot_type = "unknown"

    def __init__(self, arm: Arm, action_spec: ActionSpec | None = None) -> None:
        """Connects the arm.

        Args:
            arm: The arm, normally inside a `envs.arms.safety.SafeArm`.
            action_spec: A task's own, narrower bounds; the arm's if None.
        """
        self.arm = arm
        self.action_spec = action_spec or arm.action_spec
        self.action_spec.check_same_meaning(arm.action_spec)
        low, high = (np.array(bound, dtype=np.float64) for bound in (self.action_spec.low, self.action_spec.high))
        self.action_space = gymnasium.spaces.Box(low, high, dtype=np.float64)
        space = gymnasium.spaces.Dict(
            {
                "image": gymnasium.spaces.Box(0, 255, arm.image_shape, np.uint8),
                "pose": gymnasium.spaces.Box(-_POSE_BOUND, _POSE_BOUND, dtype=np.float64),
            }
        )
        # gymnasium declares a Dict's elements to be dicts of spaces
        self.observation_space = cast("gymnasium.Space[dict[str, np.ndarray]]", space)
        self._observation: Observation | None = None
        arm.connect()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Returns the first observation and what the task tells about it (such as ``info["goals"]``)."""
        super().reset(seed=seed)
        info = self._reset_task(options or {})
        self._observation = self.arm.observe()
        return as_dict(self._observation), {"time": self._observation.time, **info, **self._report(self._observation)}

    def step(self, action: Float[np.ndarray, "A"]) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Returns the observation one control period later; reward and termination are the task's to give.

        Raises:
            ValueError: If the action has the wrong shape, is not finite or the environment was not reset.
        """
        if self._observation is None:
            raise ValueError("step() before reset(): call reset() first, it observes the pose an action starts from")
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (self.action_spec.size,) or not np.all(np.isfinite(action)):
            raise ValueError(
                f"an action here is {self.action_spec.size} finite numbers {self.action_spec.names}, got {action!r}"
            )
        target = compose(self._observation.pose, np.clip(action, self.action_spec.low, self.action_spec.high))
        sent = self.arm.command(target[:6], float(target[6]), self.action_spec.period)
        self._observation = self.arm.observe()
        info = {"time": self._observation.time, "sent": sent, **self._report(self._observation)}
        return as_dict(self._observation), float(info.get("success", False)), False, False, info

    def close(self) -> None:
        """Stops and releases the arm."""
        self.arm.close()

    @property
    def recorded_spec(self) -> ActionSpec:
        """What an action of a recording means: the arm's own, whose bounds a task may narrow."""
        return self.arm.action_spec

    def drive(self, choose: Callable[[Observation], Float[np.ndarray, "A"]], frames: int) -> list[Observation]:
        """Returns what is seen from now on while actions are chosen, within the arm's own bounds; see `drive`."""
        return drive(self.arm, choose, frames)

    def _reset_task(self, options: dict[str, Any]) -> dict[str, Any]:
        """Prepares an episode and returns what to add to reset's info. A bare arm has nothing to prepare."""
        return {}

    def _report(self, observation: Observation) -> dict[str, Any]:
        """Returns privileged facts, such as ``success``: for people, never for the planner."""
        return {}


def drive(
    arm: Arm,
    choose: Callable[[Observation], Float[np.ndarray, "A"]],
    frames: int,
    look: Callable[[], object] = lambda: None,
) -> list[Observation]:
    """Returns what is seen at the start and after each of the actions that are chosen.

    Args:
        arm: Where the episode begins, normally inside a `envs.arms.safety.SafeArm`.
        choose: Returns the next action from what was seen last; it is clipped to the arm's bounds.
        frames: To see, one more than actions.
        look: Called after each action.
    """
    spec, observations = arm.action_spec, [arm.observe()]
    while len(observations) < frames:
        target = compose(observations[-1].pose, np.clip(choose(observations[-1]), spec.low, spec.high))
        arm.command(target[:6], float(target[6]), spec.period)
        observations.append(arm.observe())
        look()
    return observations


def as_dict(observation: Observation) -> dict[str, np.ndarray]:
    """Returns the observation as gymnasium's Dict space wants it."""
    return {"image": observation.image, "pose": observation.pose}
