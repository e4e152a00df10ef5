"""A plan server of vjepa-planner as a policy of LeRobot, and simulated tasks to evaluate it in."""

from lerobot_policy_vjepa_planner.configuration_vjepa_planner import VjepaPlannerConfig
from lerobot_policy_vjepa_planner.environment import VjepaTasksConfig
from lerobot_policy_vjepa_planner.modeling_vjepa_planner import VjepaPlannerPolicy
from lerobot_policy_vjepa_planner.processor_vjepa_planner import make_vjepa_planner_pre_post_processors

__all__ = ["VjepaPlannerConfig", "VjepaPlannerPolicy", "VjepaTasksConfig", "make_vjepa_planner_pre_post_processors"]
