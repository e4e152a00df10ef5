"""Goals that play leads to: the state so many actions on, as other planners are judged."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from envs.simulation.scene import SceneConfig
from envs.spec import Observation
from envs.tasks.expert import lift
from envs.tasks.manipulation import ManipulationEnv, Way
from envs.tasks.play import BEHAVIOURS, PlayConfig
from envs.tasks.reach import MIN_DISTANCE, SUCCESS_DISTANCE


class FrankaPlayEnv(ManipulationEnv):
    """Bring everything to where an expert's play led in so many actions, by one goal image.

    The play is of skills one after another, with what they stray by, from the same start; it has lifted, carried,
    pushed, placed and dropped. At least one object is 8 cm or more from where it was.

    Success: every object within 4 cm of where the image shows it, in the hand if it is there, and else let go of.

    Source: goals drawn so many steps on in a trajectory (DINO-WM, arXiv 2411.04983; OGBench, arXiv 2410.20092).
    """

    def __init__(
        self,
        steps: int = 25,
        image_size: int = 168,
        render_mode: str | None = None,
        render_size: int = 480,
        scene: SceneConfig | None = None,
    ) -> None:
        """Builds the scene.

        Args:
            steps: Actions of play that lead to the goal.
            image_size: See `ManipulationEnv`, as all that follow.
            render_mode: See there.
            render_size: See there.
            scene: See there.

        Raises:
            ValueError: If there are no steps, or the scene has no object.
        """
        if steps < 1:
            raise ValueError(f"a goal of play needs at least 1 action to it, got {steps}")
        self._play_steps, self._goal_held = steps, False
        super().__init__(image_size, render_mode, render_size, scene)
        self.moved = len(self.mujoco_arm.objects)

    def _make_goals(self) -> list[Observation]:
        arm = self.mujoco_arm
        steps = BEHAVIOURS["chain"](arm, PlayConfig(slips=0.1), self.np_random)
        seen = self.drive(lambda observation: self._upright(next(steps)), self._play_steps + 1)
        self._goal_held = arm.held() is not None
        return seen[-1:]

    def _is_goal(self, ways: Float[np.ndarray, "N"]) -> bool:
        return bool(ways.max() >= MIN_DISTANCE)

    def _ways(self) -> list[Way]:
        ways = [way for number in range(self.moved) for way in self._placing(number)]
        if self._goal_held:  # what is in the hand in the end is placed nowhere
            last = max(range(self.moved), key=lambda number: self._goal_positions[number, 2])
            thing = self.mujoco_arm.objects[last]
            ways = [way for way in ways if way[2] is not thing] + [(lift, self._goal_positions[last], thing)]
        return ways

    def _stage(self, distance: float, held: bool) -> dict[str, bool]:
        return {"grasped": held, "near": distance < SUCCESS_DISTANCE}

    def _hand_is_right(self, held: bool) -> bool:
        return held == self._goal_held
