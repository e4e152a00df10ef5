"""Which unit joints were recorded in: radians, degrees or LeRobot's -100..100, by their steps, sizes and a model.

An encoder counts 4096 steps a turn, so recorded numbers are multiples of one step: of 360 / 4095 degrees, of 360 / 4096
degrees with LeRobot before June 2025, of 200 / span where it normalised the joint's range of `span` steps. Numbers that
lie on one of these grids and on no other say for certain what they are; smoothed or simulated ones lie on none, and
their sizes and the ranges of the model's joints must tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from envs.episodes.motors import FURTHEST, LARGEST_STEP

Unit = Literal["rad", "deg", "normalised"]
Grid = Literal["deg", "old deg", "normalised"]

_OFF = 0.01  # steps: float32 keeps 3e-4 of one
_TELLING = 12  # different values of a joint from which on its grid is no accident
_ROUNDED = 20  # numbers rounded to 0.05, 0.1, 0.5 or 1 lie on grids of some spans too
_SHARE = 0.995  # of the numbers that must lie on a grid
_SMALLEST_SPAN = 200  # steps: a joint that turns less than 18 degrees is none
_BEYOND = 0.21  # rad, 12 degrees: what a calibration by hand may miss a model's range by
_CLIPPED = 3  # rows at exactly -100 or 100 that are no accident
_LARGEST = 400.0  # degrees; more are steps of an encoder
_INSIDE = (0.001, 0.999)  # quantiles: single wild readings do not count

Fit = Callable[[Float[np.ndarray, "n joints"]], list[str]]
"""Says which joints angles [rad] can't be of, in words; nothing if they can."""


@dataclass(frozen=True)
class Judged:
    """What joints were recorded in.

    Attributes:
        unit: It; None if nothing fits or two units do.
        why: Why that one, or why none, in words.
        certain: Whether it is more than the likelier of two.
        old: Whether it is LeRobot's degrees of before June 2025; None if the numbers do not tell.
    """

    unit: Unit | None
    why: str
    certain: bool = True
    old: bool | None = None


def find_grid(values: Float[np.ndarray, "n joints"]) -> Grid | None:
    """Returns the grid that every joint's numbers lie on; None where they lie on none or too few differ."""
    joints = [np.unique(column) for column in values.T]
    joints = [column for column in joints if len(column) >= _TELLING]
    if not joints or all(_on_grid(column * _ROUNDED) for column in joints):
        return None
    if all(_on_grid(column * LARGEST_STEP / 180) for column in joints):  # the middle of a range may be half a step
        return "deg"
    if all(_on_grid(column * (LARGEST_STEP + 1) / 360) for column in joints):
        return "old deg"
    within = all(np.abs(column).max() <= FURTHEST + 1e-3 for column in joints)
    return "normalised" if within and all(find_span(column) is not None for column in joints) else None


def find_span(values: Float[np.ndarray, "n"]) -> int | None:
    """Returns the fewest encoder steps from -100 to 100 with which all numbers are whole steps; None if none does."""
    different = np.unique(values)
    if len(different) < _TELLING:
        return None
    chosen = different[np.linspace(0, len(different) - 1, min(len(different), 64)).astype(int)]
    for span in range(_SMALLEST_SPAN, LARGEST_STEP + 1):
        if _on_grid((chosen + FURTHEST) * span / (2 * FURTHEST)) and fits_span(different, span):
            return span
    return None


def fits_span(values: Float[np.ndarray, "n"], span: int) -> bool:
    """Returns whether normalised numbers are whole steps of a range that is so many steps long."""
    return _on_grid((values + FURTHEST) * span / (2 * FURTHEST))


def _on_grid(steps: Float[np.ndarray, "n"]) -> bool:
    return bool((np.abs(steps - np.round(steps)) < _OFF).mean() >= _SHARE)


def outside(
    angles: Float[np.ndarray, "n joints"], names: Sequence[str], ranges: Float[np.ndarray, "joints 2"], path: object
) -> list[str]:
    """Returns where angles [rad] leave the ranges of a model's joints by more than a calibration does, in words."""
    low, high = np.quantile(angles, _INSIDE, axis=0)
    return [
        f"{name} would go {np.degrees(a):.0f} .. {np.degrees(b):.0f} degrees, {path} lets it {np.degrees(c):.0f} .. "
        f"{np.degrees(d):.0f}"
        for name, a, b, (c, d) in zip(names, low, high, ranges, strict=True)
        if a < c - _BEYOND or b > d + _BEYOND
    ]


def judge_unit(
    values: Float[np.ndarray, "n joints"], normalises: bool, calibrated: bool, fits: dict[Unit, Fit]
) -> Judged:
    """Returns what unit joints were recorded in.

    Args:
        values: As recorded.
        normalises: Whether the arm is one that LeRobot may have normalised.
        calibrated: Whether the arm's calibration was given: where both fit, it speaks for normalised numbers.
        fits: For each unit, whether a model's joints can take the numbers; without a model always.
    """
    grid, largest = find_grid(values), float(np.abs(values).max())
    if grid in ("deg", "old deg"):
        step = "360 / 4095 degrees" if grid == "deg" else "360 / 4096 degrees, LeRobot's before June 2025"
        return Judged("deg", f"all are whole encoder steps of {step}", old=grid == "old deg")
    if grid == "normalised" and (normalises or largest > 2 * np.pi):
        return Judged("normalised", "all are whole encoder steps of a range from -100 to 100, and of no angle")
    if largest > _LARGEST:
        return Judged(None, f"numbers up to {largest:.0f} are no angles: raw encoder steps?")
    clipped = int((np.abs(values) == FURTHEST).sum())
    if largest <= FURTHEST and clipped >= _CLIPPED and normalises:
        return Judged("normalised", f"{clipped} numbers are exactly -100 or 100, where LeRobot clips normalised joints")
    against = {unit: bad for unit, fit in fits.items() if (bad := fit(values))} | _against(values, normalises)
    left: list[Unit] = [unit for unit in get_args(Unit) if unit not in against]
    said = [f"not {unit}: {'; '.join(reasons)}" for unit, reasons in against.items() if reasons]
    match left:
        case []:
            return Judged(None, "no unit fits. " + ". ".join(said))
        case [unit]:
            return Judged(unit, ". ".join(said) or "nothing else fits")
        case ["rad", *_]:
            return Judged("rad", f"none is over {largest:.2f}")
        case _ if calibrated:
            return Judged("normalised", "degrees fit as well, but the arm's calibration was given")
        case _:
            return Judged("deg", "degrees and LeRobot's -100..100 fit these numbers equally", certain=False)


def _against(values: Float[np.ndarray, "n joints"], normalises: bool) -> dict[Unit, list[str]]:
    """Returns what speaks against each unit by the size of the numbers alone; nothing where it is not worth a word."""
    largest = float(np.abs(values).max())
    found: dict[Unit, list[str]] = {}
    if largest > 2 * np.pi + 1e-3:
        found["rad"] = [f"up to {largest:.4g}"]
    if not normalises:
        found["normalised"] = []
    elif largest > FURTHEST + 1e-3:
        found["normalised"] = [f"up to {largest:.4g}, over 100"]
    return found
