"""The arms of deploy.py: a real one from its file, one on another machine, or the simulated twin with its task."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import numpy as np
from jaxtyping import Float

from envs.arm_choice import ARMS, CHOICE, BuiltArm, RemoteArmConfig, TwinArmConfig, build_arm
from envs.arms.base import ArmError, StreamingArm
from envs.arms.drivers.real import RealArm
from envs.arms.limits import JointLimits
from envs.arms.remote.arm import RemoteArm
from envs.arms.safety import SafeArm, SafetyLimits, SafetyStop
from envs.config import KindSettings, dump_config, find_config, load_config, read_values
from envs.simulation.twin import TwinConfig
from envs.simulation.twin_process import TwinProcess
from envs.spec import POSE_NAMES, ActionSpec, Goal, Observation
from envs.tasks.reach import TaskEnv

ARM_TOKEN = "VJEPA_ARM_TOKEN"
"""Environment variable with the secret of an arm on another machine."""


@dataclass(frozen=True)
class ArmFile:
    """What scripts/configs/deploy/*.yaml say: which arm, and what it may do.

    Attributes:
        arm: The arm, chosen by ``kind``: twin, remote, franka, ur, lerobot, ros2 or ``my_arm.py:make_arm``.
        limits: Of the safety filter. An arm of one's own may have them itself; what a file says goes before.
        joint_limits: Beside them, of a checkpoint in joint space.
        fixed: Dimensions of an action that stay, such as roll, pitch, yaw and gripper for an arm that only translates.
        robot_type: Name of the arm in recorded datasets; its kind if not given.
        unattended: Whether --yes may stand for the answer of a person who looks at the arm.

    Raises:
        ValueError: If a fixed dimension is none.
    """

    arm: Annotated[KindSettings, CHOICE] = field(default_factory=TwinArmConfig)
    limits: SafetyLimits = field(default_factory=SafetyLimits)
    joint_limits: JointLimits = field(default_factory=JointLimits)
    fixed: tuple[str, ...] = ()
    robot_type: str | None = None
    unattended: bool = False

    def __post_init__(self) -> None:
        unknown = sorted(set(self.fixed) - set(POSE_NAMES))
        if unknown:
            raise ValueError(f"fixed names dimensions of an action, {', '.join(POSE_NAMES)}; got {', '.join(unknown)}")

    def narrowed(self, spec: ActionSpec) -> ActionSpec:
        """Returns an arm's actions with the fixed dimensions at zero, for the planner."""
        low, high = (
            tuple(0.0 if name in self.fixed else bound for name, bound in zip(spec.names, bounds, strict=True))
            for bounds in (spec.low, spec.high)
        )
        return replace(spec, low=low, high=high)


def read_arm(name: str) -> ArmFile:
    """Returns the arm that --arm names: "twin", an address ws://..., a YAML file, or ``my_arm.py:make_arm``.

    Raises:
        ValueError: If there is no such file or it is wrong, or an arm of one's own has no limits.
    """
    if name == "twin":
        return ArmFile(fixed=("roll", "pitch", "yaw", "gripper"), robot_type="panda-mujoco", unattended=True)
    if name.startswith(("ws://", "wss://")):
        return ArmFile(RemoteArmConfig(name))
    if name.endswith(".py"):
        raise ValueError(f"--arm names what makes the arm in a file, {name}:make_arm")
    declared = name in ARMS.names and not ARMS.is_builtin(name)
    if (":" in name or declared) and not find_config(name).is_file():
        return _with_limits(load_config(ArmFile, {"arm": {"kind": name}}), {})
    file = load_config(ArmFile, Path(name))
    if ARMS.is_builtin(file.arm.kind):
        return file
    return _with_limits(file, read_values(Path(name))[0].get("limits") or {})


def _with_limits(file: ArmFile, given: Mapping[str, Any]) -> ArmFile:
    """Returns a file with the arm of somebody's own that it describes, made, and that arm's limits.

    Args:
        file: The file.
        given: What it says of limits itself; the rest is the arm's.

    Raises:
        ValueError: If neither says any, or the arm can't be made.
    """
    try:
        driver = build_arm(file.arm)
    except ArmError as error:
        raise ValueError(f"{file.arm.kind}: {error}") from error
    own = getattr(driver, "limits", None)
    if not isinstance(own, SafetyLimits) and not given:
        raise ValueError(
            f"nothing says how far and how fast {file.arm.kind} may go. Give the arm that it returns an attribute "
            "limits, an envs.arms.limits.SafetyLimits with workspace_low, workspace_high [m], max_speed [m/s] and what "
            f"else is not a Franka's; or name a file with --arm, that has `arm: {{kind: {file.arm.kind!r}}}` and "
            "limits as scripts/configs/deploy/franka.yaml has"
        )
    known = dump_config(own) if isinstance(own, SafetyLimits) else {}
    return replace(file, arm=BuiltArm(file.arm.kind, driver), limits=load_config(SafetyLimits, {**known, **given}))


def make_driver(config: KindSettings) -> StreamingArm:
    """Returns the driver of an arm; the twin's is in its `TwinTask`."""
    if isinstance(config, RemoteArmConfig):
        return RemoteArm(config.url, os.environ.get(ARM_TOKEN))
    return config.driver if isinstance(config, BuiltArm) else build_arm(config)


def tell_limits(name: str, limits: SafetyLimits) -> str:
    """Returns in a few lines what an arm may do, for a person who is about to let it move."""
    return (
        f"arm        {name}\n"
        f"workspace  {limits.workspace_low} to {limits.workspace_high} m, tilt {limits.max_tilt:g} rad\n"
        f"limits     {limits.max_speed:g} m/s, {limits.max_acceleration:g} m/s^2, {limits.max_turn_speed:g} rad/s, "
        f"a stop after {limits.hold_limit} refusals"
    )


def check_present(driver: StreamingArm) -> None:
    """Returns within seconds if an arm, its library and its camera are there; nothing moves.

    Raises:
        ArmError: If not.
    """
    if isinstance(driver, RealArm):
        driver.check_present()
    elif isinstance(driver, RemoteArm):
        driver.connect()


class TwinTask:
    """A task on the real-time twin: its starts, its goals and, for people alone, what came of a run.

    Attributes:
        driver: The twin, in a process of its own while it is connected.
    """

    def __init__(self, config: TwinArmConfig) -> None:
        """Builds the scene.

        Raises:
            ValueError: If there is no such task, or it has not our simulated arm.
        """
        given = {"image_size": config.image_size, "scene": config.scene}
        try:
            made = gymnasium.make(
                f"envs/{config.task}",
                disable_env_checker=True,
                **{name: value for name, value in given.items() if value is not None},
            )
        except gymnasium.error.Error as error:
            raise ValueError(f"the twin has no task {config.task!r}: {error}") from error
        if not isinstance(made.unwrapped, TaskEnv):
            raise ValueError(f"the twin has no task {config.task!r}: it is not one of our simulated arm")
        self._env, self._goals = made.unwrapped, config.goals
        self.driver = TwinProcess(self._env.mujoco_arm, TwinConfig(config.camera_rate))

    def begin(self, seed: int) -> list[Goal]:
        """Places everything as the task does for a seed, and returns the goals. The twin is not connected."""
        _, info = self._env.reset(seed=seed)
        return info["goals"][-1:] if self._goals == "last" else info["goals"]

    def place(self, pose: Float[np.ndarray, "7"]) -> None:
        """Places the arm at a pose, in the scene of seed 0. The twin is not connected.

        Raises:
            ValueError: If no joint angles reach the pose.
        """
        self._env.reset(seed=0)
        self._env.mujoco_arm.set_pose(pose)

    def judge(self, observations: Sequence[Observation]) -> list[tuple[float, bool]]:
        """Returns how far the goal was at each observation of the last run [m] and whether it was reached: privileged.

        The twin is closed. Of a twin whose process died nothing is known, and nothing is returned.
        """
        moments = self.driver.moments
        if not moments:
            return []
        times = np.array([moment.time for moment in moments])
        told = []
        for seen in observations:
            info = self._env.look_back(seen, moments[int(np.abs(times - seen.time).argmin())].state)
            told.append((info["distance"], info["success"]))
        return told


class WatchedArm(SafeArm):
    """A safety filter that remembers having stopped the arm.

    Attributes:
        safety_stop: Whether it did.
    """

    safety_stop = False

    def send(self, set_point: Float[np.ndarray, "7"]) -> None:
        """See `SafeArm.send`."""
        try:
            super().send(set_point)
        except SafetyStop:
            self.safety_stop = True
            raise
