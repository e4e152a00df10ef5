"""The doctor's small moves with any arm that deploy.py takes: asked for, within all limits, each one back again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NoReturn

import numpy as np
from jaxtyping import Float

from envs.arm_file import ArmFile, TwinArmConfig, TwinTask, check_present, make_driver, read_arm, tell_limits
from envs.arms.base import ArmError
from envs.arms.remote.client import ServerError
from envs.arms.safety import SafeArm, SafetyLimits
from envs.keys import ask
from envs.spec import Observation
from planner.control.executor import make_punctual
from planner.control.signals import stopping_on_signals
from planner.diagnostics.doctor import Recording, check_poses
from planner.diagnostics.doctor_program import DoctorConfig

FARTHEST = 0.02
"""No place that the doctor sends an arm to is farther from where it stood [m]."""

_LEAST = 0.012  # m: shorter moves are lost among what an arm is off its set-points
_SHARE = 0.8  # of a move's time in which the limits must let it end
_MOST_PERIODS = 12  # of control that a move may take
_GRIPPER_FRAMES = 3  # moves' times that a gripper is given


def record_arm(config: DoctorConfig) -> Recording:
    """Returns what an arm saw of small moves, after a person has agreed to them; it is stopped and released.

    Raises:
        ValueError: If nobody agreed, what it measures makes no sense, its limits leave no room, or the arm failed.
    """
    assert config.arm is not None
    file = read_arm(config.arm)
    twin = isinstance(file.arm, TwinArmConfig)
    if config.yes and not (twin or file.unattended):
        raise ValueError(f"--yes is not for {config.arm}: someone must look at it (its file may say unattended: true)")
    try:
        return _record(config, file)
    except (ArmError, ServerError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def _record(config: DoctorConfig, file: ArmFile) -> Recording:
    """Returns the recording."""
    if isinstance(file.arm, TwinArmConfig):
        task = TwinTask(file.arm)
        task.begin(config.seed)
        driver = task.driver
    else:
        driver = make_driver(file.arm)
    arm = SafeArm(driver, file.limits)
    try:
        check_present(driver)
        arm.connect()
        start = arm.observe()
        check_standing(start)
        moves = SmallMoves(arm, file, start)
        print(f"{tell_limits(str(config.arm), file.limits)}\n{moves.told(config.steps)}", flush=True)
        if not config.yes and ask("the arm is going to move. Type yes: ") != "yes":
            raise ValueError("not confirmed: nothing moved")
        make_punctual()
        with stopping_on_signals(_interrupt):
            return SmallMoves(arm, file, arm.observe()).record(config.steps, np.random.default_rng(config.seed))
    finally:
        try:
            arm.stop()
        finally:
            arm.close()


def _interrupt(signal: str) -> NoReturn:
    """Ends what the arm does as Ctrl-C does, which stops it."""
    raise KeyboardInterrupt


def check_standing(seen: Observation) -> None:
    """Returns if what an arm measures while it stands can be a pose.

    Raises:
        ValueError: If not; such an arm must not be moved.
    """
    found = list(check_poses(Recording(seen.image[None], seen.pose[None], np.array([seen.time]))))
    if found:
        told = "; ".join(f"{finding.name}: {finding.problem} -> {finding.remedy}" for finding in found)
        raise ValueError(f"nothing moved, the arm measures no pose. {told}")


class SmallMoves:
    """Moves out along an axis and back, and of the gripper, about where an arm stands.

    Attributes:
        distance: From where it stands [m].
        axes: Names of the base's axes that it moves along.
        gripper: Whether that moves too.
    """

    def __init__(self, arm: SafeArm, file: ArmFile, start: Observation) -> None:
        """Finds how far and how fast the limits let it go.

        Raises:
            ValueError: If that is not enough to judge by, or a way would lead out of the workspace.
        """
        spec = file.narrowed(arm.action_spec)
        free = [axis for axis in range(3) if spec.high[axis] > spec.low[axis]]
        if not free:
            raise ValueError("the arm's file fixes x, y and z: there is nothing that the doctor can move")
        self.axes, self.gripper = ["xyz"[axis] for axis in free], spec.high[6] > spec.low[6]
        self.distance = min(FARTHEST, file.limits.max_step, *(spec.high[axis] for axis in free))
        if self.distance < _LEAST:
            raise ValueError(
                f"max_step and the action's bounds let the arm go {1000 * self.distance:.1f} mm at a time; the doctor "
                f"needs {1000 * _LEAST:.0f} mm"
            )
        self._periods = periods(self.distance, spec.period, file.limits)
        self._arm, self._period, self._free, self._start = arm, spec.period, free, start
        self._check_room(file.limits)

    def told(self, steps: int) -> str:
        """Returns what so many moves are, for the person who is asked."""
        gripper = ", and the gripper" if self.gripper else ""
        return (
            f"moves      {steps}, each {100 * self.distance:.1f} cm from where it stands and back, along the base's "
            f"{' '.join(self.axes)}{gripper}: about {steps * self._periods * self._period:.0f} s"
        )

    def record(self, steps: int, generator: np.random.Generator) -> Recording:
        """Returns a recording of so many moves, after which the arm is where it was.

        Where the limits make moves take several control periods, their times are divided by that many: what is
        recorded is as if they had not.
        """
        seen, commands = [self._start], []
        for target in self._targets(steps, generator):
            sent = self._arm.command(target[:6], target[6], self._periods * self._period)
            commands.append(np.append(sent[:3] - seen[-1].pose[:3], target[6]))
            seen.append(self._arm.observe())
        return Recording(
            np.stack([one.image for one in seen]),
            np.stack([one.pose for one in seen]),
            np.array([one.time for one in seen]) / self._periods,
            np.array(commands),
        )

    def _targets(self, steps: int, generator: np.random.Generator) -> Iterator[Float[np.ndarray, "7"]]:
        """Yields poses: out to both sides of each axis in an order of chance, and back; now and then the gripper."""
        start, opposite = self._start.pose, np.array(self._start.pose)
        opposite[6] = 1.0 - round(start[6])
        made = 0
        while made + 2 <= steps:
            for way in generator.permutation([(axis, side) for axis in self._free for side in (-1, 1)]):
                out = np.array(start)
                out[way[0]] += way[1] * self.distance
                if made + 2 <= steps:
                    yield out
                    yield start
                    made += 2
            if self.gripper and made + 2 * _GRIPPER_FRAMES <= steps:
                yield from [opposite] * _GRIPPER_FRAMES
                yield from [start] * _GRIPPER_FRAMES
                made += 2 * _GRIPPER_FRAMES

    def _check_room(self, limits: SafetyLimits) -> None:
        """Returns if both sides of each axis are within the workspace."""
        for axis, name in zip(self._free, self.axes, strict=True):
            low, high, place = limits.workspace_low[axis], limits.workspace_high[axis], self._start.pose[axis]
            if not low + self.distance <= place <= high - self.distance:
                raise ValueError(
                    f"nothing moved: the arm stands at {name} = {place:.3f} m and its workspace is {low:g} to {high:g} "
                    f"m; the doctor needs {100 * self.distance:.1f} cm to either side: put it further inside by hand"
                )


def periods(distance: float, period: float, limits: SafetyLimits) -> int:
    """Returns how many control periods a move from rest to rest takes within the limits on speed and acceleration.

    Raises:
        ValueError: If that is too slow to be judged.
    """
    speed, acceleration = limits.max_speed, limits.max_acceleration
    if distance < speed**2 / acceleration:
        needed = 2.0 * math.sqrt(distance / acceleration)
    else:
        needed = distance / speed + speed / acceleration
    count = max(1, math.ceil(needed / (_SHARE * period)))
    if count > _MOST_PERIODS:
        raise ValueError(
            f"within {speed:g} m/s and {acceleration:g} m/s^2 a move of {100 * distance:.1f} cm takes {needed:.1f} s, "
            f"{count} control periods: raise max_speed and max_acceleration for the doctor"
        )
    return count
