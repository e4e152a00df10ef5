"""FetchReach, FetchPush and FetchPickAndPlace from images (extra `benchmarks`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from envs.arms.safety import SafeArm
from envs.spec import Goal, Observation
from envs.tasks.benchmark import BenchmarkEnv
from envs.tasks.expert import Action
from envs.tasks.fetch import FetchArm, FetchTask, fetch_limits
from envs.tasks.fetch_play import FetchPlay, expert, play

_SHOWN = 60  # actions that an expert has to bring a goal about


class FetchEnv(BenchmarkEnv):
    """Bring the block, or the hand, to where the benchmark wants it: by an image of it that an expert brings about.

    ``reset`` gives ``info["goals"]``, a list of one `Goal`; the hand is where the expert leaves it from the same start,
    behind the block or around it. ``info["success"]`` is the benchmark's own, within 5 cm of its goal wherever the hand
    is, and ``info["distance"]`` from it [m]; both are privileged. Episodes of the benchmark last 25 actions of ours.
    """

    robot_type = "fetch-mujoco"

    def __init__(
        self,
        task: FetchTask = "Push",
        image_size: int = 128,
        render_mode: str | None = None,
        render_size: int = 480,
    ) -> None:
        self.fetch_arm = FetchArm(task, image_size)
        super().__init__(self.fetch_arm, SafeArm(self.fetch_arm, fetch_limits()), render_mode, render_size)

    def _reset_task(self, options: dict[str, Any]) -> dict[str, Any]:
        self.fetch_arm.reset(int(self.np_random.integers(2**31)))
        seen = self._show_goal()
        return {"goals": [Goal(seen.image, seen.pose)]}

    def _show_goal(self) -> Observation:
        """Returns what is seen once the expert has done the task; all is put back."""
        arm = self.fetch_arm
        start = arm.state()
        for action in self.finish():
            arm.act(action)
        seen = arm.observe()
        arm.restore(start)
        return seen

    def finish(self) -> Iterator[Action]:
        """See `envs.tasks.contract.Practicable`."""
        for _ in range(_SHOWN):
            action = expert(self.fetch_arm, self.fetch_arm.goal())
            if action is None:
                return
            yield action

    def play(self, generator: np.random.Generator) -> Iterator[Action]:
        """See `envs.tasks.contract.Practicable`."""
        return play(self.fetch_arm, FetchPlay(), generator)

    def _report(self, observation: Observation) -> dict[str, Any]:
        arm = self.fetch_arm
        return {"distance": float(np.linalg.norm(arm.achieved() - arm.goal())), "success": arm.success()}
