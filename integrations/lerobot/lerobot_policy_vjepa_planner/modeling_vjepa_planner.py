"""The policy: LeRobot's observations to a plan server, its plans to LeRobot's actions."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor

from envs.arms.remote.client import PlanClient
from envs.pictures import read_picture
from envs.spec import ActionSpec, Goal, Observation, SpecError
from lerobot_policy_vjepa_planner.configuration_vjepa_planner import UNTRAINED, VjepaPlannerConfig
from lerobot_policy_vjepa_planner.units import Units

_EARLY = 0.7  # share of a control period after which the next action may be asked for at the earliest


class VjepaPlannerPolicy(PreTrainedPolicy):
    """Asks a plan server for what to do, one observation at a time.

    It has no weights of its own: what is saved and loaded are its settings. The server's process has the world model,
    so that its versions of torch and Python and LeRobot's need not agree, and may be on another machine.

    Attributes:
        units: What the robot's numbers mean.
    """

    config_class = VjepaPlannerConfig  # type: ignore[assignment] (LeRobot declares both as None)
    name = "vjepa_planner"  # type: ignore[assignment]

    def __init__(self, config: VjepaPlannerConfig, dataset_meta: Any = None, **given: Any) -> None:
        """Connects to the server.

        Args:
            config: Its settings, with the features of the robot or the environment.
            dataset_meta: Of the dataset that is recorded, where there is one: it tells names and rate.
            given: What else LeRobot's factory passes; nothing of it matters here.

        Raises:
            ValueError: If observations or actions are not what the checkpoint knows, or a photograph cannot be read.
            ServerError: If there is no plan server, or it lets nobody in.
        """
        super().__init__(config)
        config.validate_features()
        self.config: VjepaPlannerConfig = config
        self.register_buffer("settings_alone", torch.zeros(1))  # safetensors keeps no empty file
        self._photographs = [Goal(read_picture(Path(path))[0]) for path in config.goals]
        self._client = PlanClient(config.url, config.token, config.timeout)
        told, (opened, closed) = self._client.metadata, config.gripper
        self.units = Units(ActionSpec.from_dict(told["action_spec"]), config.degrees, (opened, closed))
        spec = self.units.spec
        for feature in (config.action_feature, config.robot_state_feature):
            if feature is not None and tuple(feature.shape) != (spec.size,):
                raise SpecError(
                    f"the checkpoint {told['checkpoint']} has poses and actions of {spec.size} numbers "
                    f"({', '.join(spec.names)}; frame {spec.frame}), LeRobot's have the shape {tuple(feature.shape)}: "
                    "take a checkpoint that was trained for this robot"
                )
        if told["goal_pose"]:
            raise ValueError("the plan server weighs the goal's pose, and LeRobot has none: objective.pose_weight: 0")
        if dataset_meta is not None:
            self.units.check_robot(dataset_meta.features["action"]["names"], dataset_meta.fps)
        self.reset()

    def reset(self) -> None:
        """Forgets the episode; the next observation begins another."""
        self._begun = False
        self._asked = -np.inf  # when the last action was asked for [s]
        self._waiting: deque[Tensor] = deque()

    def select_action(self, batch: dict[str, Tensor], **given: Any) -> Tensor:
        """Returns the next action (1, A); a plan is asked for when the last one's actions are done.

        Args:
            batch: One observation, (1, ...): images are (1, 3, h, w) in 0..1.
            given: Nothing of it matters here.

        Raises:
            ValueError: If there is more than one observation, the state is no pose of the checkpoint's, or actions are
                asked for faster than the checkpoint acts.
            ServerError: If the server has no plan, left or took too long.
        """
        self._check_rate(time.monotonic())
        if not self._waiting:
            self._waiting.extend(self.predict_action_chunk(batch)[0, : self.config.execute])
        return self._waiting.popleft()[None]

    def predict_action_chunk(self, batch: dict[str, Tensor], **given: Any) -> Tensor:
        """Returns a whole plan (1, H, A); see `select_action`."""
        config, pose = self.config, batch[self.config.state]
        if len(pose) != 1:
            raise ValueError(f"a plan server plans for one arm at a time, got {len(pose)} (--eval.batch_size=1)")
        start = self.units.to_pose(pose[0].double().cpu().numpy())
        if not self._begun:
            goals = self._photographs or [Goal(_image(batch[config.goal]))]
            self._client.reset(goals, config.seed)
            self._begun = True
        plan = self._client.infer(Observation(_image(batch[config.camera]), start, time.monotonic()))
        actions = np.asarray(plan["actions"])
        turned = self.units.to_targets(start, actions) if config.action == "target" else self.units.to_changes(actions)
        return torch.from_numpy(turned).float()[None]

    def _check_rate(self, now: float) -> None:
        """Returns if the next action may be asked for at a time [s]: a target that comes early makes the arm faster."""
        period, passed, self._asked = self.units.spec.period, now - self._asked, now
        if self.config.real_time and passed < _EARLY * period:
            raise SpecError(
                f"the checkpoint acts every {period:g} s, LeRobot asks every {passed:.2g} s: run with "
                f"--fps={self.units.spec.rate:g}"
            )

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict | None]:
        """Raises NotImplementedError: it is not trained here."""
        raise NotImplementedError(UNTRAINED)

    def get_optim_params(self) -> dict:
        """Raises NotImplementedError: it is not trained here."""
        raise NotImplementedError(UNTRAINED)


def _image(image: Tensor) -> np.ndarray:
    """Returns an image (1, 3, h, w) in 0..1 as (h, w, 3) uint8."""
    return (image[0].float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
