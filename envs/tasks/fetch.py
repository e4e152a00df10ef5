"""gymnasium-robotics' Fetch: `envs.arms.base.Arm` over its own environments (extra `benchmarks`).

Fetch (arXiv 1802.09464) takes an action of (x, y, z, gripper) 25 times a second, each a way of at most 5 cm from where
the hand is; its episodes have 50. One command here lasts two of them, so an episode has 25 actions. At each half as
much again is asked for as is missing to the target, since the hand goes two thirds of it; fingers are heavy there, and
would go on unless braked. Starts, goals and success are the benchmark's own. The view is ours: the benchmark's is from
2.5 m away, and its block would be 3 pixels wide.
"""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any, Literal

import mujoco
import numpy as np
from jaxtyping import Float

from envs.arms.limits import SafetyLimits
from envs.pose import compose, difference, euler_from_matrix
from envs.spec import POSE_NAMES, POSE_UNITS, ActionSpec
from envs.tasks.benchmark import BenchmarkArm, needs_extra
from envs.tasks.expert import Action, Sight

FetchTask = Literal["Reach", "Push", "PickAndPlace"]

STEPS = 2
"""Control steps of Fetch (0.04 s each) in one action of ours."""

TABLE = np.array([0.0, 0.0, 0.4])
"""A point of the table's top [m]: experts count heights from there."""

LONGEST = 0.06
"""The way of one action along an axis, at most [m]: as fast as Fetch goes."""

BLOCK = 0.05
"""Edge of the block [m]."""

_GAIN = 1.5
_FINGER_GAIN, _FINGER_DAMPING = 2.64, 0.106  # [1, s]: both poles at 0 for 100.6 kg, 1000 N s/m, 30 000 N/m and 0.04 s
_STEP = 0.05  # m: Fetch's action of 1
_OPEN = 0.05  # m: where a finger is that is open
_RELEASE = 0.05  # an action that opens the gripper by more than this lets go
_DOWN = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])  # the hand as it always points: rotation 0 here
_FINGERS = ("robot0:l_gripper_finger_{}", "robot0:r_gripper_finger_{}")


def fetch_action_spec(task: FetchTask) -> ActionSpec:
    """Returns the arm's 7-D action: rotation is fixed, and the gripper where the benchmark blocks it."""
    high = (LONGEST,) * 3 + (0.0, 0.0, 0.0, 0.8 if task == "PickAndPlace" else 0.0)
    return ActionSpec(POSE_NAMES, POSE_UNITS, tuple(-bound for bound in high), high, "base", 25.0 / STEPS)


def fetch_limits() -> SafetyLimits:
    """Returns what a command may ask for: all that the benchmark's starts and goals need, above the table."""
    return SafetyLimits((1.05, 0.42, 0.415), (1.56, 1.08, 0.93), max_step=0.12, max_turn=np.pi, max_tilt=np.pi)


