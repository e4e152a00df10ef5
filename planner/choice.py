"""Every planner by the name that a configuration gives it."""

from __future__ import annotations

from planner.base import Planner
from planner.cem import CEM, CEMConfig
from planner.official_cem import OfficialCEM, OfficialCEMConfig

PlannerConfig = CEMConfig | OfficialCEMConfig
"""Settings of a planner; ``algorithm`` in YAML says which."""


def make_planner(config: PlannerConfig) -> Planner:
    """Returns the planner that a configuration describes."""
    match config:
        case CEMConfig():
            return CEM(config)
        case OfficialCEMConfig():
            return OfficialCEM(config)
