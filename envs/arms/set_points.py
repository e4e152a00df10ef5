"""Streams of set-points whose speed and acceleration are limited: the geometry under `envs.arms.safety`.

A set-point is a pose (7,) of `envs.pose`. With p its position, v the stream's velocity, dt the time since the last
set-point and a the acceleration that is allowed, the stream goes for a target at distance d at the speed::

    s = min(max_speed, d / dt, sqrt((a dt)^2 + 2 a d) - a dt)           the last: s dt + s^2 / (2 a) <= d, it can brake

and v changes by at most a dt. If braking from the new velocity would end outside of the workspace, the stream brakes
straight ahead instead, which never needs more room than there was before. Rotations go the same way, along geodesics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from envs.arms.limits import SLOWED, SafetyLimits
from envs.pose import euler_from_matrix, matrix_from_euler

Vector = Float[np.ndarray, "3"]
Matrix = Float[np.ndarray, "3 3"]

_SAME = 1e-7  # m, rad, 1: closer than this is the same
_SHOWN = 1e-6  # m, rad, 1: farther than this is another pose


def vector_from_matrix(rotation: Matrix) -> Vector:
    """Returns the rotation vector (3,) [rad] of a rotation matrix, at most pi long."""
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sine, cosine = _length(skew) / 2.0, (rotation[0, 0] + rotation[1, 1] + rotation[2, 2] - 1.0) / 2.0
    angle = math.atan2(sine, cosine)
    if angle < math.pi - 1e-4:
        return skew * (0.5 if sine < 1e-9 else angle / (2.0 * sine))
    axis = np.sqrt(np.clip((np.diag(rotation) + 1.0) / 2.0, 0.0, None))  # near half a turn the sine says nothing
    largest = int(np.argmax(axis))
    signs = np.sign(rotation[largest] + rotation[:, largest])
    signs[largest] = 1.0
    axis = axis * signs / _length(axis)
    return angle * (axis if axis @ skew >= 0 else -axis)


def matrix_from_vector(vector: Vector) -> Matrix:
    """Returns the rotation matrix of a rotation vector (3,) [rad]."""
    angle = _length(vector)
    x, y, z = vector
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    if angle < 1e-9:
        return np.eye(3) + cross
    return np.eye(3) + cross * (math.sin(angle) / angle) + cross @ cross * ((1.0 - math.cos(angle)) / angle**2)


def angle_between(first: Matrix, second: Matrix) -> float:
    """Returns the geodesic angle between two orientations [rad]."""
    return _length(vector_from_matrix(second @ first.T))


def is_same(first: Float[np.ndarray, "7"], second: Float[np.ndarray, "7"]) -> bool:
    """Returns whether two poses differ by at most a millionth [m, rad, 1], however their Euler angles are written."""
    if np.abs(first[[0, 1, 2, 6]] - second[[0, 1, 2, 6]]).max() > _SHOWN:
        return False
    if np.abs(first[3:6] - second[3:6]).max() <= _SHOWN:
        return True
    return angle_between(matrix_from_euler(first[3:6]), matrix_from_euler(second[3:6])) <= _SHOWN


def outside(target: Float[np.ndarray, "7"], allowed: Float[np.ndarray, "7"]) -> tuple[str, ...]:
    """Returns which limits on poses keep a target from being the pose that is allowed instead; none if it is that."""
    if is_same(target, allowed):
        return ()
    axes = [name for name, wanted, given in zip("xyz", target, allowed, strict=False) if abs(wanted - given) > _SHOWN]
    tilted = angle_between(matrix_from_euler(target[3:6]), matrix_from_euler(allowed[3:6])) > _SHOWN
    reasons = [f"outside of the workspace in {' and '.join(axes)}"] if axes else []
    reasons += ["tilted over max_tilt"] * tilted
    return (*reasons, *["outside of the gripper's range"] * bool(abs(target[6] - allowed[6]) > _SHOWN))


def slowed(wanted: Float[np.ndarray, "7"], sent: Float[np.ndarray, "7"], least: float = _SHOWN) -> tuple[str, ...]:
    """Returns which limits on speeds and accelerations keep a set-point from where it is wanted.

    Args:
        wanted: An allowed pose.
        sent: The set-point.
        least: What is closer than this is there [m, rad, 1].
    """
    turn = angle_between(matrix_from_euler(wanted[3:6]), matrix_from_euler(sent[3:6]))
    short = (np.abs(wanted[:3] - sent[:3]).max(), turn, abs(wanted[6] - sent[6]))
    names = ("max_speed or max_acceleration", "max_turn_speed or max_turn_acceleration", "max_gripper_rate")
    return tuple(f"{SLOWED}{name}" for name, way in zip(names, short, strict=True) if way > least)


def interpolate(start: Float[np.ndarray, "7"], end: Float[np.ndarray, "7"], share: float) -> Float[np.ndarray, "7"]:
    """Returns the pose at a share [0..1] of the way: position and gripper linear, orientation along the geodesic."""
    pose = start + share * (end - start)
    if np.array_equal(start[3:6], end[3:6]):
        pose[3:6] = end[3:6]
        return pose
    first = matrix_from_euler(start[3:6])
    way = vector_from_matrix(matrix_from_euler(end[3:6]) @ first.T)
    pose[3:6] = euler_from_matrix(matrix_from_vector(share * way) @ first)
    return pose


@dataclass(frozen=True)
class Stream:
    """The last set-point of a stream and how fast the stream was.

    Attributes:
        set_point: Position [m], extrinsic-xyz Euler angles [rad], gripper closedness, (7,).
        rotation: The orientation again, as a matrix.
        velocity: (3,) [m/s].
        spin: Angular velocity (3,) [rad/s].
    """

    set_point: Float[np.ndarray, "7"]
    rotation: Matrix
    velocity: Vector
    spin: Vector

    @classmethod
    def at_rest(cls, set_point: Float[np.ndarray, "7"]) -> Stream:
        """Returns a stream that stands at a set-point."""
        return cls(set_point, matrix_from_euler(set_point[3:6]), np.zeros(3), np.zeros(3))

    def advance(
        self, target: Float[np.ndarray, "7"] | None, seconds: float, limits: SafetyLimits, reference: Matrix
    ) -> Stream:
        """Returns the stream one set-point later.

        Args:
            target: Where to go, within the workspace and the tilt limit; None to brake.
            seconds: Time since the last set-point, 0 for none: then nothing moves.
            limits: What to keep to.
            reference: The orientation that the tilt is measured from.
        """
        if seconds <= 0.0:
            return self
        set_point = self.set_point.copy()
        error = np.zeros(3) if target is None else target[:3] - set_point[:3]
        velocity = self._next_velocity(target is None, error, seconds, limits)
        set_point[:3] += velocity * seconds
        np.clip(set_point[:3], limits.workspace_low, limits.workspace_high, out=set_point[:3])  # rounding
        rotation, spin = self.rotation, self.spin
        if np.any(spin) or (target is not None and not np.array_equal(target[3:6], set_point[3:6])):
            rotation, spin = self._turn(target, seconds, limits, reference)
            set_point[3:6] = euler_from_matrix(rotation)
        if target is not None:
            step = limits.max_gripper_rate * seconds
            set_point[6] += min(max(target[6] - set_point[6], -step), step)
        return Stream(set_point, rotation, velocity, spin)

    def _next_velocity(self, braking: bool, error: Vector, seconds: float, limits: SafetyLimits) -> Vector:
        """Returns the velocity towards a target, from which the stream can still stop within the workspace."""
        most = limits.max_acceleration
        brake = _braked(self.velocity, most * seconds)
        if braking:
            return brake
        velocity = _approach(error, self.velocity, limits.max_speed, most, seconds)
        end = self.set_point[:3] + velocity * seconds + velocity * (_length(velocity) / (2.0 * most))
        inside = np.all(end >= np.subtract(limits.workspace_low, _SAME)) and np.all(
            end <= np.add(limits.workspace_high, _SAME)
        )
        return velocity if inside else brake

    def _turn(
        self, target: Float[np.ndarray, "7"] | None, seconds: float, limits: SafetyLimits, reference: Matrix
    ) -> tuple[Matrix, Vector]:
        """Returns the next orientation and angular velocity, both such that the tilt stays within its limit."""
        most, now = limits.max_turn_acceleration, self.rotation
        spin = brake = _braked(self.spin, most * seconds)
        if target is not None:
            way = vector_from_matrix(matrix_from_euler(target[3:6]) @ now.T)
            spin = _approach(way, self.spin, limits.max_turn_speed, most, seconds)
            end = matrix_from_vector(spin * seconds + spin * (_length(spin) / (2.0 * most))) @ now
            if angle_between(reference, end) > limits.max_tilt + _SAME:
                spin = brake
        rotation = matrix_from_vector(spin * seconds) @ now
        if angle_between(reference, rotation) > limits.max_tilt + _SAME:
            return now, np.zeros(3)  # the tilt limit wins over the acceleration's
        return rotation, spin


def within_tilt(target: Float[np.ndarray, "7"], reference: Matrix, max_tilt: float) -> Float[np.ndarray, "7"]:
    """Returns the pose, turned back along the geodesic to the reference as far as its tilt is over the limit."""
    tilt = vector_from_matrix(matrix_from_euler(target[3:6]) @ reference.T)
    angle = _length(tilt)
    if angle <= max_tilt:
        return target
    upright = target.copy()
    upright[3:6] = euler_from_matrix(matrix_from_vector(tilt * (max_tilt / angle)) @ reference)
    return upright


def _approach(error: Vector, velocity: Vector, max_speed: float, acceleration: float, seconds: float) -> Vector:
    """Returns the next velocity on the way along an error; see the module."""
    distance, change = _length(error), acceleration * seconds
    wish = np.zeros(3)
    if distance > 0.0:
        stopping = math.sqrt(change**2 + 2.0 * acceleration * distance) - change
        wish = error * (min(max_speed, distance / seconds, stopping) / distance)
    difference = wish - velocity
    size = _length(difference)
    return wish if size <= change else velocity + difference * (change / size)


def _braked(velocity: Vector, change: float) -> Vector:
    speed = _length(velocity)
    return velocity * (1.0 - change / speed) if speed > change else np.zeros(3)


def _length(vector: Vector) -> float:
    return math.sqrt(vector @ vector)
