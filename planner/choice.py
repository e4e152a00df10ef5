"""Every planner by the name that a configuration gives it."""

from __future__ import annotations

from planner.base import Planner
from planner.first_guess import FirstGuess, FirstGuessConfig
from planner.gradient import Gradient, GradientConfig
from planner.hybrid import Hybrid, HybridConfig, make_sampling_planner
from planner.official_cem import OfficialCEM, OfficialCEMConfig
from planner.planner_config import PlannerConfig


def make_planner(config: PlannerConfig) -> Planner:
    """Returns the planner that a configuration describes."""
    match config:
        case OfficialCEMConfig():
            return OfficialCEM(config)
        case GradientConfig():
            return Gradient(config)
        case HybridConfig():
            return Hybrid(config)
        case FirstGuessConfig():
            return FirstGuess(config)
        case _:
            return make_sampling_planner(config)
