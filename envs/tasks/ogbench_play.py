"""OGBench's own scripted play: a cube is picked up and put elsewhere, a button pressed, a drawer or window moved.

One such thing is done after another, each by a script of its own. These are OGBench's closed-loop ones with Gaussian
noise on the actions (its "noisy" datasets, and the peers' data). They decide either 20 times a second, as OGBench's
data was made, or once an action, which is then carried out as a planner's actions are ("driven"). A planner at 4 Hz
should learn from the second: in a quarter second of the first the fingers close and then rise, and the measured
difference does not tell that from both at once. Replayed from where they were recorded, five such differences in a row
bring 16 of 45 cubes that were moved to their place; driven ones bring 27 of 28.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from envs.arms.safety import SafeArm
from envs.episodes import Episode
from envs.pose import compose
from envs.spec import Goal, Observation
from envs.tasks.expert import Action
from envs.tasks.ogbench import STEPS, Arrangement, OgbenchArm, Variant, ogbench_limits

GOAL_STEPS = 25
"""Control steps from a start to its goal in the protocol of stable-worldmodel; the budget is twice that, 10 actions."""

_STACKING: dict[Variant, float] = {"single": 0.0, "double": 0.25, "scene": 0.0}  # OGBench's most targets on a cube
_NOISE = np.array([1.0, 1.0, 1.0, 3.0, 10.0])  # OGBench's, of its five action dimensions' ranges, at 20 Hz
_GAINS = np.array([5.0, 5.0, 5.0, 3.0, 1.0])  # OGBench's, from what is missing [m, rad] to its actions
_LEAST = 0.4  # OGBench's: its script never goes slower
_LIFTED = 0.05  # m, a cube's centre; it lies at 0.02
_DRIVEN_LEAST = {"drawer": 0.04, "window": 0.04}  # m: so far do fingers go on that a handle has play between
_OTHER_SEED = 2**32  # beyond those that episodes are asked for by


@dataclass(frozen=True)
class OgbenchPlay:
    """What an episode of OGBench's scripted play is like: a `BenchmarkPlay`.

    Attributes:
        kind: See `BenchmarkPlay`.
        variant: What is played with: so many cubes, or the scene.
        frames: Frames in an episode; one action fewer. 41 are OGBench's 200 control steps, the peers' episodes.
        driven: Share of episodes in which the script decides once an action.
        lead_in: Most control steps (0.05 s) that it decides 20 times a second before a driven episode begins. Without,
            no recording shows what to do in the middle of what the 20 Hz script does, where the protocol's starts are.
        noise: Largest noise, as a share of the actions' range; each episode draws its own up to this.
        random_actions: Share of decisions that are drawn from the actions' range instead, but for a lead-in's.

    Raises:
        ValueError: If a number is out of its range.
    """

    kind: str = "ogbench"
    variant: Variant = "single"
    frames: int = 41
    driven: float = 1.0
    lead_in: int = 0
    noise: float = 0.1
    random_actions: float = 0.0
    robot_type: ClassVar[str] = "ur5e-ogbench"

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

    @contextmanager
    def recorder(self, image_size: int) -> Iterator[Callable[[int], Episode]]:
        """See `BenchmarkPlay.recorder`."""
        with closing(OgbenchArm(self.variant, image_size=image_size)) as arm:
            yield lambda seed: record_ogbench_play(arm, self, seed)


class OgbenchScript:
    """One episode of OGBench's scripted play; the same seed acts the same.

    Attributes:
        driven: Whether the script decides once an action, and not 20 times a second.
    """

    def __init__(self, arm: OgbenchArm, config: OgbenchPlay, seed: int) -> None:
        """Resets the arm and all that is before it at random.

        Args:
            arm: Of the config's variant, not for tasks.
            config: What play is like.
            seed: Seed of everything random.
        """
        self.arm, self._env, self._config = arm, arm.env, config
        self._generator = np.random.default_rng(seed)
        self.driven = bool(self._generator.random() < config.driven)
        self._noise = self._generator.uniform(0.0, config.noise)
        self._stacking = self._generator.uniform(0.0, _STACKING[config.variant])
        self._scripts = _scripts(self._env)
        _, self._info = self._env.reset(seed=int(self._generator.integers(2**31)))
        self._begin()
        if self.driven:
            for _ in range(self._generator.integers(config.lead_in + 1)):
                self.step(random_actions=0.0)

    def step(self, random_actions: float | None = None) -> None:
        """Decides and executes one control step of OGBench (0.05 s).

        Args:
            random_actions: Share of decisions that are drawn instead; None for the play's.
        """
        action = self._decide(self._info, _LEAST)
        action = np.clip(action + self._generator.normal(0.0, 1.0, 5) * self._noise * _NOISE, -1.0, 1.0)
        if self._generator.random() < (self._config.random_actions if random_actions is None else random_actions):
            action = self._generator.uniform(-1.0, 1.0, 5)
        self._env.step(action)
        self.look()

    def action(self, told: Mapping[str, Any] | None = None) -> Action:
        """Returns a whole action that makes good what the script misses: for a driven episode, `look` after it.

        Args:
            told: Of OGBench's privileged information, what the script is to take for true instead.
        """
        spec, info = self.arm.action_spec, told or self._info
        name = info["privileged/target_task"]
        self._scripts[name]._step += STEPS - 1  # counts OGBench's control steps
        decision = self._decide(info, _DRIVEN_LEAST.get(name, 0.0)) / _GAINS
        low, high = np.array(spec.low), np.array(spec.high)
        action = np.zeros(7)
        action[[0, 1, 2, 5]], action[6] = decision[:4], np.sign(decision[4]) * high[6]
        action += self._generator.normal(0.0, 1.0, 7) * self._noise * high
        if self._generator.random() < self._config.random_actions:
            action = self._generator.uniform(low, high)
        return np.clip(action, low, high)

    def play(self) -> Iterator[Action]:
        """Yields the actions of a driven script that begins with something else, without an end."""
        self._aim_elsewhere()
        while True:
            yield self.action()
            self.look()

    def ahead(self, steps: int = GOAL_STEPS) -> tuple[Goal, Arrangement]:
        """Returns what the 20 Hz script would see so many steps later as a goal, and where all is then.

        The simulation is put back; what the script draws and does next is not.
        """
        start = self.arm.state()
        for _ in range(steps):
            self.step()
        seen, there = self.arm.observe(), self.arm.arrangement()
        self.arm.restore(start)
        self._info = self._env.compute_ob_info()
        return Goal(seen.image, seen.pose), there

    def look(self) -> None:
        """Sees what has become of a decision; what is done, or has taken too long, is followed by something else."""
        self._info = self._env.compute_ob_info()
        script = self._scripts[self._info["privileged/target_task"]]
        if script.done or script._step >= script._max_step:
            self._aim_elsewhere()

    def _aim_elsewhere(self) -> None:
        _, self._info = self._env.set_new_target(p_stack=self._stacking)
        self._begin()

    def _decide(self, info: Mapping[str, Any], least: float) -> Float[np.ndarray, "5"]:
        """Returns OGBench's action; what is missing counts as this much at least, see `_LEAST`."""
        script = self._scripts[info["privileged/target_task"]]
        script._min_norm = least
        return np.asarray(script.select_action(None, info))

    def begin(self, name: str, end: Float[np.ndarray, "3"], yaw: float) -> None:
        """Begins one of OGBench's scripts, see `_scripts`; in the end the hand goes to a place [m] and yaw [rad]."""
        self._begin(name)
        self._scripts[name]._final_pos, self._scripts[name]._final_yaw = end, yaw

    def _begin(self, name: str | None = None) -> None:
        with _seeded_numpy(int(self._generator.integers(2**32))):
            self._scripts[name or self._info["privileged/target_task"]].reset(None, self._info)


