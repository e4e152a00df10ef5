"""An expert that brings OGBench's cubes, or its scene, to a goal from wherever things are by now: privileged.

It sees what is not as it shall be and has OGBench's scripts set one thing after another right, which may need others
first: a drawer is unlocked before it is moved, and open before a cube comes into it or out of it. Buttons get their
final states after drawer and window; what the hand shall hold in the end comes last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from envs.pose import difference
from envs.tasks.expert import Action
from envs.tasks.ogbench import SLIDES, Arrangement
from envs.tasks.ogbench_play import OgbenchScript

_THERE, _HAND_THERE = 0.02, 0.04  # m, OGBench's: where its script takes something to be where it shall be
_IN_HAND = 0.03  # m from the hand to the centre of a cube that it holds
_GIVEN_UP = 30  # actions to set one thing right
_LONGEST = 12  # things set right, one after another
_CLEAR = {"cube": 0.16, "button": 0.16, "drawer": 0.18, "window": 0.28}  # m, OGBench's: hand's height when it's over
_TRAVEL, _OVER = 0.3, 0.18  # m: height at which the hand goes far, and from which on it goes sideways
_OPEN, _WIDE = -0.12, -0.16  # m, OGBench's: a drawer that a cube may be put into, and one as open as it gets
_ABOVE_BUTTON = np.array([0.05, 0.03])  # m: so near to a button, the hand stays so much above where it shall be
_DRAWER, _DRAWER_HALF = np.array([0.33, -0.41]), np.array([0.12, 0.1])  # m: its centre when shut, what is inside
_DRAWER_HEIGHT = 0.15  # m
_FLOOR = np.array([[0.3, -0.07], [0.45, 0.18]])  # m, OGBench's: where cubes of the scene are put down
_LYING = 0.02  # m, a cube's centre


@dataclass(frozen=True)
class _Job:
    """One thing to set right.

    Attributes:
        script: OGBench's that does it: "cube", "button", "drawer" or "window".
        which: Number of the cube or button.
        there: Where it shall be [m], or its state.
        told: What the script is told of it.
        held: Whether a cube is not let go of.
    """

    script: str
    which: int
    there: Any
    told: Mapping[str, Any]
    held: bool = False


class OgbenchExpert:
    """Brings everything to a goal. See `envs.tasks.contract.Practicable.finish`."""

    def __init__(self, script: OgbenchScript, goal: Arrangement, hand: Float[np.ndarray, "7"]) -> None:
        """Takes a goal.

        Args:
            script: What acts.
            goal: Where everything shall be.
            hand: The pose (7,) where the hand shall be [m, rad, 1].
        """
        self._script, self._arm, self._env = script, script.arm, script.arm.env
        self._goal, self._hand = goal, hand
        from_hand = np.linalg.norm(goal.cubes[:, :3] - hand[:3], axis=1)
        shut_in = [_in_drawer(goal, cube) and goal.slides[0] > _OPEN for cube in range(len(goal.cubes))]
        self._to_hold: list[int] = np.flatnonzero((from_hand < _IN_HAND) & ~np.array(shut_in)).tolist()
        self._to_lie = [cube for cube in np.argsort(-from_hand).tolist() if cube not in self._to_hold]

    def actions(self) -> Iterator[Action]:
        """Yields actions until the goal is reached, or things are set right too often."""
        for _ in range(_LONGEST):
            job = self._next(self._arm.arrangement())
            if job is None:
                break
            yield from self._do(job)
        if not self._to_hold:
            yield from self._go()

    def _next(self, now: Arrangement) -> _Job | None:
        """Returns what to set right next; None where nothing is left."""
        places = [self._place(cube, now) for cube in range(len(now.cubes))]
        for cube in self._to_lie:
            if not self._lies(cube, places[cube], now):
                return self._bring(cube, places[cube], now)
        for cube in self._to_hold:  # out of the way of the drawer
            if _in_drawer(now, cube) and not _in_drawer(self._goal, cube):
                lies = np.array([*np.clip(places[cube][:2], *_FLOOR), _LYING, *places[cube][3:]])
                return self._bring(cube, lies, now)
        job = self._next_of_scene(now) if len(now.slides) else None
        if job is not None:
            return job
        for cube in self._to_hold:
            if not self._holds(cube, places[cube], now):
                return self._bring(cube, places[cube], now, held=True)
        return None

    def _next_of_scene(self, now: Arrangement) -> _Job | None:
        goal = self._goal
        for slide in range(len(SLIDES)):
            if abs(now.slides[slide] - goal.slides[slide]) > _THERE:
                return self._slide(slide, float(goal.slides[slide]), now)
        for button in np.flatnonzero(now.buttons != goal.buttons).tolist():
            return self._press(button, now)
        return None

    def _place(self, cube: int, now: Arrangement) -> Float[np.ndarray, "7"]:
        """Returns where a cube shall be; what shall be in the drawer moves with it."""
        place = self._goal.cubes[cube].copy()
        if _in_drawer(self._goal, cube):
            place[1] += self._goal.slides[0] - now.slides[0]
        return place

    def _lies(self, cube: int, place: Float[np.ndarray, "7"], now: Arrangement) -> bool:
        """Returns whether a cube is at its place and let go of."""
        at_hand = np.linalg.norm(now.cubes[cube, :3] - self._arm.pose()[:3]) < _IN_HAND
        return _near(now, cube, place) and not (at_hand and self._feels())

    def _holds(self, cube: int, place: Float[np.ndarray, "7"], now: Arrangement) -> bool:
        """Returns whether a cube is at its place, and the hand holds it or is where it shall be."""
        arrived = np.linalg.norm(self._arm.pose()[:3] - self._hand[:3]) < _HAND_THERE
        return _near(now, cube, place) and bool(self._feels() or arrived)

    def _feels(self) -> bool:
        return bool(self._env.compute_ob_info()["proprio/gripper_contact"][0] > 0)

    def _bring(self, cube: int, place: Float[np.ndarray, "7"], now: Arrangement, held: bool = False) -> _Job:
        """Returns how a cube comes to a place, or the drawer that is in the way open."""
        if (_in_drawer(now, cube) or _in_drawer(self._goal, cube)) and now.slides[0] > _OPEN:
            return self._slide(0, _WIDE, now)
        w, x, y, z = place[3:]
        yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y**2 + z**2))
        told = {"target_block": cube, "target_block_pos": place[:3], "target_block_yaw": np.array([yaw])}
        return _Job("cube", cube, place, told, held)

    def _slide(self, slide: int, to: float, now: Arrangement) -> _Job:
        """Returns how drawer or window comes to a place, or how it is unlocked."""
        if not now.buttons[slide]:
            return self._press(slide, now)
        name, way = SLIDES[slide], to - now.slides[slide]
        handle = self._env.compute_ob_info()[f"privileged/{name}_handle_pos"]
        to_handle = handle + (np.array([0.0, -way, 0.0]) if name == "drawer" else np.array([way, 0.0, 0.0]))
        return _Job(name, slide, to, {f"target_{name}_handle_pos": to_handle})

    def _press(self, button: int, now: Arrangement) -> _Job:
        """Returns how a button gets its other state."""
        state = 1 - int(now.buttons[button])
        top = self._env.data.site(f"btntop_{button}").xpos.copy()
        told = {"target_button": button, "target_button_state": state, "target_button_top_pos": top}
        return _Job("button", button, state, told)

    def _do(self, job: _Job) -> Iterator[Action]:
        """Yields what sets a thing right, until the hand has left it, or it is given up."""
        self._script.begin(job.script, np.array([*self._hand[:2], _TRAVEL]), float(self._hand[5]))
        told = {"target_task": job.script, **job.told}
        for _ in range(_GIVEN_UP):
            if self._is_over(job):
                return
            info = self._env.compute_ob_info() | {f"privileged/{name}": value for name, value in told.items()}
            yield self._script.action(info)

    def _is_over(self, job: _Job) -> bool:
        now = self._arm.arrangement()
        if job.held:
            return self._holds(job.which, job.there, now)
        match job.script:
            case "cube":
                right = self._lies(job.which, job.there, now)
            case "button":
                right = bool(now.buttons[job.which] == job.there)
            case _:
                right = abs(now.slides[job.which] - job.there) < _THERE
        return right and self._arm.pose()[2] > _CLEAR[job.script]

    def _go(self) -> Iterator[Action]:
        """Yields what brings the hand to its goal, from above; over a button it stays where it does not press it."""
        spec, hand = self._arm.action_spec, self._hand.copy()
        near, above = _ABOVE_BUTTON
        tops = [self._env.data.site(f"btntop_{button}").xpos[:2] for button in range(len(self._goal.buttons))]
        if any(np.linalg.norm(hand[:2] - top) < near for top in tops):
            hand[2] += above
        for _ in range(_GIVEN_UP):
            way = difference(self._arm.pose(), hand)
            if np.linalg.norm(way[:3]) < _HAND_THERE:
                return
            if np.linalg.norm(way[:2]) > _HAND_THERE:
                way[:2] *= self._arm.pose()[2] > _OVER
                way[2] = _TRAVEL - self._arm.pose()[2]
            yield np.clip(way, spec.low, spec.high)


def _near(now: Arrangement, cube: int, place: Float[np.ndarray, "7"]) -> bool:
    return bool(np.linalg.norm(now.cubes[cube, :3] - place[:3]) < _THERE)


def _in_drawer(arrangement: Arrangement, cube: int) -> bool:
    """Returns whether a cube is in the scene's drawer."""
    if not len(arrangement.slides):
        return False
    centre = _DRAWER - np.array([0.0, arrangement.slides[0]])
    inside = np.abs(arrangement.cubes[cube, :2] - centre) < _DRAWER_HALF
    return bool(inside.all() and arrangement.cubes[cube, 2] < _DRAWER_HEIGHT)
