"""What adapters to public benchmarks share: an arm over a benchmark's own MuJoCo environment (extra `benchmarks`)."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float, UInt8

from envs.arms.base import Arm, ArmEnv
from envs.simulation.state import put_state, take_state
from envs.spec import ActionSpec, Observation

_LARGEST_RENDERING = 1280


class BenchmarkError(ValueError):
    """A benchmark's package is not installed."""


def needs_extra(benchmark: str, error: ModuleNotFoundError) -> BenchmarkError:
    """Returns what to raise where a benchmark's package is missing."""
    return BenchmarkError(f"{benchmark} needs the extra 'benchmarks': pip install -e '.[benchmarks]' ({error})")


class BenchmarkArm:
    """An `Arm` over a benchmark's MuJoCo environment, which has a ``model`` and ``data``.

    Time is simulated and moves only during `command`. Subclasses say where the hand is and how it moves.

    Attributes:
        env: The benchmark's environment.
        action_spec: What an action means here.
        image_shape: (height, width, 3) of its observations.
    """

    def __init__(
        self, env: Any, action_spec: ActionSpec, camera: str | mujoco.MjvCamera, image_size: int = 128
    ) -> None:
        """Takes the simulation over.

        Args:
            env: The benchmark's environment.
            action_spec: What an action means here.
            camera: One of the model's by name, or any other.
            image_size: Edge of the square observation image [pixels].
        """
        self.env, self.action_spec = env, action_spec
        self.image_shape = (image_size, image_size, 3)
        self._camera, self._renderers = camera, dict[int, mujoco.Renderer]()
        env.model.vis.quality.offsamples = 0
        env.model.vis.global_.offwidth = env.model.vis.global_.offheight = _LARGEST_RENDERING

    def connect(self) -> None:
        """See `Arm.connect`. The simulation is always there."""

    def observe(self) -> Observation:
        """See `Arm.observe`."""
        return Observation(self.render(self.image_shape[0]), self.pose(), float(self.env.data.time))

    def pose(self) -> Float[np.ndarray, "7"]:
        """Returns the measured pose (7,) [m, rad, 1]."""
        raise NotImplementedError

    def command(self, target_pose: Float[np.ndarray, "6"], gripper: float, duration: float) -> Float[np.ndarray, "7"]:
        """See `Arm.command`."""
        raise NotImplementedError

    def stop(self) -> None:
        """See `Arm.stop`. The simulation stands still between commands."""

    def close(self) -> None:
        """See `Arm.close`."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def render(self, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """Returns the camera's image at any size, without shadows and antialiasing (6 times faster on a CPU)."""
        if size not in self._renderers:
            self._renderers[size] = mujoco.Renderer(self.env.model, size, size)
        renderer = self._renderers[size]
        renderer.update_scene(self.env.data, camera=self._camera)
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        return renderer.render()

    def state(self) -> Float[np.ndarray, "D"]:
        """Returns everything that the simulation goes on from."""
        return take_state(self.env.model, self.env.data)

    def restore(self, state: Float[np.ndarray, "D"]) -> None:
        """Puts the simulation back to where `state` was taken."""
        put_state(self.env.model, self.env.data, state)


class BenchmarkEnv(ArmEnv):
    """A task of a benchmark. ``render`` shows the camera's view at ``render_size``."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012 (gymnasium's own convention)

    def __init__(self, arm: BenchmarkArm, safe: Arm, render_mode: str | None, render_size: int) -> None:
        """Takes an arm.

        Args:
            arm: What is drawn.
            safe: The same, within its limits.
            render_mode: "rgb_array" or None.
            render_size: Edge of what ``render`` returns [pixels].
        """
        self.render_mode, self.render_size = render_mode, render_size
        self._drawn = arm
        super().__init__(safe)

    def render(self) -> UInt8[np.ndarray, "size size 3"] | None:
        """Returns the camera's image at ``render_size``, or None without a render mode."""
        return self._drawn.render(self.render_size) if self.render_mode == "rgb_array" else None
