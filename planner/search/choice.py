"""A planner from the settings that a configuration gives it."""

from __future__ import annotations

from envs.config import Choice
from planner.base import Planner
from planner.search.planner_config import PLANNERS, PlannerConfig, PlannerSettings

__all__ = ["PlannerConfig", "make_planner"]


def make_planner(settings: PlannerSettings) -> Planner:
    """Returns the planner that settings describe."""
    return Choice("algorithm", PLANNERS).make(settings)
