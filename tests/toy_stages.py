"""The toy reach with a goal on the way and a stage that is told of."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from toy_reach import ToyReach

from envs.spec import Goal, Observation


class ToyStages(ToyReach):
    """The first goal is half-way; the stage "near" is within 8 cm of the last one."""

    def _reset_task(self, options: dict[str, Any]) -> dict[str, Any]:
        goals = super()._reset_task(options)["goals"]
        start = self.toy.pose.copy()
        self.toy.pose[:3] = (start[:3] + self.goal) / 2
        half_way = self.toy.observe()
        self.toy.pose = start
        return {"goals": [Goal(half_way.image, half_way.pose), *goals]}

    def _report(self, observation: Observation) -> dict[str, Any]:
        told = super()._report(observation)
        return {**told, "stages": {"near": told["distance"] < 0.08, "never": np.bool_(False)}}


if "envs/ToyStages-v0" not in gymnasium.registry:
    gymnasium.register("envs/ToyStages-v0", entry_point="toy_stages:ToyStages")
