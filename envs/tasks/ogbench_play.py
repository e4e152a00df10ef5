"""OGBench's own scripted play with cubes: picking one up and putting it elsewhere, again and again.

The script is its closed-loop one with Gaussian noise on the actions (its "noisy" datasets, and the peers' data). It
decides either 20 times a second, as OGBench's data was made, or once an action, which is then carried out as a
planner's actions are ("driven"). A planner at 4 Hz should learn from the second: in a quarter second of the first the
fingers close and then rise, and the measured difference does not tell that from both at once. Replayed from where they
were recorded, five such differences in a row bring 16 of 45 cubes that were moved to their place, five driven ones 70
of 93.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from envs.arms.safety import SafeArm
from envs.episodes import Episode
from envs.pose import compose
from envs.spec import Goal
from envs.tasks.expert import Action
from envs.tasks.ogbench import STEPS, OgbenchArm, Variant, cube_limits

GOAL_STEPS = 25
"""Control steps from a start to its goal in the protocol of stable-worldmodel; the budget is twice that, 10 actions."""

_STACKING: dict[Variant, float] = {"single": 0.0, "double": 0.25}  # OGBench's largest shares of targets on a cube
_NOISE = np.array([1.0, 1.0, 1.0, 3.0, 10.0])  # OGBench's, of its five action dimensions' ranges, at 20 Hz
_GAINS = np.array([5.0, 5.0, 5.0, 3.0, 1.0])  # OGBench's, from what is missing [m, rad] to its actions
_LEAST = 0.4  # OGBench's: its script never goes slower
_LIFTED = 0.05  # m, a cube's centre; it lies at 0.02
_CUBE_THERE, _HAND_THERE = 0.02, 0.04  # m, OGBench's: where its script takes something to be where it shall be
_IN_HAND = 0.03  # m from the hand to the centre of a cube that it holds
_GIVEN_UP = 30  # actions to bring one cube to its target


@dataclass(frozen=True)
class CubePlayConfig:
    """What an episode of OGBench's scripted play is like.

    Attributes:
        variant: How many cubes there are.
        frames: Frames in an episode; one action fewer. 41 are OGBench's 200 control steps, the peers' episodes.
        driven: Share of episodes in which the script decides once an action.
        lead_in: Most control steps (0.05 s) that it decides 20 times a second before a driven episode begins. Without,
            no recording shows what to do in the middle of what the 20 Hz script does, where the protocol's starts are.
        noise: Largest noise, as a share of the actions' range; each episode draws its own up to this.
        random_actions: Share of decisions that are drawn from the actions' range instead.

    Raises:
        ValueError: If a number is out of its range.
    """

    variant: Variant = "single"
    frames: int = 41
    driven: float = 1.0
    lead_in: int = 0
    noise: float = 0.1
    random_actions: float = 0.0

    def __post_init__(self) -> None:
        if self.variant not in _STACKING:
            raise ValueError(f"variant must be one of {sorted(_STACKING)}, got {self.variant!r}")
        if self.frames < 2:
            raise ValueError(f"an episode needs at least 2 frames, got {self.frames}")
        if min(self.noise, self.lead_in) < 0 or not (0 <= self.driven <= 1 and 0 <= self.random_actions <= 1):
            raise ValueError(
                "noise and lead_in must be >= 0, driven and random_actions in [0, 1], got "
                f"{self.noise}, {self.lead_in}, {self.driven} and {self.random_actions}"
            )


class CubeScript:
    """One episode of OGBench's scripted play; the same seed acts the same.

    Attributes:
        driven: Whether the script decides once an action, and not 20 times a second.
    """

    def __init__(self, arm: OgbenchArm, config: CubePlayConfig, seed: int) -> None:
        """Resets the arm and its cubes at random.

        Args:
            arm: Of the config's variant, not for tasks.
            config: What play is like.
            seed: Seed of everything random.
        """
        from ogbench.manipspace.oracles.markov.cube_markov import (  # pyright: ignore[reportMissingImports]
            CubeMarkovOracle,
        )

        self._arm, self._env, self._config = arm, arm.env, config
        self._generator = np.random.default_rng(seed)
        self.driven = bool(self._generator.random() < config.driven)
        self._noise = self._generator.uniform(0.0, config.noise)
        self._stacking = self._generator.uniform(0.0, _STACKING[config.variant])
        self._oracle = CubeMarkovOracle(env=self._env)
        _, self._info = self._env.reset(seed=int(self._generator.integers(2**31)))
        self._begin()
        if self.driven:
            for _ in range(self._generator.integers(config.lead_in + 1)):
                self.step()

    def step(self) -> None:
        """Decides and executes one control step of OGBench (0.05 s)."""
        action = self._decide(_LEAST)
        action = np.clip(action + self._generator.normal(0.0, 1.0, 5) * self._noise * _NOISE, -1.0, 1.0)
        if self._generator.random() < self._config.random_actions:
            action = self._generator.uniform(-1.0, 1.0, 5)
        self._env.step(action)
        self.look()

    def action(self) -> Action:
        """Returns a whole action that makes good what the script misses: for a driven episode, `look` after it."""
        spec, decision = self._arm.action_spec, self._decide(0.0) / _GAINS
        low, high = np.array(spec.low), np.array(spec.high)
        action = np.zeros(7)
        action[[0, 1, 2, 5]], action[6] = decision[:4], np.sign(decision[4]) * high[6]
        action += self._generator.normal(0.0, 1.0, 7) * self._noise * high
        if self._generator.random() < self._config.random_actions:
            action = self._generator.uniform(low, high)
        return np.clip(action, low, high)

    def bring(self, hand: Float[np.ndarray, "7"]) -> Iterator[Action]:
        """Yields actions that bring the cubes to the arm's targets, one after another, and then the hand to its own.

        A cube that lies where the hand shall be comes last, and is not let go of.

        Args:
            hand: The pose (7,) where the hand shall be [m, rad, 1].
        """
        targets = self._arm.targets()
        from_hand = np.linalg.norm(targets - hand[:3], axis=1)
        order = np.argsort(-from_hand)
        for cube in order:
            self._env._target_block = int(cube)
            self._begin()
            self._oracle._final_pos, self._oracle._final_yaw = hand[:3], hand[5]
            for _ in range(_GIVEN_UP):
                self._info = self._env.compute_ob_info()
                there = np.linalg.norm(self._arm.cubes()[cube] - targets[cube]) < _CUBE_THERE
                held = from_hand[cube] < _IN_HAND and self._info["proprio/gripper_contact"][0] > 0
                arrived = np.linalg.norm(self._arm.pose()[:3] - hand[:3]) < _HAND_THERE
                if there and (held or arrived or cube != order[-1]):
                    break
                yield self.action()

    def play(self) -> Iterator[Action]:
        """Yields the actions of a driven script that begins with another target, without an end."""
        self._aim_elsewhere()
        while True:
            yield self.action()
            self.look()

    def ahead(self, steps: int = GOAL_STEPS) -> tuple[Goal, Float[np.ndarray, "cubes 7"]]:
        """Returns what the 20 Hz script would see so many steps later as a goal, and its cubes; puts all back."""
        start = self._arm.state()
        for _ in range(steps):
            self.step()
        seen, cubes = self._arm.observe(), self._arm.cube_poses()
        self._arm.restore(start)
        self._info = self._env.compute_ob_info()
        return Goal(seen.image, seen.pose), cubes

    def look(self) -> None:
        """Sees what has become of a decision; a cube that is where it should be gets another target."""
        self._info = self._env.compute_ob_info()
        if self._oracle.done:
            self._aim_elsewhere()

    def _aim_elsewhere(self) -> None:
        _, self._info = self._env.set_new_target(p_stack=self._stacking)
        self._begin()

    def _decide(self, least: float) -> Float[np.ndarray, "5"]:
        """Returns OGBench's action; what is missing counts as this much at least, see `_LEAST`."""
        self._oracle._min_norm = least
        return np.asarray(self._oracle.select_action(None, self._info))

    def _begin(self) -> None:
        with _seeded_numpy(int(self._generator.integers(2**32))):
            self._oracle.reset(None, self._info)


