"""The policy: LeRobot's observations to a plan server, its plans to LeRobot's actions."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, NamedTuple

import numpy as np
import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from PIL import Image
from torch import Tensor

from envs.arms.remote.client import PlanClient
from lerobot_policy_vjepa_planner.configuration_vjepa_planner import UNTRAINED, VjepaPlannerConfig


class Seen(NamedTuple):
    """What a plan server takes as an observation, or as a goal if it has no time.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        pose: (P,) physical units; None where it is open.
        time: Of the observation [s].
        mask: Goals have none here.
    """

    image: np.ndarray
    pose: np.ndarray | None = None
    time: float = 0.0
    mask: None = None


class VjepaPlannerPolicy(PreTrainedPolicy):
    """Asks a plan server for what to do, one observation at a time.

    It has no weights of its own: what is saved and loaded are its settings. The server's process has the world model,
    so that its versions of torch and Python and LeRobot's need not agree, and may be on another machine.
    """

    config_class = VjepaPlannerConfig
    name = "vjepa_planner"

    def __init__(self, config: VjepaPlannerConfig, **given: Any) -> None:
        """Connects to the server.

        Args:
            config: Its settings, with the features of the robot or the environment.
            given: What LeRobot's factory passes of datasets; nothing of it matters here.

        Raises:
            ValueError: If observations or actions are not what the checkpoint knows.
            ServerError: If there is no plan server, or it lets nobody in.
        """
        super().__init__(config)
        config.validate_features()
        self.config: VjepaPlannerConfig = config
        self.register_buffer("settings_alone", torch.zeros(1))  # safetensors keeps no empty file
        self._client = PlanClient(config.url, config.token, config.timeout)
        self._spec = self._client.metadata["action_spec"]
        names, units = self._spec["names"], self._spec["units"]
        self._scale = np.array([np.pi / 180 if config.degrees and unit == "rad" else 1.0 for unit in units])
        self._turning = [i for i, unit in enumerate(units) if unit == "rad" and self._spec["frame"] != "joints"]
        for feature in (config.action_feature, config.robot_state_feature):
            if feature is not None and tuple(feature.shape) != (len(names),):
                raise ValueError(
                    f"the checkpoint {self._client.metadata['checkpoint']} has poses and actions of {len(names)} "
                    f"numbers ({', '.join(names)}; frame {self._spec['frame']}), LeRobot's have the shape "
                    f"{tuple(feature.shape)}: take a checkpoint that was trained for this robot"
                )
        self._photographs = [Seen(np.asarray(Image.open(path).convert("RGB"))) for path in config.goals]
        self.reset()

    def reset(self) -> None:
        """Forgets the episode; the next observation begins another."""
        self._begun = False
        self._waiting: deque[Tensor] = deque()

    def select_action(self, batch: dict[str, Tensor], **given: Any) -> Tensor:
        """Returns the next action (1, A); a plan is asked for when the last one's actions are done.

        Args:
            batch: One observation, (1, ...): images are (1, 3, h, w) in 0..1.
            given: Nothing of it matters here.

        Raises:
            ValueError: If there is more than one observation.
            ServerError: If the server has no plan, left or took too long.
        """
        if not self._waiting:
            self._waiting.extend(self.predict_action_chunk(batch)[0, : self.config.execute])
        return self._waiting.popleft()[None]

    def predict_action_chunk(self, batch: dict[str, Tensor], **given: Any) -> Tensor:
        """Returns a whole plan (1, H, A); see `select_action`."""
        config, pose = self.config, batch[self.config.state]
        if len(pose) != 1:
            raise ValueError(f"a plan server plans for one arm at a time, got {len(pose)} (--eval.batch_size=1)")
        start = pose[0].double().cpu().numpy() * self._scale
        if not self._begun:
            goals = self._photographs or [Seen(_image(batch[config.goal]))]
            self._client.reset(goals, config.seed)
            self._begun = True
        plan = self._client.infer(Seen(_image(batch[config.camera]), start, time.monotonic()))
        actions = np.asarray(plan["actions"])
        if config.action == "target":
            actions = self._targets(start, actions)
        return torch.from_numpy(actions / self._scale).float()[None]

    def _targets(self, start: np.ndarray, changes: np.ndarray) -> np.ndarray:
        """Returns the poses that changes (H, A) lead to one after another from a pose (A,)."""
        if not self._turning:
            return start + changes.cumsum(axis=0)
        from envs.pose import compose  # angles of an end effector do not add up

        targets = []
        for change in changes:
            start = compose(start, change)
            targets.append(start)
        return np.stack(targets)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict | None]:
        """Raises NotImplementedError: it is not trained here."""
        raise NotImplementedError(UNTRAINED)

    def get_optim_params(self) -> dict:
        """Raises NotImplementedError: it is not trained here."""
        raise NotImplementedError(UNTRAINED)


def _image(image: Tensor) -> np.ndarray:
    """Returns an image (1, 3, h, w) in 0..1 as (h, w, 3) uint8."""
    return (image[0].float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
