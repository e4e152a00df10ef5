"""What a plan is predicted to lead to, shown as the nearest stored frame: the gallery and the server that has one."""

import importlib
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from background import running
from plan_servers import GOAL, SMALL, SPEC, START, look, url, want

from envs.arms.remote.client import PlanClient
from envs.episodes import DatasetError
from envs.episodes.recorder import RecordedStep, Recorder
from envs.episodes.recording_dataset import add_to_dataset
from envs.simulation.arm import arm_action_spec
from envs.spec import Goal, Observation
from planner.base import Plan
from planner.control.controller import Controller
from planner.search.cem import CEM
from tests.imagining import DATA, MODEL, make_gallery, make_imagining_server
from tests.moving_square import MovingSquare
from tests.small_models import ACTIONS
from world_model.heads import neighbours
from world_model.heads.neighbours import Frames, Gallery, gallery_frames
from world_model.toy import ToyWorldModel

__all__ = ["url"]  # a fixture


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "scripts"))
    return importlib.import_module("planner.serving.program")


def seen(number: int) -> Observation:
    return Observation(DATA[number].images[0], START, 0.0)


def wanted(number: int) -> Goal:
    return Goal(DATA[number].images[0])


def is_stored(picture: np.ndarray) -> bool:
    return any(np.array_equal(picture, image) for episode in range(len(DATA)) for image in DATA[episode].images)


# The gallery


def test_a_stored_frame_is_found_exactly() -> None:
    gallery = make_gallery()
    for episode in range(len(DATA)):
        for image in DATA[episode].images:
            found, distance = gallery.nearest(MODEL.encode([Observation(image, START, 0.0)]).tokens[:, 0])
            np.testing.assert_array_equal(found, image)
            assert distance < 0.01  # tokens are kept as bfloat16


def test_the_nearest_of_all_frames_is_found_across_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = make_gallery()
    monkeypatch.setattr(neighbours, "CACHED_BYTES", 4 * 4 * 48)  # four frames of 4 tokens of width 12
    images = np.concatenate([DATA[episode].images for episode in range(len(DATA))])
    stored = torch.cat([MODEL.encode([Observation(image, START, 0.0)]).tokens[0] for image in images])
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        query = torch.randn(1, *stored.shape[1:], generator=generator)
        distances = (stored - query).abs().mean(dim=(1, 2))
        found, distance = gallery.nearest(query)
        np.testing.assert_array_equal(found, images[int(distances.argmin())])
        assert distance == pytest.approx(float(distances.min()), rel=0.01)


def test_a_gallery_says_how_far_it_is_and_may_be_of_some_frames() -> None:
    added: list[int] = []
    frames = Frames(np.array([0, 2, 2]), np.array([5, 1, 3]))
    gallery = Gallery(DATA, frames, MODEL.encoder, added.append)
    assert sum(added) == 3
    found, _ = gallery.nearest(MODEL.encode([Observation(DATA[2].images[3], START, 0.0)]).tokens[:, 0])
    np.testing.assert_array_equal(found, DATA[2].images[3])


@dataclass(frozen=True)
class Damaged(MovingSquare):
    """Squares, some episodes of which are known to be broken."""

    broken: tuple[int, ...] = ()

    @property
    def problems(self) -> dict[int, str]:
        return dict.fromkeys(self.broken, "cut short")


def test_a_gallery_is_spread_over_readable_episodes_and_is_no_larger_than_the_memory(monkeypatch) -> None:
    monkeypatch.setattr(neighbours, "GALLERY_EPISODES", 3)
    monkeypatch.setattr(neighbours, "GALLERY_FRAMES", 7)
    data = Damaged((4,) * 9, broken=(0, 4))
    frames = gallery_frames(data)
    assert set(frames.episodes) == {1, 5, 8} and len(frames) == 7
    monkeypatch.setattr(neighbours, "GALLERY_BYTES", 2 * 32 * 32 * 3)
    assert len(gallery_frames(data)) == 2
    with pytest.raises(DatasetError, match="none of the 2 episodes can be read: cut short"):
        gallery_frames(Damaged((4, 4), broken=(0, 1)))


# The plan's end


