"""When there is nothing to act on: a model or a cost that gives no numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from planner.base import Plan
from world_model.finite import not_finite


class NoPlanError(ValueError):
    """No action sequence has a finite cost, so there is nothing to act on."""


def check_plan(plan: Plan, parts: Mapping[str, Tensor]) -> None:
    """Returns if a plan's cost and actions are finite.

    Args:
        plan: What a planner found.
        parts: What it was made from, by the names that a reader knows them by.

    Raises:
        NoPlanError: If not, naming the parts that are not finite either.
    """
    if math.isfinite(plan.cost) and not not_finite({"actions": plan.actions}):
        return
    broken = not_finite(parts)
    why = f"not finite are {', '.join(broken)}" if broken else "what it was made from is finite: the objective is not"
    raise NoPlanError(
        f"there is no plan: of {plan.evaluations} action sequences the best costs {plan.cost}, and {why}. Nothing is "
        "done. Try precision fp32, and scripts/doctor.py on the checkpoint and the arm"
    )
