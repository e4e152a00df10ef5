"""Tasks with objects: push one, grasp it, reach with it, pick and place it, rearrange two, stack one on another.

Goal images are what a scripted expert (`envs.tasks.expert`) brings about from the same start with the same objects;
the start is then put back. The objects are held-out instances that no recorded play shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Float

from envs.simulation.arm import DOWN, MujocoArm, arm_action_spec
from envs.simulation.objects import (
    HELD_OUT_OBJECTS,
    TRAINING_OBJECTS,
    ObjectInstance,
    SceneObject,
    sample_object,
)
from envs.simulation.scene import SceneConfig
from envs.simulation.scene_config import MANIPULATION_SCENE
from envs.spec import ActionSpec, Goal, Observation
from envs.tasks.events import positions_of
from envs.tasks.expert import Action, Sight, Skill, carry, do, lift, look, perform, place, push, reach, stack, upright
from envs.tasks.reach import MIN_DISTANCE, SUCCESS_DISTANCE, WORKSPACE_HIGH, WORKSPACE_LOW, TaskEnv

Position = Float[np.ndarray, "3"]

OBJECT_LOW, OBJECT_HIGH = np.array([0.38, -0.18]), np.array([0.64, 0.18])
"""Corners of the table area that objects start and end in [m]."""

START_LOW = np.array([*WORKSPACE_LOW[:2], 0.14])
"""Lowest place that the gripper starts from: over every object [m]."""

CARRY_LOW, CARRY_HIGH = 0.08, 0.24
"""Heights that an object's centre is carried at [m]."""

_OVER_GOAL = np.array([0.0, 0.0, 0.07])  # m: where an object is held before it is placed
_RISE = np.array([0.0, 0.0, 0.09])  # m: up and away from where a task has ended
_TRIES = 50  # starts drawn until there is one that the expert can do
_GOAL_ERROR = 0.02  # m: how well the expert must have done
_APART = 0.10  # m between the centres of things on the table: an open gripper goes between them
_STILL = 0.01  # m: how far what a task does not move may have been moved by its expert

Way = tuple[Skill, Position, SceneObject]
"""Something for the expert to do: a skill, where it leads to, with which object."""


def manipulation_action_spec() -> ActionSpec:
    """Returns the arm's 7-D action with rotation fixed: the gripper translates, opens and closes."""
    spec = arm_action_spec()
    low, high = ((*bounds[:3], 0.0, 0.0, 0.0, bounds[6]) for bounds in (spec.low, spec.high))
    return ActionSpec(spec.names, spec.units, low, high, spec.frame, spec.rate)


@dataclass(frozen=True)
class Standing:
    """How things stand in a task.

    Attributes:
        distance: Of the object from its goal, of several the largest [m].
        held: Whether one that is to be moved is in the hand.
        success: Whether the goal is reached.
    """

    distance: float
    held: bool
    success: bool


