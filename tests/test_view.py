"""What people are shown of an evaluation: the ways of a search where the hand is, drawn in the camera's image."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from unittest.mock import MagicMock

import gymnasium
import numpy as np
import pytest
import torch

import envs.tasks  # noqa: F401  (registers them)
from envs.episodes.recorder import RecordedStep
from envs.spec import POSE_NAMES, ActionSpec, Observation
from planner.control.controller import Controller
from planner.control.episode import Step
from planner.evaluation.config import EvaluateConfig
from planner.evaluation.watch import WatchedPlanner, camera_of, watched
from planner.search.cem import CEM
from planner.search.sampling_config import CEMConfig
from planner.viewing.frames import MARGIN, draw_frames, draw_poster
from planner.viewing.shown import Shown, Ways
from planner.viewing.view import NoView, make_view
from world_model.toy import TOY_ACTION_SPEC, ToyWorldModel

POSE = np.array([0.5, 0.0, 0.3, np.pi, 0.0, 0.0, 0.0])
SPEC = ActionSpec(POSE_NAMES, ("m",) * 3 + ("rad",) * 3 + ("1",), (-0.05,) * 3 + (0.0,) * 4, (0.05,) * 3 + (0.0,) * 4,
                  "base", 4.0)  # fmt: skip
COSTS = (-15.0, -9.0, -3.0, 0.0)


def searched(spec: ActionSpec = SPEC) -> tuple[WatchedPlanner, Step]:
    """A search for the action that goes farthest along x, and the moment that it was made at."""
    planner = WatchedPlanner(CEM(CEMConfig(horizon=2, samples=40, iterations=3)))
    guesses = torch.zeros(1, 2, 7)
    plan = planner.plan(lambda actions: -actions[..., 0].sum(1), spec, guesses, torch.Generator().manual_seed(0))
    return planner, Step(Observation(np.zeros((64, 64, 3), np.uint8), POSE, 0.0), {}, POSE, plan)


def test_ways_begin_at_the_hand_and_the_plan_leads_where_its_actions_do() -> None:
    planner, step = searched()
    assert step.plan is not None
    ways = planner.ways(step, step.plan, SPEC, None)
    assert ways is not None and not ways.pixels
    for places in ways.places.values():
        np.testing.assert_allclose(places[:, 0], np.broadcast_to(POSE[:3], places[:, 0].shape))
    end = POSE[:3] + step.plan.actions.numpy().sum(axis=0)[:3]
    np.testing.assert_allclose(ways.places["plan"][0, -1], end, atol=1e-6)
    farthest = {kind: places[:, -1, 0] for kind, places in ways.places.items()}
    assert farthest["elites"].min() > np.median(farthest["candidates"])
    assert len(ways.places["candidates"]) > len(ways.places["elites"]) > 0


def test_ways_are_not_told_of_joints() -> None:
    planner, step = searched()
    assert step.plan is not None
    assert planner.ways(step, step.plan, replace(SPEC, frame="camera"), None) is None


def test_a_watched_search_finds_the_same_and_the_controller_is_as_before() -> None:
    plain = CEM()
    controller = Controller(ToyWorldModel(), plain, TOY_ACTION_SPEC)
    with watched(controller) as search:
        assert controller.planner is search and search.horizon == plain.horizon
    assert controller.planner is plain
    _, step = searched()
    again = CEM(CEMConfig(horizon=2, samples=40, iterations=3)).plan(
        lambda actions: -actions[..., 0].sum(1), SPEC, torch.zeros(1, 2, 7), torch.Generator().manual_seed(0)
    )
    assert step.plan is not None and torch.equal(step.plan.actions, again.actions)


def test_the_camera_projects_the_hand_onto_the_picture_of_the_hand() -> None:
    env = gymnasium.make("envs/FrankaReach-v0", disable_env_checker=True)
    seen, _ = env.reset(seed=0)
    camera = camera_of(env)
    assert camera is not None
    (place,) = camera(seen["pose"][None, :3])
    assert (0 < place).all() and (place < len(seen["image"])).all()
    column, row = place.astype(int)
    near = seen["image"][row - 4 : row + 5, column - 4 : column + 5]
    assert near.min() < 70  # of the dark gripper
    env.close()


def test_ways_are_drawn_over_the_camera_and_the_distance_beneath() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    line = np.array([[[4.0, 16.0], [28.0, 16.0]]])
    ways = Ways(dict.fromkeys(("candidates", "elites", "plan"), np.zeros((1, 2, 3))), {
        "candidates": line, "elites": line, "plan": line})  # fmt: skip
    step = RecordedStep(Observation(image, POSE, 0.0), np.zeros(7), cost=1.0)
    plain, drawn, judged = (
        draw_frames([shown], "a run")[0]
        for shown in (Shown(step, image), Shown(step, image, ways=ways), Shown(step, image, distance=0.1, success=True))
    )
    panel = (slice(34, 394), slice(MARGIN, MARGIN + 360))
    assert not np.asarray(plain)[panel].any() and np.asarray(drawn)[panel].any()
    assert not np.array_equal(np.asarray(plain)[400:], np.asarray(judged)[400:])


def test_costs_below_zero_are_drawn_beneath_the_pictures_and_not_over_them() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    steps = [
        Shown(RecordedStep(Observation(image, POSE, i / 4), np.zeros(7), cost=c), image) for i, c in enumerate(COSTS)
    ]
    last = np.asarray(draw_frames(steps, "a run")[-1]).astype(int)
    assert not last[34:394, MARGIN : MARGIN + 360].any()  # the camera's image
    blue = (last - (46, 98, 200) == 0).all(axis=2)
    rows, columns = np.nonzero(blue)
    assert len(rows) and rows.min() > 394 and columns.min() >= MARGIN - 5
    assert rows[columns < 60].max() > rows[columns > 200].max() + 40  # it rises from -15 to 0


def test_a_poster_has_a_row_a_run_and_shows_when_it_got_near() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    steps = [
        Shown(RecordedStep(Observation(image, POSE, float(i))), image, distance=0.1 / (i + 1), success=i > 5)
        for i in range(9)
    ]
    one, two = draw_poster({"a": steps}), draw_poster({"a": steps, "b": steps[:2]})
    assert two.height == 2 * one.height and one.width == two.width


def test_joints_actions_are_described_without_a_motion_of_the_hand() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    step = RecordedStep(Observation(image, np.zeros(3), 0.0), np.zeros(3), cost=1.0)
    assert draw_frames([Shown(step, image)], "a run")


def test_rerun_gets_the_ways_and_a_file_where_there_is_no_screen(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    logged, saved = [], []
    fake = MagicMock()
    fake.init.side_effect = lambda name, spawn: saved.append(spawn)
    fake.save.side_effect = saved.append
    fake.log.side_effect = lambda path, value: logged.append(path)
    monkeypatch.setitem(sys.modules, "rerun", fake)
    monkeypatch.setitem(sys.modules, "rerun.blueprint", fake.blueprint)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(importlib.import_module("planner.viewing.rerun_view").sys, "platform", "linux")
    viewer = make_view("rerun", tmp_path)
    assert saved == [False, tmp_path / "view.rrd"]
    ways = Ways(dict.fromkeys(("candidates", "elites", "plan"), np.zeros((1, 2, 3))), {"plan": np.zeros((1, 2, 2))})
    image = np.zeros((8, 8, 3), np.uint8)
    viewer.show(Shown(RecordedStep(Observation(image, POSE, 0.0), POSE, cost=1.0), image, ways=ways, distance=0.1))
    told = [
        "camera",
        "goal",
        "ways/candidates",
        "ways/elites",
        "ways/plan",
        "camera/plan",
        "cost",
        "latency",
        "distance",
    ]
    assert logged == told
    logged.clear()
    viewer.show(Shown(RecordedStep(Observation(image, POSE, 1.0)), image))
    assert sorted(logged) == sorted(["camera", "goal", *(path for path in told if "/" in path)])


def test_nothing_is_shown_where_nothing_is_asked_for(tmp_path) -> None:
    assert isinstance(make_view("none", tmp_path), NoView)
    assert EvaluateConfig(view="none").drawn == 0 and EvaluateConfig(video_episodes=3).drawn == 3
    with pytest.raises(ValueError, match="--view rerun shows episodes as they come, so it needs --processes 1"):
        EvaluateConfig(view="rerun", processes=2)
