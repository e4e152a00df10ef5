"""Push-T as our task (extra `benchmarks`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import gymnasium
import numpy as np
from jaxtyping import Float, UInt8

from envs.arms.base import as_dict
from envs.spec import HELD_OUT, Goal, Observation
from envs.tasks.pusht import MILLIMETRE, STEPS, PushT
from envs.tasks.pusht_expert import PushTExpert
from envs.tasks.pusht_play import Pusher, Pushes, PushTPlay, half_turn

_FAR, _TURNED = 20.0, np.pi / 9  # the peers' rule
_EPISODE = 40  # actions of play that starts and goals come from


class PushTEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """Bring the T and the disc to where play had brought them so many control steps later.

    ``reset`` gives ``info["goals"]``, a list of one `Goal`, of a held-out episode of play as its start is.
    ``info["success"]`` is the peers' rule: disc and T together within 20 mm of the goal, the T turned by less than 20
    degrees from it. ``info["distance"]`` is the first of these [m]; ``info["stages"]`` has the T alone, and whether it
    covers 95 % of its place, as gym-pusht asks. All are privileged. With ``reset(options={"practice": True})`` the
    episode is no held-out one.
    """

    robot_type = "pusht"
    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012 (gymnasium's own convention)

    def __init__(
        self, steps: int = 25, image_size: int = 128, render_mode: str | None = None, render_size: int = 480
    ) -> None:
        """Builds the simulation.

        Args:
            steps: Control steps of gym-pusht from a start to its goal.
            image_size: Edge of the square observation image [pixels].
            render_mode: "rgb_array" or None.
            render_size: Edge of what ``render`` returns [pixels].

        Raises:
            ValueError: If the steps are no whole number of actions.
        """
        if steps < STEPS or steps % STEPS:
            raise ValueError(f"steps must be a multiple of {STEPS}, one action, got {steps}")
        self.pusht, self._ahead = PushT(image_size), steps // STEPS
        self.render_mode, self.render_size = render_mode, render_size
        self.action_spec = self.recorded_spec = self.pusht.action_spec
        low, high = (np.array(bound) for bound in (self.action_spec.low, self.action_spec.high))
        self.action_space = gymnasium.spaces.Box(low, high, dtype=np.float64)
        space = gymnasium.spaces.Dict(
            {
                "image": gymnasium.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8),
                "pose": gymnasium.spaces.Box(0.0, 0.512, (2,), dtype=np.float64),
            }
        )
        self.observation_space = cast("gymnasium.Space[dict[str, np.ndarray]]", space)
        self._goal = np.zeros(5)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """See `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        seeds = (0, HELD_OUT) if (options or {}).get("practice") else (HELD_OUT, 2**31)
        episode = int(self.np_random.integers(*seeds))
        begin = int(self.np_random.integers(_EPISODE - self._ahead))
        self._play(episode, begin + self._ahead)
        goal = self.pusht.observe()
        self._goal = self.pusht.places()
        self._play(episode, begin)  # the same again, so that nothing has to be put back
        seen = self.pusht.observe()
        return as_dict(seen), {**self._tell(), "goals": [Goal(goal.image, goal.pose)]}

    def step(self, action: Float[np.ndarray, "2"]) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """See `gymnasium.Env.step`."""
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (2,) or not np.all(np.isfinite(action)):
            raise ValueError(f"an action here is 2 finite numbers [m], got {action!r}")
        self.pusht.command(action)
        told = self._tell()
        return as_dict(self.pusht.observe()), float(told["success"]), False, False, told

    def render(self) -> UInt8[np.ndarray, "size size 3"] | None:
        """Returns gym-pusht's image at ``render_size``, or None without a render mode."""
        return self.pusht.render(self.render_size) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """See `gymnasium.Env.close`."""
        self.pusht.close()

    def drive(self, choose: Callable[[Observation], Float[np.ndarray, "2"]], frames: int) -> list[Observation]:
        """See `envs.tasks.contract.Practicable`."""
        return self.pusht.drive(choose, frames)

    def finish(self) -> Iterator[Float[np.ndarray, "2"]]:
        """See `envs.tasks.contract.Practicable`."""
        return PushTExpert(self.pusht, self._goal, self.np_random).actions()

    def play(self, generator: np.random.Generator) -> Iterator[Float[np.ndarray, "2"]]:
        """See `envs.tasks.contract.Practicable`."""
        return Pushes(self.pusht, PushTPlay(), generator).actions()

    def _play(self, episode: int, actions: int) -> None:
        """Plays an episode up to some action."""
        pusher = Pusher(self.pusht, None, episode)
        for _ in range(actions):
            self.pusht.command(pusher.action())

    def _tell(self) -> dict[str, Any]:
        """Returns how things stand."""
        way = self.pusht.places() - self._goal
        turned = abs(half_turn(way[4]))
        distance, alone = np.linalg.norm(way[:4]), np.linalg.norm(way[2:4])
        covered = self.pusht.covered(self._goal[2:])
        return {
            "time": self.pusht.time,
            "distance": float(distance) * MILLIMETRE,
            "success": bool(distance < _FAR and turned < _TURNED),
            "stages": {"T": bool(alone < _FAR and turned < _TURNED), "T covered by 95 %": covered > 0.95},
        }
