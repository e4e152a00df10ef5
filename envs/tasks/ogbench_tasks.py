"""OGBench's cube tasks as ours; importing this module registers them (extra `benchmarks`).

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
from envs.tasks.ogbench import OgbenchArm, Variant, cube_limits
from envs.tasks.ogbench_play import GOAL_STEPS, CubePlayConfig, CubeScript

EPISODE_STEPS = 200
"""Control steps of OGBench in a scripted episode that starts and goals come from, the peers' number."""


class OgbenchCubeEnv(BenchmarkEnv):
    """Bring OGBench's cubes to where a goal image shows them.

    ``reset`` gives ``info["goals"]``, a list of one `Goal`. ``info["success"]`` is OGBench's own, every cube
    within 4 cm of its place, wherever the arm is; ``info["distance"]`` is the farthest cube's [m]. Both are privileged.

    A goal is what a held-out episode of OGBench's 20 Hz script saw ``ahead`` control steps after the start, at a
    random time of the episode, as in stable-worldmodel's evaluation. In a part of them no cube is moved: those are
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
        self.cube_arm = OgbenchArm(variant, tasks, image_size)
        self._moved, self._across, self._ahead = moved, across, ahead
        self._play = CubePlayConfig(variant, driven=0.0)
        self._script: CubeScript | None = None
        self._goal: Goal | None = None
        super().__init__(self.cube_arm, SafeArm(self.cube_arm, cube_limits()), render_mode, render_size)

    def _reset_task(self, options: dict[str, Any]) -> dict[str, Any]:
        practice = bool(options.get("practice"))
        if self.cube_arm.tasks and practice:
            raise ValueError("OGBench's numbered tasks are for evaluation alone: practise CubeSingleAcross-v0")
        if self.cube_arm.tasks:
            return {"goals": [self._reset_to_numbered(options)]}
        seeds = (0, HELD_OUT) if practice else (HELD_OUT, 2**31)
        while True:
            self._goal = self._reset_to_recorded(seeds)
            if not (self._moved or self._across) or not all(self.cube_arm.successes()):
                return {"goals": [self._goal]}

    def _reset_to_recorded(self, seeds: tuple[int, int]) -> Goal:
        """Puts the arm and the cubes to a random time of an episode and returns the goal; its seed is one of these."""
        arm = self.cube_arm
        if self._across:
            self._play_for_a_while(seeds)
            seen, cubes = arm.observe(), arm.cube_poses()
            goal = Goal(seen.image, seen.pose)
            self._script = self._play_for_a_while(seeds)
        else:
            self._script = self._play_for_a_while(seeds)
            goal, cubes = self._script.ahead(self._ahead)
        arm.set_targets(cubes)
        return goal

    def _play_for_a_while(self, seeds: tuple[int, int]) -> CubeScript:
        """Puts the arm and the cubes to a random time of an episode, which can go on from there."""
        script = CubeScript(self.cube_arm, self._play, int(self.np_random.integers(*seeds)))
        for _ in range(self.np_random.integers(EPISODE_STEPS - self._ahead)):
            script.step()
        return script

    def finish(self) -> Iterator[Action]:
        """See `envs.tasks.contract.Practicable`: OGBench's script, with the goal's cubes and hand as its ends."""
        assert self._script and self._goal and self._goal.pose is not None, "reset for practice first"
        return self._script.bring(self._goal.pose)

    def play(self, generator: np.random.Generator) -> Iterator[Action]:
        """See `envs.tasks.contract.Practicable`: OGBench's script, whose seed is the episode's."""
        assert self._script, "reset for practice first"
        return self._script.play()

    def _reset_to_numbered(self, options: dict[str, Any]) -> Goal:
        """Resets to one of OGBench's tasks and returns its goal."""
        env = self.cube_arm.env
        task = int(options.get("task_id", self.np_random.integers(env.num_tasks) + 1))
        seed = int(self.np_random.integers(2**31))
        _, info = env.reset(seed=seed, options={"task_id": task, "render_goal": True})
        seen: Observation = info["goal_rendered"]  # `OgbenchArm` observes where OGBench would draw
        return Goal(seen.image, seen.pose)

    def _report(self, observation: Observation) -> dict[str, Any]:
        arm = self.cube_arm
        distance = float(np.linalg.norm(arm.cubes() - arm.targets(), axis=1).max())
        return {"distance": distance, "success": all(arm.successes())}


_ENTRY_POINT = "envs.tasks.ogbench_tasks:OgbenchCubeEnv"
gymnasium.register(id="envs/CubeSingle-v0", entry_point=_ENTRY_POINT)
gymnasium.register(id="envs/CubeSingleMoved-v0", entry_point=_ENTRY_POINT, kwargs={"moved": True})
gymnasium.register(id="envs/CubeSingle50-v0", entry_point=_ENTRY_POINT, kwargs={"moved": True, "ahead": 50})
gymnasium.register(id="envs/CubeSingle75-v0", entry_point=_ENTRY_POINT, kwargs={"moved": True, "ahead": 75})
gymnasium.register(id="envs/CubeSingleAcross-v0", entry_point=_ENTRY_POINT, kwargs={"across": True})
gymnasium.register(id="envs/CubeSingleTasks-v0", entry_point=_ENTRY_POINT, kwargs={"tasks": True})
gymnasium.register(id="envs/CubeDouble-v0", entry_point=_ENTRY_POINT, kwargs={"variant": "double"})
gymnasium.register(id="envs/CubeDoubleMoved-v0", entry_point=_ENTRY_POINT, kwargs={"variant": "double", "moved": True})
