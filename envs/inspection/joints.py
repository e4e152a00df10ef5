"""Joint positions, proposed: their unit and, with a model of the arm, forward kinematics that were seen to fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from envs.episodes import DatasetError
from envs.episodes.kinematics import Chain, read_chain
from envs.episodes.motors import find_motors, from_normalised, read_calibration
from envs.inspection.families import Family, arms_of, base_name, is_old, old_convention
from envs.inspection.survey import Column
from envs.inspection.units import Fit, Judged, Unit, find_grid, fits_span, judge_unit, outside

_KEPT = "~/.cache/huggingface/lerobot/calibration/robots/"
_Ways = dict[str, tuple[Float[np.ndarray, "joints"], Float[np.ndarray, "joints"]]]


@dataclass(frozen=True)
class Hints:
    """What a person says of the arm.

    Attributes:
        model: MJCF or URDF of the arm: end-effector poses are proposed of recorded joints, by forward kinematics.
        site: Of the model, between the fingertips: whose pose it is; or
        body: of the model.
        calibration: LeRobot's calibration file of the arm, for joints that it normalised to -100..100.
        unit: Of recorded joints, where their numbers do not tell.
    """

    model: Path | None = None
    site: str | None = None
    body: str | None = None
    calibration: Path | None = None
    unit: Unit | None = None

    def __post_init__(self) -> None:
        if self.model is None and (self.site or self.body):
            raise ValueError("--site and --body are of a model of the arm: name it with --model ARM.xml")
        if self.unit == "normalised" and self.calibration is None:
            raise ValueError("--unit normalised needs the arm's --calibration FILE.json: it alone makes angles of them")

    @property
    def given(self) -> bool:
        """Whether anything is said."""
        return any(getattr(self, field.name) is not None for field in fields(Hints))


@dataclass(frozen=True)
class Proposed:
    """How joints are to be read.

    Attributes:
        names: Of the joints: the model's, where there is one.
        unit: Of the numbers.
        why: What that was told by.
        certain: Whether it was told.
        signs: Of the joints, where one is not 1.
        offsets: Of the joints [rad], where one is not 0.
        motors: In the calibration file, where they are called otherwise.
        make: Of the motors.
        remarks: What else should be known.
    """

    names: Sequence[str]
    unit: Unit
    why: str
    certain: bool
    signs: list[float] | None = None
    offsets: list[float] | None = None
    motors: list[str] | None = None
    make: Literal["feetech", "dynamixel"] = "feetech"
    remarks: tuple[str, ...] = ()


def propose_joints(recorded: Column, family: Family | None, hints: Hints) -> Proposed:
    """Returns how joints are to be read.

    Raises:
        DatasetError: If no unit and convention fits, or forward kinematics would take a guess for an angle.
    """
    values = recorded.values[np.isfinite(recorded.values).all(axis=1)]
    chain = None if hints.model is None else read_chain(hints.model, hints.site, hints.body)
    names, remarks = _model_names(recorded.names, chain)
    motors = None if hints.calibration is None else _motor_names(recorded.names, hints.calibration)
    make = (family.make if family is not None else None) or "feetech"
    ways = {"now": (np.ones(len(names)), np.zeros(len(names)))}  # signs and offsets [rad] by LeRobot's conventions
    old = old_convention(recorded.names)
    if family is not None and family.make == "feetech" and np.count_nonzero(old[1]) == 2:
        ways["old"] = old
    fits = _fits(names, chain, ways, motors, hints, make == "feetech")
    judged = _judge(values, recorded, family, hints, fits)
    assert judged.unit is not None
    if judged.unit == "normalised":
        assert hints.calibration is not None and motors is not None
        _check_calibration(values, recorded.names, motors, hints.calibration)
        called = None if motors == names else motors
        return Proposed(names, "normalised", judged.why, True, motors=called, make=make, remarks=remarks)
    signs, offsets, said = None, None, ""
    if judged.unit == "deg" and "old" in ways:
        signs, offsets, said = _choose_convention(values, judged, names, chain, ways, is_old(recorded.names))
    if said:
        remarks = (*remarks, said)
    return Proposed(names, judged.unit, judged.why, judged.certain, signs, offsets, remarks=remarks)


def _judge(
    values: Float[np.ndarray, "n joints"],
    recorded: Column,
    family: Family | None,
    hints: Hints,
    fits: dict[Unit, Fit],
) -> Judged:
    """Returns the unit, told or said; raises DatasetError where it can't be proposed, with what would help."""
    normalises = (family is not None and family.normalises) or any(name.endswith(".pos") for name in recorded.names)
    judged = judge_unit(values, normalises, hints.calibration is not None, fits)
    if hints.unit is not None:
        grid = find_grid(values)
        if grid is not None and judged.unit not in (None, hints.unit):
            raise DatasetError(f"{recorded.key}: the joints are not {hints.unit}: {judged.why}")
        bad = fits[hints.unit](values) if hints.unit in fits else []
        if bad:
            raise DatasetError(f"{recorded.key}: the joints can't be {hints.unit}: {'; '.join(bad)}")
        judged = Judged(hints.unit, "as was said", old=judged.old)
    if judged.unit is None:
        zero = "Is the model's zero the recordings' (LeRobot's is the middle of each joint's range since June 2025)?"
        raise DatasetError(f"{recorded.key}: {judged.why} {zero if fits else ''}".rstrip())
    if judged.unit == "normalised" and hints.calibration is None:
        raise DatasetError(
            f"{recorded.key}: the joints are normalised to -100..100 ({judged.why}), which are no angles: give the "
            f"arm's --calibration FILE.json (LeRobot keeps it in {_KEPT})"
        )
    if not judged.certain and hints.model is not None:
        raise DatasetError(
            f"{recorded.key}: {judged.why}, and forward kinematics of the wrong one would be wrong: say --unit deg "
            "(recorded with use_degrees), or give the arm's --calibration FILE.json"
        )
    return judged