class ManipulationEnv(TaskEnv):
    """Bring an object to where a goal image shows it; how is said by the subclasses.

    ``reset`` gives ``info["goals"]``, a list of `Goal`: subgoals in their order, the goal last. Privileged are
    ``info["distance"]`` of the object from its goal [m], ``info["held"]``, ``info["stages"]`` (what has happened so
    far) and ``info["success"]``. An object starts and ends anywhere in 0.26 x 0.36 m of the table, at least 8 cm from
    its goal, a gripper anywhere above it. A scene's further objects and its cubes lie about, 10 cm apart, and stay
    where they are in the goal image: which object is meant is what has moved there. Its objects are held out, or with
    ``reset(options={"practice": True})`` those that recordings may show.

    Attributes:
        moved: How many of the scene's objects, the first ones, the task moves.
        needed: How many the scene must have.
    """

    moved = needed = 1

    def __init__(
        self,
        image_size: int = 168,
        render_mode: str | None = None,
        render_size: int = 480,
        scene: SceneConfig | None = None,
    ) -> None:
        """Builds the scene.

        Args:
            image_size: Edge of the observation images [pixels].
            render_mode: "rgb_array" or None.
            render_size: Edge of what ``render`` returns [pixels].
            scene: Another camera or table; None for `MANIPULATION_SCENE`.

        Raises:
            ValueError: If the scene has too few objects.
        """
        scene = scene or replace(MANIPULATION_SCENE, objects=self.needed)
        if scene.objects < self.needed:
            raise ValueError(
                f"this manipulation task needs {self.needed} object(s) to grasp, the scene has {scene.objects}: "
                f"set scene.objects to {self.needed} or more"
            )
        self._goal_positions = np.zeros((scene.objects, 3))
        super().__init__(manipulation_action_spec(), scene, image_size, render_mode, render_size)

    def _reset_task(self, options: dict[str, Any]) -> dict[str, Any]:
        arm, objects = self.mujoco_arm, TRAINING_OBJECTS if options.get("practice") else HELD_OUT_OBJECTS
        for _ in range(_TRIES):
            instances = [sample_object(objects, self.np_random) for _ in arm.objects]
            place_at_random(arm, instances, self.np_random)
            self._prepare()
            before, start = arm.snapshot(), positions_of(arm)
            goals = self._make_goals()
            self._goal_positions = positions_of(arm)
            ways = np.linalg.norm(self._goal_positions - start, axis=1)
            arm.restore(before)
            if goals and self._is_goal(ways):
                return {"goals": [Goal(seen.image, seen.pose) for seen in goals]}
        raise RuntimeError(f"of {_TRIES} starts the scripted expert could do none: something in the scene hinders it")

    def _is_goal(self, ways: Float[np.ndarray, "N"]) -> bool:
        """Returns whether a goal is one by how far each object is there from where it starts [m]."""
        return bool((ways[: self.moved] >= MIN_DISTANCE).all() and (ways[self.moved :] < _STILL).all())

    def _prepare(self) -> None:
        """Brings about what is so at the start, beside where object and gripper are."""

    def _make_goals(self) -> list[Observation]:
        """Brings about the goal and returns what is seen at the subgoals and there; empty if the expert failed."""
        raise NotImplementedError

    def _do(self, skill: Skill, goal: Position, thing: SceneObject | None = None) -> Sight:
        """Lets the expert do something, with the first object unless told, and returns what it sees then."""
        perform(self.mujoco_arm, skill, goal, thing=thing)
        return look(self.mujoco_arm, thing)

    def finish(self) -> Iterator[Action]:
        """See `envs.tasks.contract.Practicable`."""
        for skill, goal, thing in self._ways():
            yield from map(self._upright, do(self.mujoco_arm, skill, goal, thing=thing))

    def play(self, generator: np.random.Generator) -> Iterator[Action]:
        """See `envs.tasks.contract.Practicable`: the object is taken, wherever it is, then anything is done."""
        from envs.tasks.play import BEHAVIOURS, PlayConfig  # which needs this module

        arm = self.mujoco_arm
        rise = do(arm, reach, arm.pose()[:3] + _RISE)  # fingers that open beside the object would push it
        take = do(arm, lift, sample_carry(generator), thing=arm.objects[0])
        yield from map(self._upright, chain(rise, take, BEHAVIOURS["chain"](arm, PlayConfig(), generator)))

    def _upright(self, action: Action) -> Action:
        return upright(action, self.mujoco_arm.pose())

    def _ways(self) -> list[Way]:
        """Returns what leads to the goal from where things are."""
        return [(lift, self.goal_position, self.mujoco_arm.objects[0])]

    def _placing(self, number: int, skill: Skill = place) -> list[Way]:
        """Returns how one of the objects gets to its place and is let go of there."""
        thing, goal = self.mujoco_arm.objects[number], self._goal_positions[number]
        if np.linalg.norm(thing.position - goal) < _GOAL_ERROR and not self.mujoco_arm.gripping():
            return []
        return [(lift, goal + _OVER_GOAL, thing), (skill, goal, thing)]

    def _held_at(self, position: Position, skill: Skill) -> list[Observation]:
        """Returns what is seen when the expert holds the object at a position; nothing if it does not get there."""
        seen = self._do(skill, position)
        good = seen.held and np.linalg.norm(seen.thing - position) < _GOAL_ERROR
        return [self.mujoco_arm.observe()] if good else []

    @property
    def goal_position(self) -> Position:
        """Where the first object's centre is in the last goal image (3,) [m]: privileged."""
        return self._goal_positions[0].copy()

    def _report(self, observation: Observation) -> dict[str, Any]:
        now = self.judge()
        stages = self._stage(now.distance, now.held)
        return {"distance": now.distance, "held": now.held, "stages": stages, "success": now.success}

    def judge(self) -> Standing:
        """Returns how things stand now: privileged."""
        distance, held = float(self._distances().max()), self.mujoco_arm.held() in self.mujoco_arm.objects[: self.moved]
        return Standing(distance, held, distance < SUCCESS_DISTANCE and self._hand_is_right(held))

    def _distances(self) -> Float[np.ndarray, "moved"]:
        """Returns how far each object that the task moves is from its goal [m]."""
        return np.linalg.norm(positions_of(self.mujoco_arm) - self._goal_positions, axis=1)[: self.moved]

    def _stage(self, distance: float, held: bool) -> dict[str, bool]:
        """Returns what of the task is so now, by name."""
        return {"held": held, "near": distance < SUCCESS_DISTANCE}

    def _hand_is_right(self, held: bool) -> bool:
        """Returns whether the object is in the hand, or not in it, as the task asks."""
        return held


