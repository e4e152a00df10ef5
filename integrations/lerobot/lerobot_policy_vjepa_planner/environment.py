"""The simulated tasks of vjepa-planner as environments of LeRobot's evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium
import numpy as np
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig

IMAGE = 168
POSE = 7


@EnvConfig.register_subclass("vjepa_tasks")
@dataclass
class VjepaTasksConfig(EnvConfig):
    """One of the simulated tasks; needs vjepa-planner's simulation beside LeRobot.

    Attributes:
        task: Such as FrankaPush-v0.
        fps: Actions a second.
        episode_length: Actions an episode has at most.
    """

    task: str | None = "FrankaPush-v0"
    fps: int = 4
    episode_length: int = 25
    features: dict[str, PolicyFeature] = field(
        default_factory=lambda: {
            "action": PolicyFeature(FeatureType.ACTION, (POSE,)),
            "agent_pos": PolicyFeature(FeatureType.STATE, (POSE,)),
            "pixels/camera": PolicyFeature(FeatureType.VISUAL, (IMAGE, IMAGE, 3)),
            "pixels/goal": PolicyFeature(FeatureType.VISUAL, (IMAGE, IMAGE, 3)),
        }
    )
    features_map: dict[str, str] = field(
        default_factory=lambda: {
            "action": "action",
            "agent_pos": "observation.state",
            "pixels/camera": "observation.images.camera",
            "pixels/goal": "observation.images.goal",
        }
    )

    @property
    def package_name(self) -> str:
        """What registers the environment."""
        return "lerobot_policy_vjepa_planner"

    @property
    def gym_id(self) -> str:
        """Of the environment."""
        return f"{self.package_name}/Task-v0"

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Its settings."""
        return {"task": self.task, "max_episode_steps": self.episode_length}


class LeRobotTask(gymnasium.Env):
    """A task with one goal image, in LeRobot's terms: the goal is a second camera's image.

    The episode ends with its success, as LeRobot's evaluation counts it: "ever".
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(self, task: str, render_mode: str = "rgb_array") -> None:
        import envs.tasks  # noqa: F401 (registers them)

        self._env = gymnasium.make(f"envs/{task}", disable_env_checker=True, image_size=IMAGE)
        self.task, self.task_description, self.render_mode = task, f"{task}: what the goal image shows", render_mode
        self.action_space = self._env.action_space
        image = gymnasium.spaces.Box(0, 255, (IMAGE, IMAGE, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict(
            {
                "pixels": gymnasium.spaces.Dict({"camera": image, "goal": image}),
                "agent_pos": gymnasium.spaces.Box(-np.inf, np.inf, (POSE,), np.float64),
            }
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """See `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        seen, info = self._env.reset(seed=seed, options=options)
        self._goal = info["goals"][-1].image
        return self._told(seen), {"is_success": bool(info["success"])}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """See `gymnasium.Env.step`."""
        seen, _, _, truncated, info = self._env.step(np.asarray(action, np.float64))
        done = bool(info["success"])
        return self._told(seen), float(done), done, bool(truncated), {"is_success": done}

    def render(self) -> np.ndarray:
        """Returns what the camera sees."""
        return self._seen

    def close(self) -> None:
        """See `gymnasium.Env.close`."""
        self._env.close()

    def _told(self, seen: dict[str, np.ndarray]) -> dict[str, Any]:
        """Returns an observation in LeRobot's terms."""
        self._seen = seen["image"]
        return {"pixels": {"camera": seen["image"], "goal": self._goal}, "agent_pos": np.array(seen["pose"])}


gymnasium.register("lerobot_policy_vjepa_planner/Task-v0", f"{__name__}:LeRobotTask", disable_env_checker=True)