def record_cube_play(arm: OgbenchArm, config: CubePlayConfig, seed: int) -> Episode:
    """Returns one episode of play; the same seed gives the same episode.

    Actions are the differences of the *measured* poses, not the commands. ``extra`` counts how often a cube was lifted.

    Args:
        arm: Of the config's variant, not for tasks; it is reset.
        config: What play is like.
        seed: Seed of everything random in the episode; from `envs.spec.HELD_OUT` on it is for evaluation.
    """
    script, driver = CubeScript(arm, config, seed), SafeArm(arm, cube_limits())
    observations, heights = [driver.observe()], [arm.cubes()[:, 2]]
    while len(observations) < config.frames:
        if script.driven:
            target = compose(observations[-1].pose, script.action())
            driver.command(target[:6], float(target[6]), arm.action_spec.period)
            script.look()
        else:
            for _ in range(STEPS):
                script.step()
        observations.append(driver.observe())
        heights.append(arm.cubes()[:, 2])
    task = f"OGBench cube-{config.variant}{', driven' if script.driven else ''}"
    extra = {"lifts": _lifts(np.stack(heights))}
    return Episode.from_observations(observations, arm.action_spec, task, seed, extra)


def _lifts(heights: Float[np.ndarray, "T cubes"]) -> int:
    """Returns how often a cube has come off the floor."""
    lifted = heights > _LIFTED
    return int(np.count_nonzero(lifted[1:] & ~lifted[:-1]))


@contextmanager
def _seeded_numpy(seed: int) -> Iterator[None]:
    """Seeds NumPy's global generator, which OGBench's scripts draw from, and puts it back."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