class FrankaPushEnv(ManipulationEnv):
    """Push the object over the table to where the goal image shows it. Success: within 4 cm."""

    def _make_goals(self) -> list[Observation]:
        start = self.mujoco_arm.objects[0].position
        goal = np.array([*self.np_random.uniform(OBJECT_LOW, OBJECT_HIGH), start[2]])
        seen = self._do(push, goal)
        return [self.mujoco_arm.observe()] if np.linalg.norm(seen.thing - goal) < _GOAL_ERROR else []

    def _ways(self) -> list[Way]:
        return [(push, self.goal_position, self.mujoco_arm.objects[0])]

    def _stage(self, distance: float, held: bool) -> dict[str, bool]:
        arm = self.mujoco_arm
        return {"touched": arm.touching(arm.objects[0]), "near": distance < SUCCESS_DISTANCE}

    def _hand_is_right(self, held: bool) -> bool:
        return True


class FrankaGraspEnv(ManipulationEnv):
    """Grasp the object and lift it to where the goal image shows it. Success: held there, within 4 cm, at the end."""

    def _make_goals(self) -> list[Observation]:
        lifted = self.mujoco_arm.objects[0].position + np.array([0.0, 0.0, self.np_random.uniform(0.09, 0.15)])
        return self._held_at(lifted, lift)


class FrankaReachWithObjectEnv(ManipulationEnv):
    """Bring the object, in the hand at the start, to where the goal image shows it. Success: held within 4 cm of it."""

    def _prepare(self) -> None:
        self._do(lift, sample_carry(self.np_random))

    def _make_goals(self) -> list[Observation]:
        return self._held_at(sample_carry(self.np_random), carry) if self.mujoco_arm.held() else []


class FrankaPickPlaceEnv(ManipulationEnv):
    """Put the object somewhere else on the table, by three goal images: grasped, near, placed.

    Success: let go of within 4 cm of where the last image shows it.
    """

    def _make_goals(self) -> list[Observation]:
        start = self.mujoco_arm.objects[0].position
        goal = np.array([*self.np_random.uniform(OBJECT_LOW, OBJECT_HIGH), start[2]])
        grasped = self._held_at(start + _OVER_GOAL, lift)
        near = grasped and self._held_at(goal + _OVER_GOAL, carry)
        if not near:
            return []
        seen = self._do(place, goal)
        good = not seen.gripped and np.linalg.norm(seen.thing - goal) < _GOAL_ERROR
        return [*grasped, *near, self.mujoco_arm.observe()] if good else []

    def _ways(self) -> list[Way]:
        return self._placing(0)

    def _stage(self, distance: float, held: bool) -> dict[str, bool]:
        over = float(np.linalg.norm(self.mujoco_arm.objects[0].position[:2] - self.goal_position[:2]))
        return {"grasped": held, "near": held and over < SUCCESS_DISTANCE, "placed": distance < SUCCESS_DISTANCE}

    def _hand_is_right(self, held: bool) -> bool:
        return not self.mujoco_arm.gripping()


