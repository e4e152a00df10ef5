"""Scripted experts: what a person with a joystick would do next, from the simulator's state.

A skill is a function of where things are now, without memory, so it recovers from whatever noise has led to:

    reach   to a place, whatever is held or not
    push    the object over the table, the closed gripper behind it
    lift    the object off the table and to a place: open, above it, down, close, up
    carry   the object that is held to a place
    place   the object that is held on the table, let go and withdraw
    stack   the same on whatever stands at its goal

Experts make goal images and data. No planner sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from envs.pose import compose, difference
from envs.simulation.arm import DOWN, MujocoArm
from envs.simulation.objects import SceneObject

Vector = Float[np.ndarray, "3"]
Action = Float[np.ndarray, "7"]

STEP = 0.075
"""Longest step along an axis in one control period [m]."""

_GRASP_HEIGHT = 0.028  # of the tool centre point over the table [m]
_PUSH_HEIGHT = 0.032
_PUSH_STEP = 0.055  # m, so that the object does not slip off
_ALIGNED = 0.010  # m
_UPRIGHT = np.array([0.0, 0.0, 0.0, *DOWN, 0.0])
_SHUT = 0.9  # closedness that no object leaves


@dataclass(frozen=True)
class Sight:
    """What an expert goes by.

    Attributes:
        hand: Tool centre point [m].
        closedness: Of the gripper.
        thing: Centre of the object [m].
        height: Of the object [m].
        width: Of the object [m].
        held: Whether it is in the hand and off the table.
        gripped: Whether both fingers touch something.
    """

    hand: Vector
    closedness: float
    thing: Vector
    height: float
    width: float
    held: bool
    gripped: bool


Skill = Callable[[Sight, Vector], Action]


def look(arm: MujocoArm, thing: SceneObject | None = None) -> Sight:
    """Returns what an expert goes by, about an object that has been placed; None for the scene's first."""
    thing = thing or arm.objects[0]
    assert thing.instance is not None
    pose, size = arm.pose(), (thing.instance.height, thing.instance.width)
    return Sight(pose[:3], float(pose[6]), thing.position, *size, arm.held() is thing, arm.gripping())


def is_done(skill: Skill, sight: Sight, goal: Vector) -> bool:
    """Returns whether there is nothing left to do for a skill."""
    if skill is reach:
        return bool(np.linalg.norm(sight.hand - goal) < 0.01)
    if skill is push:
        return bool(np.linalg.norm(sight.thing[:2] - goal[:2]) < 0.008)
    if skill is place or skill is stack:
        floor = 0.0 if skill is place else goal[2] - sight.height / 2
        return not sight.gripped and bool(sight.hand[2] > floor + sight.height + 0.045)
    return sight.held and bool(np.linalg.norm(sight.thing - goal) < 0.008)


def perform(arm: MujocoArm, skill: Skill, goal: Vector, max_steps: int = 30, thing: SceneObject | None = None) -> None:
    """Does a skill in the simulation until it is done, for `max_steps` actions at most."""
    for action in do(arm, skill, goal, max_steps, thing):
        act(arm, action)


def do(
    arm: MujocoArm, skill: Skill, goal: Vector, max_steps: int = 30, thing: SceneObject | None = None
) -> Iterator[Action]:
    """Yields a skill's actions, each from where things are by then, until it is done or `max_steps` are taken.

    Args:
        arm: In whose simulation.
        skill: What to do.
        goal: Where it leads to [m].
        max_steps: Actions at most.
        thing: With which object; None for the scene's first.
    """
    for _ in range(max_steps):
        sight = look(arm, thing)
        if is_done(skill, sight, goal):
            return
        yield skill(sight, goal)


def act(arm: MujocoArm, action: Action) -> None:
    """Executes one action, the gripper kept pointing down."""
    pose = arm.pose()
    target = compose(pose, upright(action, pose))
    arm.command(target[:6], float(target[6]), arm.action_spec.period)


def upright(action: Action, pose: Float[np.ndarray, "7"]) -> Action:
    """Returns an action that also turns back what contact has twisted: the gripper points down after it."""
    return np.concatenate([action[:3], difference(pose, _UPRIGHT)[3:6], action[6:]])


def reach(sight: Sight, goal: Vector) -> Action:
    """Goes straight to the goal; the gripper stays as it is."""
    return _move(goal - sight.hand)


