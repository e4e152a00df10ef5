"""gym-pusht's Push-T, a disc that pushes a T about a table, by images of where both shall be (extra `benchmarks`).

gym-pusht takes where the disc shall go, 10 times a second, on a table of 512 x 512. A length of 1 there is a millimetre
here. One action here lasts five of its steps, the peers' action block, and is how far the disc goes.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, cast

import gymnasium
import numpy as np
from jaxtyping import Float, UInt8

from envs.arms.base import as_dict
from envs.spec import HELD_OUT, ActionSpec, Goal, Observation
from envs.tasks.benchmark import needs_extra
from envs.tasks.pusht_play import Pusher

STEPS = 5
"""Control steps of gym-pusht (0.1 s each) in one action of ours."""

LONGEST = 0.08
"""How far the disc goes along an axis in one action, at most [m]."""

_MILLIMETRE = 0.001
_LOW, _HIGH = 22.0, 489.0  # where the disc touches no wall
_FAR, _TURNED = 20.0, np.pi / 9  # the peers' rule
_EPISODE = 40  # actions of play that starts and goals come from


def pusht_action_spec() -> ActionSpec:
    """Returns the disc's 2-D action."""
    return ActionSpec(("x", "y"), ("m", "m"), (-LONGEST,) * 2, (LONGEST,) * 2, "table", 10.0 / STEPS)


class PushT:
    """gym-pusht's simulation.

    Attributes:
        env: gym-pusht's environment.
        action_spec: What an action means.
    """

    action_spec = pusht_action_spec()

    def __init__(self, image_size: int = 128) -> None:
        """Builds the simulation.

        Args:
            image_size: Edge of the square observation image [pixels].

        Raises:
            BenchmarkError: If gym-pusht is not installed.
        """
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            made = import_module("gym_pusht.envs.pusht").PushTEnv
        except ModuleNotFoundError as error:
            raise needs_extra("Push-T", error) from error
        self.env: Any = made()
        self.image_size, self.time = image_size, 0.0

    def reset(self, seed: int) -> None:
        """Puts disc and T where gym-pusht draws them."""
        self.env.reset(seed=seed)
        self.time = 0.0

    def observe(self) -> Observation:
        """Returns what is seen, with the measured place of the disc (2,) [m]."""
        return Observation(self.render(self.image_size), self.disc() * _MILLIMETRE, self.time)

    def render(self, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """Returns gym-pusht's image at any size."""
        return self.env._get_img(self.env._draw(), size, size)

    def command(self, action: Float[np.ndarray, "2"]) -> None:
        """Moves the disc by an action (2,) [m]."""
        target = np.clip(self.disc() + np.clip(action, -LONGEST, LONGEST) / _MILLIMETRE, _LOW, _HIGH)
        for _ in range(STEPS):
            self.env.step(target)
        self.time += self.action_spec.period

    def disc(self) -> Float[np.ndarray, "2"]:
        """Returns the disc's centre [mm]."""
        return np.array(self.env.agent.position)

    def block(self) -> Float[np.ndarray, "3"]:
        """Returns the T's place [mm] and angle [rad]: privileged."""
        return np.array([*self.env.block.position, self.env.block.angle])

    def outline(self) -> list[Float[np.ndarray, "4 2"]]:
        """Returns the corners of the T's two bars [mm]: privileged."""
        block, bars = self.env.block, self.env._block_shapes  # in a fixed order, as the block's own set of them is not
        return [np.array([block.local_to_world(corner) for corner in bar.get_vertices()]) for bar in bars]

    def covered(self, block: Float[np.ndarray, "3"]) -> float:
        """Returns how much of where a T would lie the T covers, gym-pusht's measure."""
        before, self.env.goal_pose = self.env.goal_pose, block
        share = float(self.env._get_coverage())
        self.env.goal_pose = before
        return share

    def close(self) -> None:
        """Ends nothing: the simulation has no window."""


class PushTEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """Bring the T and the disc to where play had brought them so many control steps later.

    ``reset`` gives ``info["goals"]``, a list of one `Goal`, of a held-out episode of play as its start is.
    ``info["success"]`` is the peers' rule: disc and T together within 20 mm of the goal, the T turned by less than 20
    degrees from it. ``info["distance"]`` is the first of these [m]; ``info["stages"]`` has the T alone, and whether it
    covers 95 % of its place, as gym-pusht asks. All are privileged.
    """

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
        self.action_spec = self.pusht.action_spec
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
        episode = int(self.np_random.integers(HELD_OUT, 2**31))
        begin = int(self.np_random.integers(_EPISODE - self._ahead))
        self._play(episode, begin + self._ahead)
        goal = self.pusht.observe()
        self._goal = self._places()
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

    def _play(self, episode: int, actions: int) -> None:
        """Plays an episode up to some action."""
        pusher = Pusher(self.pusht, None, episode)
        for _ in range(actions):
            self.pusht.command(pusher.action())

    def _places(self) -> Float[np.ndarray, "5"]:
        return np.concatenate([self.pusht.disc(), self.pusht.block()])

    def _tell(self) -> dict[str, Any]:
        """Returns how things stand."""
        way = self._places() - self._goal
        turned = abs((way[4] + np.pi) % (2 * np.pi) - np.pi)
        distance, alone = np.linalg.norm(way[:4]), np.linalg.norm(way[2:4])
        covered = self.pusht.covered(self._goal[2:])
        return {
            "time": self.pusht.time,
            "distance": float(distance) * _MILLIMETRE,
            "success": bool(distance < _FAR and turned < _TURNED),
            "stages": {"T": bool(alone < _FAR and turned < _TURNED), "T covered by 95 %": covered > 0.95},
        }
