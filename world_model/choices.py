"""Words that settings choose by."""

from __future__ import annotations

from typing import Literal

Precision = Literal["auto", "bf16", "fp32"]
