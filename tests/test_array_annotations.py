"""What checks the rooms' array annotations finds wrong shapes and kinds; a slow test runs the core with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float, Int

from tests.array_annotations import checks

ROOT = Path(__file__).resolve().parent.parent


def rolled(actions: Float[np.ndarray, "S H A"], costs: Float[np.ndarray, "S"] | None = None) -> Int[np.ndarray, "S"]:
    return np.zeros(len(actions) - (costs is None and len(actions) == 5), int)


def test_a_letter_is_one_size_within_a_call() -> None:
    checked = checks(rolled)
    checked(np.zeros((3, 2, 7)), np.zeros(3))
    checked(np.zeros((4, 2, 7)), costs=np.zeros(4))  # another call, another size
    with pytest.raises(TypeError, match=r"rolled: costs is float64 \(4,\), annotated Float"):
        checked(np.zeros((3, 2, 7)), np.zeros(4))
    with pytest.raises(TypeError, match=r"return is int64 \(4,\)"):
        checked(np.zeros((5, 2, 7)))


@pytest.mark.parametrize("wrong", [np.zeros((3, 7)), np.zeros((3, 2, 7), int), [[[0.0]]]])
def test_another_shape_or_kind_is_found(wrong: object) -> None:
    with pytest.raises(TypeError, match="actions is"):
        checks(rolled)(wrong)


def test_what_holds_no_arrays_is_left_alone() -> None:
    def plain(text: str) -> int:
        return len(text)

    assert checks(plain) is plain


CORE = (
    "pose", "predictor", "objective", "planners", "cem", "vjepa2_ac", "compact", "controller", "safety", "spec",
    "kinematics", "finite", "pretrain",
)  # fmt: skip
"""Tests of what works on arrays."""


@pytest.mark.slow
def test_the_annotations_of_the_rooms_hold() -> None:
    files = [f"tests/test_{name}.py" for name in CORE]
    command = [sys.executable, "-m", "pytest", "-q", "--check-arrays", "-k", "not real_clock", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
