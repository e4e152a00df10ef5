"""OGBench's cube and scene tasks as ours; importing this module registers them (extra `benchmarks`).

>>> import gymnasium, envs.tasks.ogbench_tasks
>>> env = gymnasium.make("envs/CubeSingle-v0")
>>> observation, info = env.reset(seed=0)
>>> info["goals"][0].image.shape
(128, 128, 3)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

from envs.arms.safety import SafeArm
from envs.spec import HELD_OUT, Goal, Observation
from envs.tasks.benchmark import BenchmarkEnv
from envs.tasks.expert import Action
from envs.tasks.ogbench import SCENE_PARTS, Arrangement, OgbenchArm, Variant, ogbench_limits
from envs.tasks.ogbench_expert import OgbenchExpert
from envs.tasks.ogbench_play import GOAL_STEPS, OgbenchPlay, OgbenchScript

EPISODE_STEPS = 200
"""Control steps of OGBench in a scripted episode that starts and goals come from, the peers' number."""


class OgbenchEnv(BenchmarkEnv):
    """Bring OGBench's cubes, or all of its scene, to where a goal image shows them.

    ``reset`` gives ``info["goals"]``, a list of one `Goal`. ``info["success"]`` is OGBench's own, every cube within
    4 cm of its place, in the scene also drawer and window, and both buttons in their states, wherever the arm is.
    ``info["distance"]`` is that of what is farthest from its place [m]; a button in the wrong state counts as 10 cm.
    ``info["stages"]`` of the scene tells which things are in place now. All three are privileged.

    A goal is what a held-out episode of OGBench's 20 Hz script saw ``ahead`` control steps after the start, at a
    random time of the episode, as in stable-worldmodel's evaluation. In a part of them nothing is moved: those are
    solved at the start. With ``moved`` they are drawn again. With ``across`` the goal is what another held-out episode
    saw at a random time. With ``tasks`` starts and goals are OGBench's five numbered tasks:
    ``reset(options={"task_id": 1})``, or one at random. With ``reset(options={"practice": True})`` no episode is a
    held-out one; the numbered tasks, which are held out all five, refuse it with a ValueError.
    """

    robot_type = "ur5e-ogbench"

    def __init__(
        self,
        variant: Variant = "single",
        moved: bool = False,
        across: bool = False,
        ahead: int = GOAL_STEPS,
        tasks: bool = False,
        image_size: int = 128,
        render_mode: str | None = None,
        render_size: int = 480,
    ) -> None:
        self.ogbench_arm = OgbenchArm(variant, tasks, image_size)
        self._moved, self._across, self._ahead = moved, across, ahead
        self._play = OgbenchPlay(variant=variant, driven=0.0)
        self._script: OgbenchScript | None = None
        self._goal: tuple[Goal, Arrangement] | None = None
        super().__init__(self.ogbench_arm, SafeArm(self.ogbench_arm, ogbench_limits()), render_mode, render_size)

    def _reset_task(self, options: dict[str, Any]) -> dict[str, Any]:
        practice = bool(options.get("practice"))
        if self.ogbench_arm.tasks and practice:
            raise ValueError("OGBench's numbered tasks are for evaluation alone: practise goals of another episode")
        if self.ogbench_arm.tasks:
            return {"goals": [self._reset_to_numbered(options)]}
        seeds = (0, HELD_OUT) if practice else (HELD_OUT, 2**31)
        arm = self.ogbench_arm
        while True:
            goal, there = self._goal = self._reset_to_recorded(seeds)
            arm.set_goal(there)
            hidden = arm.arrangement().hides_a_cube() or there.hides_a_cube()
            if not hidden and not ((self._moved or self._across) and all(arm.successes())):
                return {"goals": [goal]}

    def _reset_to_recorded(self, seeds: tuple[int, int]) -> tuple[Goal, Arrangement]:
        """Puts everything to a random time of an episode and returns the goal; its seed is one of these."""
        arm = self.ogbench_arm
        if self._across:
            self._play_for_a_while(seeds)
            seen, there = arm.observe(), arm.arrangement()
            self._script = self._play_for_a_while(seeds)
            return Goal(seen.image, seen.pose), there
        self._script = self._play_for_a_while(seeds)
        return self._script.ahead(self._ahead)

    def _play_for_a_while(self, seeds: tuple[int, int]) -> OgbenchScript:
        """Puts everything to a random time of an episode, which can go on from there."""
        script = OgbenchScript(self.ogbench_arm, self._play, int(self.np_random.integers(*seeds)))
        for _ in range(self.np_random.integers(EPISODE_STEPS - self._ahead)):
            script.step()
        return script

    def finish(self) -> Iterator[Action]:
        """See `envs.tasks.contract.Practicable`."""
        assert self._script and self._goal, "reset for practice first"
        goal, there = self._goal
        assert goal.pose is not None
        return OgbenchExpert(self._script, there, goal.pose).actions()

    def play(self, generator: np.random.Generator) -> Iterator[Action]:
        """See `envs.tasks.contract.Practicable`: OGBench's script, whose seed is the episode's."""
        assert self._script, "reset for practice first"
        return self._script.play()

    def _reset_to_numbered(self, options: dict[str, Any]) -> Goal:
        """Resets to one of OGBench's tasks and returns its goal."""
        env = self.ogbench_arm.env
        task = int(options.get("task_id", self.np_random.integers(env.num_tasks) + 1))
        seed = int(self.np_random.integers(2**31))
        _, info = env.reset(seed=seed, options={"task_id": task, "render_goal": True})
        seen: Observation = info["goal_rendered"]  # `OgbenchArm` observes where OGBench would draw
        return Goal(seen.image, seen.pose)

    def _report(self, observation: Observation) -> dict[str, Any]:
        arm = self.ogbench_arm
        successes = arm.successes()
        told = {"distance": float(arm.errors().max()), "success": all(successes)}
        if arm.variant == "scene":
            told["stages"] = dict(zip(SCENE_PARTS, successes, strict=True))
        return told


def _register(family: str, variant: Variant, *, farther: bool) -> None:
    """Registers the tasks of a variant; those whose goals are farther away than the protocol's where it has them."""
    settings: dict[str, dict[str, Any]] = {"": {}, "Moved": {"moved": True}}
    if farther:
        settings |= {str(ahead): {"moved": True, "ahead": ahead} for ahead in (50, 75)}
        settings |= {"Across": {"across": True}, "Tasks": {"tasks": True}}
    for name, each in settings.items():
        gymnasium.register(
            f"envs/{family}{name}-v0", "envs.tasks.ogbench_tasks:OgbenchEnv", kwargs={"variant": variant, **each}
        )


_register("CubeSingle", "single", farther=True)
_register("CubeDouble", "double", farther=False)
_register("Scene", "scene", farther=True)
