"""Whether data and parent mean the same by an action is said before training begins any work."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from envs.spec import ActionSpec, SpecError
from world_model.checkpoints.checkpoint import read_manifest
from world_model.training.dataset import check_actions as check
from world_model.training.train_config import TrainConfig

ROOT = Path(__file__).parent.parent
HAND = read_manifest("franka-tiny").action_spec
JOINTS = ActionSpec(("pan", "lift", "gripper"), ("rad", "rad", "1"), (-1.0,) * 3, (1.0,) * 3, "joints", 4.0)


def config(**changes) -> TrainConfig:
    return TrainConfig(**{"data": Path("mine"), "output": Path("run"), "parent": "franka-tiny", **changes})


def test_a_parent_s_own_actions_pass_at_any_stride_that_gives_its_rate(caplog):
    check(config(), HAND)
    check(config(stride=5), replace(HAND, rate=5 * HAND.rate))
    check(config(parent=None, encoder=Path("encoder")), HAND)
    assert not caplog.records


def test_joints_for_a_parent_of_hands_are_refused_with_both_ways_on():
    with pytest.raises(SpecError) as refused:
        check(config(), JOINTS)
    said = str(refused.value)
    assert "pan [rad], lift [rad], gripper [1] (frame joints), the parent's x [m]" in said
    assert "dataset.py inspect mine --propose FILE.yaml --model ARM.xml --site NAME" in said
    assert "--fresh-conditioning" in said


def test_another_rate_is_refused_with_the_reading_s_rate_and_a_stride_that_fits():
    with pytest.raises(
        SpecError, match=r"20 actions a second, the parent 4: have `rate: 4` in the Reading or --stride 5"
    ):
        check(config(), replace(HAND, rate=20.0))
    with pytest.raises(SpecError, match=r"30 actions a second, the parent 4: have `rate: 4` in the Reading\."):
        check(config(), replace(HAND, rate=30.0))
    with pytest.raises(SpecError, match="2 frames a second were recorded: take another parent"):
        check(config(), replace(HAND, rate=2.0))


def test_fresh_conditioning_learns_other_actions_and_what_drives_joints_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        check(config(fresh_conditioning=True), JOINTS)
    assert "deploy.py drives LeRobot's arms with such a checkpoint" in caplog.text
    assert "evaluate.py's simulated arm and other drivers take poses alone" in caplog.text
    assert "--model ARM.xml --site NAME" in caplog.text


def test_a_hand_s_arm_and_a_checkpoint_of_joints_are_told_the_way_through_a_model():
    with pytest.raises(SpecError, match=r"joint space drives LeRobot's arms .*--model ARM\.xml --site NAME"):
        JOINTS.check_same_meaning(HAND)
    with pytest.raises(SpecError, match="Use a checkpoint trained for this arm"):
        HAND.check_same_meaning(replace(HAND, frame="tool"))
    with pytest.raises(SpecError, match=r"here rate: 4 in a Reading"):
        HAND.check_same_meaning(replace(HAND, rate=5.0))
