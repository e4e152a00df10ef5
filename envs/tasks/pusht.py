"""gym-pusht's Push-T, a disc that pushes a T about a table, by images of where both shall be (extra `benchmarks`).

gym-pusht takes where the disc shall go, 10 times a second, on a table of 512 x 512. A length of 1 there is a millimetre
here. One action here lasts five of its steps, the peers' action block, and is how far the disc goes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from envs.spec import ActionSpec, Observation
from envs.tasks.benchmark import needs_extra

STEPS = 5
"""Control steps of gym-pusht (0.1 s each) in one action of ours."""

LONGEST = 0.08
"""How far the disc goes along an axis in one action, at most [m]."""

MILLIMETRE = 0.001
"""What gym-pusht's length of 1 is here [m]."""

_LOW, _HIGH = 22.0, 489.0  # where the disc touches no wall


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
        return Observation(self.render(self.image_size), self.disc() * MILLIMETRE, self.time)

    def render(self, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """Returns gym-pusht's image at any size."""
        return self.env._get_img(self.env._draw(), size, size)

    def command(self, action: Float[np.ndarray, "2"]) -> None:
        """Moves the disc by an action (2,) [m]."""
        target = np.clip(self.disc() + np.clip(action, -LONGEST, LONGEST) / MILLIMETRE, _LOW, _HIGH)
        for _ in range(STEPS):
            self.env.step(target)
        self.time += self.action_spec.period

    def drive(self, choose: Callable[[Observation], Float[np.ndarray, "2"]], frames: int) -> list[Observation]:
        """Returns what is seen from now on, so many frames, while an action is chosen for each but the last."""
        observations = [self.observe()]
        while len(observations) < frames:
            self.command(choose(observations[-1]))
            observations.append(self.observe())
        return observations

    def disc(self) -> Float[np.ndarray, "2"]:
        """Returns the disc's centre [mm]."""
        return np.array(self.env.agent.position)

    def block(self) -> Float[np.ndarray, "3"]:
        """Returns the T's place [mm] and angle [rad]: privileged."""
        return np.array([*self.env.block.position, self.env.block.angle])

    def places(self) -> Float[np.ndarray, "5"]:
        """Returns the disc's centre [mm], the T's place [mm] and its angle [rad]: privileged."""
        return np.concatenate([self.disc(), self.block()])

    def put(self, places: Float[np.ndarray, "5"]) -> None:
        """Puts disc and T to places, at rest."""
        for body, angle, place in ((self.env.agent, 0.0, places[:2]), (self.env.block, places[4], places[2:4])):
            body.angle, body.position = float(angle), tuple(map(float, place))  # a turn moves it: its place comes after
            body.velocity, body.angular_velocity = (0.0, 0.0), 0.0
            self.env.space.reindex_shapes_for_body(body)

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
