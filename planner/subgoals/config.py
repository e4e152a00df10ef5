"""Settings of those that say what is pursued on the way to a goal."""

from __future__ import annotations

from typing import Annotated

from envs.config import Choice, KindSettings
from envs.registry import Registry

SUBGOALS: Registry[type] = Registry(
    "subgoal source",
    {
        "listed": "planner.subgoals.listed:Listed",
        "retrieved": "planner.subgoals.retrieved:Retrieved",
        "generated": "planner.subgoals.generated:Generated",
        "searched": "planner.subgoals.searched:Searched",
    },
)
"""Every source of subgoals by its kind."""


SubgoalsConfig = Annotated[KindSettings, Choice("kind", SUBGOALS)]
"""Settings of a source of subgoals; ``kind`` in YAML says which."""