def test_the_imagined_end_follows_the_committed_actions_and_the_plan() -> None:
    controller, committed = Controller(ToyWorldModel(), CEM(SMALL), SPEC), np.full((2, 7), 0.01)
    controller.reset([want(GOAL)], seed=0)
    with pytest.raises(ValueError, match="before step"):
        controller.imagine(Plan(torch.zeros(2, 7), 0.0, torch.zeros(1), 0))
    for before in (committed, committed[:0]):
        _, plan = controller.step(look(START), before if len(before) else None)
        way = before.sum(0) + plan.actions.sum(0).numpy()
        np.testing.assert_allclose(controller.imagine(plan).poses[0, -1, :3], (START + way)[:3], atol=1e-6)


def test_an_answer_shows_the_stored_image_that_is_most_like_the_plans_end() -> None:
    controller, gallery = Controller(MODEL, CEM(SMALL), ACTIONS), make_gallery()
    controller.reset([wanted(1)], seed=3)
    with running(make_imagining_server().run) as url, PlanClient(url, imagine=True) as client:
        assert client.metadata["imagine"] is True
        client.reset([wanted(1)], seed=3)
        for committed in (None, np.full((1, 7), 0.02)):
            answer = client.infer(seen(0), committed)
            action, plan = controller.step(seen(0), committed)
            np.testing.assert_array_equal(answer["actions"][0], action)
            image, distance = gallery.nearest(controller.imagine(plan).tokens[:, -1])
            np.testing.assert_array_equal(answer["imagined"], image)
            assert answer["imagined_distance"] == pytest.approx(distance) and is_stored(image)


def test_only_who_asks_for_a_picture_gets_one_and_the_plan_is_the_same() -> None:
    with running(make_imagining_server().run) as url, PlanClient(url) as plain, PlanClient(url, imagine=True) as asking:
        answers = []
        for client in (plain, asking):
            client.reset([wanted(1)], seed=3)
            answers.append([client.infer(seen(0)) for _ in range(2)])
    for without, with_picture in zip(*answers, strict=True):
        np.testing.assert_array_equal(without["actions"], with_picture["actions"])
        assert "imagined" not in without and is_stored(with_picture["imagined"])


class Slow:
    """Plans until hardly any time is left."""

    horizon = 2

    def plan(self, score, spec, guesses, generator, deadline=None) -> Plan:
        assert deadline is not None
        time.sleep(max(0.0, deadline - 0.02 - time.monotonic()))
        return Plan(guesses[0], 1.0, torch.ones(1), 1)


def test_without_time_left_a_plan_comes_without_a_picture() -> None:
    with running(make_imagining_server(Slow()).run) as url, PlanClient(url, imagine=True) as client:
        client.reset([wanted(1)], seed=3)
        answer = client.infer(seen(0), deadline=0.3)
        assert answer["actions"].shape == (2, 7) and "imagined" not in answer


# Who cannot


def test_a_client_does_not_ask_a_server_without_stored_frames(url: str) -> None:
    with PlanClient(url, imagine=True) as client:
        assert client.metadata["imagine"] is False
        client.reset([want(GOAL)], seed=0)
        assert "imagined" not in client.infer(look(START))


def test_the_toy_model_has_no_images_to_imagine(serve: ModuleType) -> None:
    with pytest.raises(ValueError, match="the toy model looks at no images"):
        serve.make_server(serve.ServeConfig("toy", imagine=Path("data")))


def test_the_program_imagines_with_recordings_on_disk(serve: ModuleType, tmp_path: Path) -> None:
    with Recorder(tmp_path, arm_action_spec()) as recorder:
        for number in range(4):
            image = np.full((24, 32, 3), 60 * number, np.uint8)
            acted = (np.zeros(7), START, START) if number < 3 else (None, None, None)
            recorder.record(RecordedStep(Observation(image, START, 0.25 * number), *acted))
    add_to_dataset(recorder.path, tmp_path, "fake")
    gallery = serve.make_gallery(tmp_path, MODEL)
    grey = Observation(np.full((24, 32, 3), 120, np.uint8), START, 0.0)
    image, _ = gallery.nearest(MODEL.encode([grey]).tokens[:, 0])
    assert image.shape == (24, 32, 3) and np.abs(image.astype(int) - 120).max() < 10  # lossy video
