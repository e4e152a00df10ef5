"""Tasks with an object: push it, grasp it, reach with it, pick and place it.

Goal images are what a scripted expert (`envs.mujoco.expert`) brings about from the same start with the same object; the
start is then put back. The objects are held-out instances that no recorded play shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from envs.arm import as_dict
from envs.mujoco.arm import DOWN, MujocoArm, arm_action_spec
from envs.mujoco.expert import Action, Sight, Skill, carry, do, lift, look, perform, place, push
from envs.mujoco.objects import HELD_OUT_OBJECTS, ObjectInstance, sample_object
from envs.mujoco.scene import MANIPULATION_SCENE, SceneConfig
from envs.mujoco.tasks import MIN_DISTANCE, SUCCESS_DISTANCE, WORKSPACE_HIGH, WORKSPACE_LOW, TaskEnv
from envs.spec import ActionSpec, Observation

Position = Float[np.ndarray, "3"]

OBJECT_LOW, OBJECT_HIGH = np.array([0.38, -0.18]), np.array([0.64, 0.18])
"""Corners of the table area that objects start and end in [m]."""

START_LOW = np.array([*WORKSPACE_LOW[:2], 0.14])
"""Lowest place that the gripper starts from: over every object [m]."""

CARRY_LOW, CARRY_HIGH = 0.08, 0.24
"""Heights that an object's centre is carried at [m]."""

_OVER_GOAL = np.array([0.0, 0.0, 0.07])  # m: where an object is held before it is placed
_TRIES = 50  # starts drawn until there is one that the expert can do
_GOAL_ERROR = 0.02  # m: how well the expert must have done


def manipulation_action_spec() -> ActionSpec:
    """Returns the arm's 7-D action with rotation fixed: the gripper translates, opens and closes."""
    spec = arm_action_spec()
    low, high = ((*bounds[:3], 0.0, 0.0, 0.0, bounds[6]) for bounds in (spec.low, spec.high))
    return ActionSpec(spec.names, spec.units, low, high, spec.frame, spec.rate)


class ManipulationEnv(TaskEnv):
    """Bring an object to where a goal image shows it; how is said by the subclasses.

    ``reset`` gives ``info["goal"]``, an observation dict, or subgoals in their order, ``info["goals"]``. Privileged are
    ``info["distance"]`` of the object from its goal [m], ``info["held"]``, ``info["stages"]`` (what has happened so
    far) and ``info["success"]``. An object starts and ends anywhere in 0.26 x 0.36 m of the table, at least 8 cm from
    its goal, a gripper anywhere above it.
    """

    def __init__(
        self,
        image_size: int = 168,
        render_mode: str | None = None,
        render_size: int = 480,
        scene: SceneConfig | None = None,
        objects: Sequence[ObjectInstance] = HELD_OUT_OBJECTS,
    ) -> None:
        """Builds the scene.

        Args:
            image_size: Edge of the observation images [pixels].
            render_mode: "rgb_array" or None.
            render_size: Edge of what ``render`` returns [pixels].
            scene: Another camera or table; None for `MANIPULATION_SCENE`.
            objects: One of them is drawn at each reset.

        Raises:
            ValueError: If the scene has no object.
        """
        scene = scene or MANIPULATION_SCENE
        if not scene.graspable:
            raise ValueError("a manipulation task needs an object to grasp: set scene.graspable to true")
        self._objects = tuple(objects)
        self._goal_position = np.zeros(3)
        self._stages: dict[str, bool] = {}
        super().__init__(manipulation_action_spec(), scene, image_size, render_mode, render_size)

    def _reset_task(self, options: dict[str, Any]) -> dict[str, Any]:
        arm = self.mujoco_arm
        for _ in range(_TRIES):
            place_at_random(arm, sample_object(self._objects, self.np_random), self.np_random)
            self._prepare()
            before, start = arm.snapshot(), arm.object_position()
            goals = self._make_goals()
            self._goal_position = arm.object_position()
            done = goals and np.linalg.norm(self._goal_position - start) >= MIN_DISTANCE
            arm.restore(before)
            if done:
                self._stages = {}
                dicts = [as_dict(goal) for goal in goals]
                return {"goal": dicts[0]} if len(dicts) == 1 else {"goals": dicts}
        raise RuntimeError(f"of {_TRIES} starts the scripted expert could do none: something in the scene hinders it")

    def _prepare(self) -> None:
        """Brings about what is so at the start, beside where object and gripper are."""

    def _make_goals(self) -> list[Observation]:
        """Brings about the goal and returns it with the subgoals before it; empty if the expert failed."""
        raise NotImplementedError

    def _do(self, skill: Skill, goal: Position) -> Sight:
        """Lets the expert do something and returns what it sees then."""
        perform(self.mujoco_arm, skill, goal)
        return look(self.mujoco_arm)

    def finish(self) -> Iterator[Action]:
        """Yields what the expert does next, wherever things are by now, until the goal is reached: privileged."""
        for skill, goal in self._ways():
            yield from do(self.mujoco_arm, skill, goal)

    def _ways(self) -> list[tuple[Skill, Position]]:
        """Returns the skills that lead to the goal from where things are, each with where it leads to."""
        return [(lift, self._goal_position)]

    def _held_at(self, position: Position, skill: Skill) -> list[Observation]:
        """Returns what is seen when the expert holds the object at a position; nothing if it does not get there."""
        seen = self._do(skill, position)
        good = seen.held and np.linalg.norm(seen.thing - position) < _GOAL_ERROR
        return [self.mujoco_arm.observe()] if good else []

    @property
    def goal_position(self) -> Position:
        """Where the object's centre is in the last goal image (3,) [m]: privileged."""
        return self._goal_position.copy()

    def _report(self, observation: Observation) -> dict[str, Any]:
        arm = self.mujoco_arm
        distance, held = float(np.linalg.norm(arm.object_position() - self._goal_position)), arm.holding()
        self._stages = {name: self._stages.get(name, False) or now for name, now in self._stage(distance, held).items()}
        success = distance < SUCCESS_DISTANCE and self._hand_is_right(held)
        return {"distance": distance, "held": held, "stages": self._stages, "success": success}

    def _stage(self, distance: float, held: bool) -> dict[str, bool]:
        """Returns what of the task is so now, by name."""
        return {"held": held, "near": distance < SUCCESS_DISTANCE}

    def _hand_is_right(self, held: bool) -> bool:
        """Returns whether the object is in the hand, or not in it, as the task asks."""
        return held