class FetchArm(BenchmarkArm):
    """The Fetch arm. See `envs.arms.base.Arm`.

    Fingers that both touch the block go on squeezing until an action opens them: measured differences are zero while
    it is held, and fingers that only keep their measured place have no force.
    """

    def __init__(self, task: FetchTask = "Push", image_size: int = 128) -> None:
        """Builds the simulation.

        Args:
            task: Which of the benchmark's.
            image_size: Edge of the square observation image [pixels].

        Raises:
            BenchmarkError: If gymnasium-robotics is not installed.
        """
        self.task: FetchTask = task
        super().__init__(_environment(task), fetch_action_spec(task), _camera(), image_size)
        model = self.env.model
        model.site("target0").rgba[3] = 0.0  # neither the goal is shown nor where the hand is drawn to
        model.geom_rgba[model.geom_bodyid == model.body("robot0:mocap").id, 3] = 0.0

    def reset(self, seed: int) -> None:
        """Draws a start and a goal as the benchmark does."""
        self.env.reset(seed=seed)

    def pose(self) -> Float[np.ndarray, "7"]:
        """Returns the measured pose (7,) [m, rad, 1] of the point between the fingers; pointing down is no rotation."""
        site = self.env.data.site("robot0:grip")
        fingers = sum(float(self.env.data.joint(name.format("joint")).qpos[0]) for name in _FINGERS)
        closedness = np.clip(1.0 - fingers / (2 * _OPEN), 0.0, 1.0)
        return np.array([*site.xpos, *euler_from_matrix(site.xmat.reshape(3, 3) @ _DOWN.T), closedness])

    def command(self, target_pose: Float[np.ndarray, "6"], gripper: float, duration: float) -> Float[np.ndarray, "7"]:
        """See `Arm.command`. Fetch itself keeps the hand pointing down."""
        target = np.append(target_pose, gripper)
        opens = gripper < self.pose()[6] - _RELEASE
        for _ in range(max(1, round(duration / self.env.dt))):
            way = difference(self.pose(), target)
            fingers = -1.0 if self.gripping() and not opens else self._fingers(way[6])
            self.env.step(np.append(np.clip(_GAIN * way[:3] / _STEP, -1.0, 1.0), fingers))
        return target

    def _fingers(self, way: float) -> float:
        """Returns Fetch's own action [m] that has the fingers there, and at rest, after two of its steps.

        Closing by more than a third takes more force than there is that way, and ends short.

        Args:
            way: Closedness that is missing.
        """
        speeds = [float(self.env.data.joint(name.format("joint")).qvel[0]) for name in _FINGERS]
        return -_FINGER_GAIN * way * _OPEN - _FINGER_DAMPING * float(np.mean(speeds))

    def has_block(self) -> bool:
        """Returns whether there is something to move."""
        return bool(self.env.has_object)

    def block(self) -> Float[np.ndarray, "3"]:
        """Returns the block's centre [m]: privileged."""
        return self.env.data.body("object0").xpos.copy()

    def gripping(self) -> bool:
        """Returns whether both fingers touch the block."""
        if self.env.block_gripper or not self.has_block():
            return False
        model, touched = self.env.model, set[int]()
        for pair in self.env.data.contact.geom:
            touched.update(pair.tolist() if model.geom("object0").id in pair else ())
        return all(model.geom(name.format("link")).id in touched for name in _FINGERS)

    def sight(self) -> Sight:
        """Returns what an expert goes by, heights from the table: privileged."""
        pose = self.pose()
        hand, block = pose[:3] - TABLE, (self.block() if self.has_block() else pose[:3]) - TABLE
        gripped = self.gripping()
        return Sight(hand, float(pose[6]), block, BLOCK, BLOCK, gripped and block[2] > 0.6 * BLOCK, gripped)

    def goal(self) -> Float[np.ndarray, "3"]:
        """Returns where the benchmark wants the block, or the hand [m]: privileged."""
        return self.env.goal.copy()

    def achieved(self) -> Float[np.ndarray, "3"]:
        """Returns what is compared with the goal [m]: privileged."""
        return self.block() if self.has_block() else self.pose()[:3]

    def success(self) -> bool:
        """Returns whether the goal is reached, by the benchmark's own rule: within 5 cm."""
        return bool(self.env._is_success(self.achieved(), self.goal()))

    def act(self, action: Action) -> None:
        """Executes an expert's action."""
        target = compose(self.pose(), np.clip(action, self.action_spec.low, self.action_spec.high))
        self.command(target[:6], float(target[6]), self.action_spec.period)


def _camera() -> mujoco.MjvCamera:
    """Returns a camera that looks from the right at where all tasks take place."""
    camera = mujoco.MjvCamera()
    camera.lookat[:] = 1.34, 0.75, 0.58
    camera.distance, camera.elevation, camera.azimuth = 1.05, -32.0, 90.0
    return camera


def _environment(task: FetchTask) -> Any:
    """Returns the benchmark's environment."""
    module = {"Reach": "reach", "Push": "push", "PickAndPlace": "pick_and_place"}[task]
    try:
        utilities: Any = import_module("gymnasium_robotics.utils.mujoco_utils")
        made = getattr(import_module(f"gymnasium_robotics.envs.fetch.{module}"), f"MujocoFetch{task}Env")
    except ModuleNotFoundError as error:
        raise needs_extra("Fetch", error) from error
    # It asks whether a NumPy number is `in` a tuple of MuJoCo's joint types, which since MuJoCo 4 are equal to no
    # NumPy number: plain numbers are.
    kinds = SimpleNamespace(**{name: int(kind) for name, kind in mujoco.mjtJoint.__members__.items()})
    utilities.mujoco = SimpleNamespace(**{**vars(mujoco), "mjtJoint": kinds})
    return made()