def _fits(
    names: Sequence[str],
    chain: Chain | None,
    ways: _Ways,
    motors: list[str] | None,
    hints: Hints,
    negated: bool,
) -> dict[Unit, Fit]:
    """Returns for each unit whether the model's joints can take numbers in it, by any convention."""
    if chain is None:
        return {}
    ranges = chain.ranges_of(names)

    def in_degrees(values: Float[np.ndarray, "n joints"]) -> list[str]:
        found = [
            outside(np.radians(values) * signs + offsets, names, ranges, chain.path) for signs, offsets in ways.values()
        ]
        return min(found, key=len)

    fits: dict[Unit, Fit] = {"rad": lambda values: outside(values, names, ranges, chain.path), "deg": in_degrees}
    calibration = hints.calibration
    if motors is not None and calibration is not None:

        def normalised(values: Float[np.ndarray, "n joints"]) -> list[str]:
            try:
                return outside(from_normalised(values, motors, calibration, negated), names, ranges, chain.path)
            except DatasetError as error:
                return [str(error)]

        fits["normalised"] = normalised
    return fits


def _choose_convention(
    values: Float[np.ndarray, "n joints"],
    judged: Judged,
    names: Sequence[str],
    chain: Chain | None,
    ways: _Ways,
    named_old: bool,
) -> tuple[list[float] | None, list[float] | None, str]:
    """Returns signs and offsets of the convention that numbers in degrees follow, and a remark."""
    likely = "old" if judged.old or (named_old and judged.old is None) else "now"
    order = sorted(ways, key=lambda way: way != likely)
    if chain is not None:
        ranges, angles = chain.ranges_of(names), np.radians(values)
        fitting = [way for way in order if not outside(angles * ways[way][0] + ways[way][1], names, ranges, chain.path)]
        order = fitting or order
    if order[0] == "now":
        said = "named as before June 2025, but only today's zeros fit the model" if likely == "old" else ""
        return None, None, said
    signs, offsets = ways["old"]
    told = "LeRobot's zeros of before June 2025 (arm stretched out); signs and offsets bring them to today's"
    return signs.tolist(), [round(float(offset), 6) for offset in offsets], told


def _model_names(names: Sequence[str], chain: Chain | None) -> tuple[list[str], tuple[str, ...]]:
    """Returns the joints' names in the model, or without their suffix where there is none, and a remark.

    Raises:
        DatasetError: If the model does not have them.
    """
    if chain is None:
        return [name.removesuffix(".pos") for name in names], ()
    found = [
        next((joint for joint in chain.joints if joint.lower() == base_name(name).lower()), None) for name in names
    ]
    if None not in found:
        return [joint for joint in found if joint is not None], ()
    if len(arms_of(names)) > 1:
        raise DatasetError(
            f"the recordings have {len(names)} joints of several arms ({', '.join(names)}); forward kinematics are of "
            "one arm: leave --model out to learn in joint space"
        )
    if len(chain.joints) != len(names):
        raise DatasetError(
            f"the recordings have the joints {', '.join(names)}, the way to {chain.hand} of {chain.path} has "
            f"{', '.join(chain.joints) or 'none'}: is it the model of this arm?"
        )
    return list(chain.joints), (f"the model's {', '.join(chain.joints)} were taken in order for {', '.join(names)}",)


def _motor_names(names: Sequence[str], calibration: Path) -> list[str]:
    """Returns the names of recorded joints' motors in a calibration file."""
    known = read_calibration(calibration)
    motors = [
        next((word for word in (name.removesuffix(".pos"), base_name(name)) if word in known), name) for name in names
    ]
    find_motors(known, motors, calibration)
    return motors


def _check_calibration(
    values: Float[np.ndarray, "n joints"], names: Sequence[str], motors: list[str], calibration: Path
) -> None:
    """Returns if normalised numbers are whole steps of a calibration's ranges, where they are steps at all.

    Raises:
        DatasetError: If they are those of another arm's, or of an earlier calibration.
    """
    if find_grid(values) != "normalised":
        return
    known = find_motors(read_calibration(calibration), motors, calibration)
    wrong = [
        name for name, column, motor in zip(names, values.T, known, strict=True) if not fits_span(column, motor.span)
    ]
    if wrong:
        raise DatasetError(
            f"{calibration} is not the calibration that these were recorded with: {', '.join(wrong)} are not whole "
            "steps of its ranges. Was the arm calibrated again since, or is the file another arm's?"
        )