class FrankaPushEnv(ManipulationEnv):
    """Push the object over the table to where the goal image shows it. Success: within 4 cm."""

    def _make_goals(self) -> list[Observation]:
        goal = np.array([*self.np_random.uniform(OBJECT_LOW, OBJECT_HIGH), self.mujoco_arm.object_position()[2]])
        seen = self._do(push, goal)
        return [self.mujoco_arm.observe()] if np.linalg.norm(seen.thing - goal) < _GOAL_ERROR else []

    def _ways(self) -> list[tuple[Skill, Position]]:
        return [(push, self._goal_position)]

    def _stage(self, distance: float, held: bool) -> dict[str, bool]:
        return {"touched": self.mujoco_arm.touching_object(), "near": distance < SUCCESS_DISTANCE}

    def _hand_is_right(self, held: bool) -> bool:
        return True


class FrankaGraspEnv(ManipulationEnv):
    """Grasp the object and lift it to where the goal image shows it. Success: held there, within 4 cm, at the end."""

    def _make_goals(self) -> list[Observation]:
        lifted = self.mujoco_arm.object_position() + np.array([0.0, 0.0, self.np_random.uniform(0.09, 0.15)])
        return self._held_at(lifted, lift)


class FrankaReachWithObjectEnv(ManipulationEnv):
    """Bring the object, in the hand at the start, to where the goal image shows it. Success: held within 4 cm of it."""

    def _prepare(self) -> None:
        self._do(lift, sample_carry(self.np_random))

    def _make_goals(self) -> list[Observation]:
        return self._held_at(sample_carry(self.np_random), carry) if self.mujoco_arm.holding() else []


class FrankaPickPlaceEnv(ManipulationEnv):
    """Put the object somewhere else on the table, by three goal images: grasped, near, placed.

    Success: let go of within 4 cm of where the last image shows it.
    """

    def _make_goals(self) -> list[Observation]:
        start = self.mujoco_arm.object_position()
        goal = np.array([*self.np_random.uniform(OBJECT_LOW, OBJECT_HIGH), start[2]])
        grasped = self._held_at(start + _OVER_GOAL, lift)
        near = grasped and self._held_at(goal + _OVER_GOAL, carry)
        if not near:
            return []
        seen = self._do(place, goal)
        good = not seen.gripped and np.linalg.norm(seen.thing - goal) < _GOAL_ERROR
        return [*grasped, *near, self.mujoco_arm.observe()] if good else []

    def _ways(self) -> list[tuple[Skill, Position]]:
        off = float(np.linalg.norm(self.mujoco_arm.object_position() - self._goal_position))
        if off < _GOAL_ERROR and not self.mujoco_arm.gripping():
            return []
        return [(lift, self._goal_position + _OVER_GOAL), (place, self._goal_position)]

    def _stage(self, distance: float, held: bool) -> dict[str, bool]:
        over = float(np.linalg.norm(self.mujoco_arm.object_position()[:2] - self._goal_position[:2]))
        return {"grasped": held, "near": held and over < SUCCESS_DISTANCE, "placed": distance < SUCCESS_DISTANCE}

    def _hand_is_right(self, held: bool) -> bool:
        return not self.mujoco_arm.gripping()


def place_at_random(arm: MujocoArm, instance: ObjectInstance, generator: np.random.Generator) -> None:
    """Puts the object anywhere on the table and the open gripper anywhere above it, at rest."""
    arm.reset()
    arm.set_pose(np.array([*generator.uniform(START_LOW, WORKSPACE_HIGH), *DOWN, 0.0]))
    on_table = np.array([*generator.uniform(OBJECT_LOW, OBJECT_HIGH), instance.height / 2])
    arm.place_object(instance, on_table, float(generator.uniform(-np.pi, np.pi)))


def sample_carry(generator: np.random.Generator) -> Position:
    """Returns a place (3,) to hold the object's centre at [m]."""
    return generator.uniform((*OBJECT_LOW, CARRY_LOW), (*OBJECT_HIGH, CARRY_HIGH))
