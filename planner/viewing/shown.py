"""A step of a run as people are shown it, and what is said of it in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, UInt8

from envs.episodes.recorder import RecordedStep
from envs.pose import difference
from envs.spec import POSE_NAMES

THERE = 2e-3  # m, rad, 1: nearer than this counts as got there

Picture = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Imagined:
    """What a plan was predicted to lead to, as the nearest of the plan server's stored frames.

    Attributes:
        picture: That frame.
        distance: Mean absolute distance of its latents from the predicted ones.
    """

    picture: Picture
    distance: float


@dataclass(frozen=True)
class Ways:
    """Where a search took the hand in its thoughts: ways of H + 1 places each, the first where the hand is.

    Attributes:
        places: In the base frame [m], (S, H + 1, 3), by "candidates", "elites" and "plan".
        pixels: The same in the camera's image (column, row) [pixels], (S, H + 1, 2); empty where the camera is unknown.
    """

    places: Mapping[str, Float[np.ndarray, "S H 3"]]
    pixels: Mapping[str, Float[np.ndarray, "S H 2"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Shown:
    """A step and what it was meant to reach.

    Attributes:
        step: What was seen and done.
        goal: The goal that was pursued then.
        imagined: What the plan was to lead to; None where nobody imagined it.
        ways: What the search tried; None where nobody watched it.
        distance: To the goal [m], privileged: for people alone; None where nobody measured it.
        success: Whether it was at the goal, privileged.
    """

    step: RecordedStep
    goal: Picture
    imagined: Imagined | None = None
    ways: Ways | None = None
    distance: float | None = None
    success: bool = False


def latency(step: RecordedStep) -> float:
    """Returns how long the planner's answer took, the way there and back included [s]."""
    return step.timings.get("waited", math.nan)


def describe(step: RecordedStep) -> str:
    """Returns an action, its cost, its time and what the safety filter made of it."""
    if step.action is None:
        return "the end"
    text = f"{_describe_motion(step.action)}cost {step.cost:.4f}  {latency(step):.2f} s"
    return f"{text}  {limited}" if (limited := describe_limits(step)) else text


def _describe_motion(action: Float[np.ndarray, "A"]) -> str:
    """Returns the motion of a hand; nothing of other actions, such as joints'."""
    if len(action) != len(POSE_NAMES):
        return ""
    move, turn = 1000.0 * action[:3], np.degrees(action[3:6])
    text = f"{move[0]:+4.0f} {move[1]:+4.0f} {move[2]:+4.0f} mm  "
    if np.abs(turn).max() >= 0.5:
        text += f"{turn[0]:+3.0f} {turn[1]:+3.0f} {turn[2]:+3.0f} deg  "
    return f"{text}gripper {action[6]:+.2f}  " if abs(action[6]) >= 0.005 else text


def describe_limits(step: RecordedStep) -> str:
    """Returns what was sent instead of what was commanded, how far off that is, and why; nothing if it got there."""
    if step.commanded is None or not step.reasons:
        return ""
    why = "; ".join(step.reasons)
    if step.sent is None:
        return f"not sent: {why}"
    short = difference(step.sent, step.commanded)
    if np.abs(short).max() < THERE:
        return ""  # smoothed on the way
    move = 1000.0 * difference(step.observation.pose, step.sent)[:3]
    distance, rest = 1000.0 * float(np.linalg.norm(short[:3])), np.abs(short[3:]).max()
    sent = f"sent {move[0]:+.0f} {move[1]:+.0f} {move[2]:+.0f} mm"
    return f"{sent}, {distance:.0f} mm{f' and {rest:.2f} rad or closedness' if rest > THERE else ''} short: {why}"
