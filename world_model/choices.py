"""Words that settings choose by."""

from __future__ import annotations

from typing import Literal

Precision = Literal["auto", "bf16", "fp32"]

GoalPose = Literal["seen", "told", "open"]
"""Where the arm is to be in the end: as is seen in the goal image, as the goal says, or wherever it likes."""

GoalThing = Literal["seen", "kept"]
"""Where the thing is to be in the end: as is seen in the goal image, or where it is now."""
