"""What LeRobot does to observations and actions around the policy: hardly anything, the planner knows its units."""

from __future__ import annotations

from typing import Any

from lerobot.processor import (
    AddBatchDimensionProcessorStep,
    DeviceProcessorStep,
    PolicyAction,
    PolicyProcessorPipeline,
    RenameObservationsProcessorStep,
)
from lerobot.processor.converters import policy_action_to_transition, transition_to_policy_action
from lerobot.utils.constants import POLICY_POSTPROCESSOR_DEFAULT_NAME, POLICY_PREPROCESSOR_DEFAULT_NAME

from lerobot_policy_vjepa_planner.configuration_vjepa_planner import VjepaPlannerConfig

Observations = PolicyProcessorPipeline[dict[str, Any], dict[str, Any]]
Actions = PolicyProcessorPipeline[PolicyAction, PolicyAction]


def make_vjepa_planner_pre_post_processors(
    config: VjepaPlannerConfig, dataset_stats: dict[str, Any] | None = None
) -> tuple[Observations, Actions]:
    """Returns the steps before and after the policy; statistics of a dataset do not matter, nothing is normalised."""
    before = [
        RenameObservationsProcessorStep(rename_map={}),
        AddBatchDimensionProcessorStep(),
        DeviceProcessorStep(device=config.device or "cpu"),
    ]
    after = [DeviceProcessorStep(device="cpu")]
    return (
        Observations(steps=before, name=POLICY_PREPROCESSOR_DEFAULT_NAME),
        Actions(
            steps=after,
            name=POLICY_POSTPROCESSOR_DEFAULT_NAME,
            to_transition=policy_action_to_transition,
            to_output=transition_to_policy_action,
        ),
    )