def record_ogbench_play(arm: OgbenchArm, config: OgbenchPlay, seed: int) -> Episode:
    """Returns one episode of play; the same seed gives the same episode.

    Actions are the differences of the *measured* poses, not the commands. ``extra`` counts how often a cube was lifted,
    in the scene also how often a button was pressed, and how far drawer and window went [m]. As by OGBench, an episode
    of the scene in which a cube gets out of sight is played anew.

    Args:
        arm: Of the config's variant, not for tasks; it is reset.
        config: What play is like.
        seed: Seed of everything random in the episode; from `envs.spec.HELD_OUT` on it is for evaluation.
    """
    for again in count():
        observations, there, driven = _play(arm, config, seed + again * _OTHER_SEED)
        if not any(arrangement.hides_a_cube() for arrangement in there):
            break
    name = config.variant if config.variant == "scene" else f"cube-{config.variant}"
    task = f"OGBench {name}{', driven' if driven else ''}"
    return Episode.from_observations(observations, arm.action_spec, task, seed, _done(there))


def _play(arm: OgbenchArm, config: OgbenchPlay, seed: int) -> tuple[list[Observation], list[Arrangement], bool]:
    """Returns what is seen in an episode, where everything is, and whether the script decided once an action."""
    script, driver = OgbenchScript(arm, config, seed), SafeArm(arm, ogbench_limits())
    observations, there = [driver.observe()], [arm.arrangement()]
    while len(observations) < config.frames:
        if script.driven:
            target = compose(observations[-1].pose, script.action())
            driver.command(target[:6], float(target[6]), arm.action_spec.period)
            script.look()
        else:
            for _ in range(STEPS):
                script.step()
        observations.append(driver.observe())
        there.append(arm.arrangement())
    return observations, there, script.driven


def _done(there: list[Arrangement]) -> dict[str, Any]:
    """Returns what was done in an episode."""
    lifted = np.stack([arrangement.cubes[:, 2] for arrangement in there]) > _LIFTED
    done = {"lifts": int(np.count_nonzero(lifted[1:] & ~lifted[:-1]))}
    if not len(there[0].slides):
        return done
    buttons, slides = (np.stack([getattr(one, name) for one in there]) for name in ("buttons", "slides"))
    drawer, window = np.abs(np.diff(slides, axis=0)).sum(axis=0)
    return done | {
        "presses": int(np.abs(np.diff(buttons, axis=0)).sum()),
        "drawer": round(float(drawer), 3),
        "window": round(float(window), 3),
    }


def _scripts(env: Any) -> dict[str, Any]:
    """Returns OGBench's closed-loop scripts by what they do, as it names them."""
    from ogbench.manipspace.oracles.markov import (  # pyright: ignore[reportMissingImports]
        button_markov,
        cube_markov,
        drawer_markov,
        window_markov,
    )

    return {
        "cube": cube_markov.CubeMarkovOracle(env=env),
        "button": button_markov.ButtonMarkovOracle(env=env),
        "drawer": drawer_markov.DrawerMarkovOracle(env=env),
        "window": window_markov.WindowMarkovOracle(env=env),
    }


@contextmanager
def _seeded_numpy(seed: int) -> Iterator[None]:
    """Seeds NumPy's global generator, which OGBench's scripts draw from, and puts it back."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