def push(sight: Sight, goal: Vector) -> Action:
    """Pushes the object to the goal's (x, y): closes the gripper, goes behind the object, down, and forward.

    An object in the hand is put down first, where it is.
    """
    if sight.gripped and sight.closedness < _SHUT:  # and not pushed with both of the closed fingers
        return place(sight, sight.thing)
    way = goal[:2] - sight.thing[:2]
    distance = float(np.linalg.norm(way))
    if distance < 0.008:
        return np.zeros(7)
    along = way / distance
    offset = sight.hand[:2] - sight.thing[:2]
    back, aside = float(-offset @ along), float(offset @ (-along[1], along[0]))
    sideways = np.array((-along[1], along[0]))
    contact = sight.width / 2 + 0.012  # between the centres of object and closed fingers
    behind = sight.thing[:2] - along * (contact + 0.02)
    if sight.hand[2] > _PUSH_HEIGHT + 0.008 or back < 0.3 * contact:
        return _over(sight, np.array([*behind, _PUSH_HEIGHT]), closedness=1.0)
    level = np.array([_PUSH_HEIGHT - sight.hand[2]])
    if abs(aside) > 0.010:  # sidestep, behind it
        return _move(np.concatenate([_shorten(behind - sight.hand[:2], _PUSH_STEP), level]))
    forward = min(_PUSH_STEP, max(0.0, back - contact) + distance)
    return _move(np.concatenate([forward * along - 0.8 * aside * sideways, level]))


def lift(sight: Sight, goal: Vector) -> Action:
    """Takes hold of the object, wherever it lies, and goes to the goal with it."""
    if sight.held:
        return carry(sight, goal)
    if sight.gripped and sight.hand[2] < sight.height:
        return carry(sight, np.maximum(goal, sight.thing))
    above = np.linalg.norm(sight.hand[:2] - sight.thing[:2])
    low = sight.hand[2] < _GRASP_HEIGHT + 0.012 + max(0.0, sight.thing[2] - sight.height / 2)
    if low and above < _ALIGNED + 0.004:
        return _move(np.zeros(3), 1.0)
    return _over(sight, np.array([*sight.thing[:2], max(_GRASP_HEIGHT, sight.thing[2] - 0.012)]), closedness=0.0)


def carry(sight: Sight, goal: Vector) -> Action:
    """Goes to where the object that is held is at the goal."""
    return _move(goal - sight.thing)


def place(sight: Sight, goal: Vector) -> Action:
    """Puts the object that is held on the table at the goal's (x, y), lets go of it and withdraws upwards."""
    return _put(sight, goal, 0.0)


def stack(sight: Sight, goal: Vector) -> Action:
    """Puts the object that is held down where its centre is at the goal, lets go of it and withdraws upwards."""
    return _put(sight, goal, goal[2] - sight.height / 2)


def _put(sight: Sight, goal: Vector, floor: float) -> Action:
    """Puts the object that is held at the goal's (x, y), on what is so high [m]."""
    if not sight.gripped:
        return _move(np.array([0.0, 0.0, max(0.0, floor + sight.height + 0.06 - sight.hand[2])]), -1.0)
    way = goal - sight.thing
    way[2] = floor + sight.height / 2 - sight.thing[2]
    aside = float(np.linalg.norm(way[:2]))
    if aside < _ALIGNED and abs(way[2]) < 0.006:
        return _move(np.zeros(3), -1.0)
    if aside > 0.03:
        way[2] = max(way[2], 0.03 + floor + sight.height / 2 - sight.thing[2])  # not dragged over what it is put on
    return _move(way)


SKILLS: dict[str, Skill] = {"reach": reach, "push": push, "lift": lift, "carry": carry, "place": place, "stack": stack}
"""Every skill by its name."""


def _over(sight: Sight, target: Vector, closedness: float) -> Action:
    """Goes to a place at an object from above: up if it is too low to cross it, across, down."""
    grip = closedness - sight.closedness
    clearance = sight.thing[2] + sight.height / 2 + 0.035
    way = target - sight.hand
    aside = float(np.linalg.norm(way[:2]))
    if abs(grip) > 0.15 and sight.hand[2] < clearance and aside > _ALIGNED:
        return _move(np.array([0.0, 0.0, clearance + 0.02 - sight.hand[2]]), grip)
    if aside < _ALIGNED:
        return _move(way, grip)
    if sight.hand[2] < clearance - 0.015:
        return _move(np.array([0.0, 0.0, clearance + 0.01 - sight.hand[2]]), grip)
    # a straight way across that comes down as it comes near
    height = clearance + 0.01 + 0.5 * max(0.0, aside - STEP)
    return _move(np.array([*way[:2], min(0.0, height - sight.hand[2])]), grip)


def _move(way: Vector, grip: float = 0.0) -> Action:
    """Returns the action of a way, shortened in its direction to what one step can do."""
    largest = float(np.abs(way).max())
    step = way if largest <= STEP else way * (STEP / largest)
    return np.array([*step, 0.0, 0.0, 0.0, np.clip(grip, -1.0, 1.0)])


def _shorten(step: Float[np.ndarray, "2"], longest: float) -> Float[np.ndarray, "2"]:
    length = float(np.linalg.norm(step))
    return step if length <= longest else step * (longest / length)