class FrankaTwoObjectsEnv(FrankaPickPlaceEnv):
    """Put two objects somewhere else on the table, by one goal image: both in their places.

    Success: both within 4 cm of where it shows them, and let go of.
    """

    moved = needed = 2

    def _make_goals(self) -> list[Observation]:
        arm, taken = self.mujoco_arm, [one.position[:2] for one in self.mujoco_arm.objects]
        for number, thing in enumerate(arm.objects[: self.moved]):
            goal = np.array([*_free_place(taken, self.np_random), thing.position[2]])
            taken.append(goal[:2])
            self._goal_positions[number] = goal
        for number, thing in enumerate(arm.objects[: self.moved]):
            for skill, goal, _ in self._placing(number):
                self._do(skill, goal, thing)
        good = not arm.gripping() and (self._distances() < _GOAL_ERROR).all()
        return [arm.observe()] if good else []

    def _ways(self) -> list[Way]:
        return [way for number in range(self.moved) for way in self._placing(number)]

    def _stage(self, distance: float, held: bool) -> dict[str, bool]:
        placed = int(np.count_nonzero(self._distances() < SUCCESS_DISTANCE))
        return {"grasped": held, "one placed": placed >= 1, "both placed": placed == self.moved}


class FrankaStackEnv(ManipulationEnv):
    """Put the first object on the second, by one goal image: stacked.

    Success: let go of within 4 cm of where it shows it, and not on the table.
    """

    needed = 2

    def _make_goals(self) -> list[Observation]:
        arm = self.mujoco_arm
        upper, lower = arm.objects[:2]
        self._goal_positions[0] = on_top(lower, upper)
        for skill, goal, thing in self._ways():
            self._do(skill, goal, thing)
        good = not arm.gripping() and self._distances().max() < _GOAL_ERROR
        return [arm.observe()] if good else []

    def _ways(self) -> list[Way]:
        return self._placing(0, stack)

    def _stage(self, distance: float, held: bool) -> dict[str, bool]:
        aside = float(np.linalg.norm(self.mujoco_arm.objects[0].position[:2] - self.goal_position[:2]))
        return {"grasped": held, "over": held and aside < SUCCESS_DISTANCE, "stacked": distance < SUCCESS_DISTANCE}

    def _hand_is_right(self, held: bool) -> bool:
        return not self.mujoco_arm.gripping() and not self.mujoco_arm.objects[0].on_something


def on_top(lower: SceneObject, upper: SceneObject) -> Position:
    """Returns where an object's centre is when it stands on another (3,) [m]; both have been placed."""
    assert lower.instance is not None and upper.instance is not None
    return lower.position + np.array([0.0, 0.0, (lower.instance.height + upper.instance.height) / 2])


def place_at_random(arm: MujocoArm, instances: Sequence[ObjectInstance], generator: np.random.Generator) -> None:
    """Puts objects and cubes anywhere on the table, apart, and the open gripper anywhere above them, at rest.

    Args:
        arm: In whose scene.
        instances: What the scene's objects are, one each.
        generator: Of all that is random.
    """
    arm.reset()
    arm.set_pose(np.array([*generator.uniform(START_LOW, WORKSPACE_HIGH), *DOWN, 0.0]))
    taken: list[Float[np.ndarray, "2"]] = []
    for thing, instance in zip(arm.objects, instances, strict=True):
        taken.append(_free_place(taken, generator))
        on_table = np.array([*taken[-1], instance.height / 2])
        thing.place(instance, on_table, float(generator.uniform(-np.pi, np.pi)))
    for index in range(arm.config.scene.blocks):
        taken.append(_free_place(taken, generator))
        arm.set_block(index, taken[-1], float(generator.uniform(-np.pi, np.pi)))


def _free_place(taken: Sequence[Float[np.ndarray, "2"]], generator: np.random.Generator) -> Float[np.ndarray, "2"]:
    """Returns a place on the table (x, y) [m] that is apart from those that are taken, if there is one."""
    place = generator.uniform(OBJECT_LOW, OBJECT_HIGH)
    for _ in range(_TRIES):
        if all(np.linalg.norm(place - other) >= _APART for other in taken):
            break
        place = generator.uniform(OBJECT_LOW, OBJECT_HIGH)
    return place


def sample_carry(generator: np.random.Generator) -> Position:
    """Returns a place (3,) to hold the object's centre at [m]."""
    return generator.uniform((*OBJECT_LOW, CARRY_LOW), (*OBJECT_HIGH, CARRY_HIGH))
