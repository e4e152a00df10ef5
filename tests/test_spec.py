"""Observations and action specs refuse what they cannot mean."""

from dataclasses import replace

import numpy as np
import pytest

from envs.spec import ActionSpec, Goal, Observation, SpecError

SPEC = ActionSpec(("x", "gripper"), ("m", "1"), (-0.1, 0.0), (0.1, 0.0), "base", 4.0)


def test_a_spec_survives_being_written_and_read():
    assert ActionSpec.from_dict(SPEC.to_dict()) == SPEC


def test_bounds_are_no_part_of_the_meaning():
    SPEC.check_same_meaning(replace(SPEC, low=(-0.05, -1.0), high=(0.05, 1.0)))


@pytest.mark.parametrize(
    ("change", "word"),
    [({"names": ("y", "gripper")}, "names"), ({"units": ("mm", "1")}, "units"), ({"frame": "tool"}, "frame"),
     ({"rate": 15.0}, "rate")],
)  # fmt: skip
def test_another_meaning_is_refused_by_name(change, word):
    with pytest.raises(SpecError, match=word):
        SPEC.check_same_meaning(replace(SPEC, **change))


@pytest.mark.parametrize(
    "change", [{"low": (0.2, 0.0)}, {"high": (np.inf, 0.0)}, {"units": ("m",)}, {"rate": 0.0}, {"rate": np.nan}]
)
def test_an_impossible_spec_is_refused(change):
    with pytest.raises(SpecError):
        replace(SPEC, **change)


def test_a_spec_from_the_wrong_fields_names_the_right_ones():
    with pytest.raises(SpecError, match="'rate'"):
        ActionSpec.from_dict({"names": ["x"]})


@pytest.mark.parametrize(
    ("image", "pose"),
    [
        (np.zeros((4, 4, 3), np.float32), np.zeros(7)),
        (np.zeros((3, 4, 4), np.uint8), np.zeros(7)),
        (np.zeros((4, 4, 3), np.uint8), np.full(7, np.nan)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((1, 7))),
    ],
)
def test_an_impossible_observation_is_refused(image, pose):
    with pytest.raises(SpecError):
        Observation(image, pose, 0.0)


IMAGE = np.zeros((4, 6, 3), np.uint8)


def test_what_is_not_given_of_a_goal_is_open():
    assert Goal(IMAGE).pose is None and Goal(IMAGE).mask is None
    Goal(IMAGE, np.zeros(7), np.ones((4, 6), bool))
    Goal(IMAGE, mask=np.full((4, 6), 200, np.uint8))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"image": IMAGE[0]}, r"a goal's image must be .* uint8 RGB, got \(6, 3\) uint8"),
        ({"image": IMAGE / 255}, "got .* float64"),
        ({"image": "goal.png"}, "got a str"),
        ({"pose": np.full(7, np.nan)}, "a goal's pose must be a vector of finite numbers"),
        ({"pose": [0.0] * 7}, "a goal's pose must be a vector"),
        ({"mask": np.ones((6, 4), bool)}, r"as large as its image, \(4, 6\), of bool or uint8, got \(6, 4\) bool"),
        ({"mask": np.ones((4, 6, 1), bool)}, r"got \(4, 6, 1\) bool"),
        ({"mask": np.ones((4, 6))}, r"got \(4, 6\) float64"),
        ({"mask": [[1]]}, "got a list"),
        ({"mask": np.zeros((4, 6), np.uint8)}, "0 everywhere: nothing of the goal would count"),
    ],
)
def test_an_impossible_goal_is_refused_with_what_was_expected_and_what_came(changes, why):
    with pytest.raises(SpecError, match=why):
        Goal(**{"image": IMAGE, **changes})
