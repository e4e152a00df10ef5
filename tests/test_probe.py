"""The probe: what it finds in latents that tell all, in ones that tell nothing, and what its gates say."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
import torch
from PIL import Image

from envs.simulation.arm import MujocoArm
from envs.simulation.objects import TRAINING_OBJECTS
from envs.simulation.scene_config import MANIPULATION_SCENE
from envs.tasks.play import make_play_arm
from planner.diagnostics.imagined import project
from planner.diagnostics.labelled import Labelled
from planner.diagnostics.probe import Finding, Probe, assign, misses, object_errors, table
from planner.diagnostics.probe_program import Gates, ProbeConfig, main
from tests.small_models import small_model
from world_model.base import LatentState
from world_model.checkpoints.checkpoint import save_checkpoint


def labelled(objects: int, seed: int, frames: int = 200, noise: bool = False) -> Labelled:
    generator = np.random.default_rng(seed)
    places = generator.uniform(-0.2, 0.2, (frames, objects + 1, 3)) + 0.5 * np.arange(objects + 1)[:, None]
    places, held = places.reshape(frames, -1), generator.random(frames) < 0.5
    told = np.concatenate([places, held[:, None]], axis=1)
    mix = np.random.default_rng(7).normal(size=(told.shape[1], 12))
    latents = generator.normal(size=(frames, 12)) if noise else told @ mix
    seen = LatentState(torch.from_numpy(latents).float()[:, None, None], torch.zeros(frames, 1, 7))
    images = np.zeros((0, 8, 8, 3), np.uint8)
    return Labelled(seen, np.zeros((frames - 1, 7), np.float32), places, held, MANIPULATION_SCENE, images)


@pytest.mark.parametrize("objects", [1, 2])
def test_latents_that_tell_places_are_read_and_noise_is_not(objects: int) -> None:
    def median(noise: bool) -> float:
        known, new = labelled(objects, 0, 2000, noise), labelled(objects, 1, noise=noise)
        reader = Probe([known], hidden=0)
        reader.learn(1500, seed=0)
        wanted = torch.from_numpy(new.places).float()
        with torch.no_grad():
            return object_errors(reader(new.tokens)[0], wanted).median().item()

    assert median(noise=False) < 0.03
    assert median(noise=True) > 0.05


def test_objects_are_compared_with_those_that_fit_best() -> None:
    wanted = torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 7.0, 8.0, 9.0]])
    said = torch.tensor([[0.9, 1.0, 1.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0]])
    assert assign(wanted, said).tolist() == [[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 7.0, 8.0, 9.0]]
    assert torch.equal(assign(wanted[:, 3:], said[:, 3:]), wanted[:, 3:])


def test_points_are_drawn_where_the_camera_shows_them() -> None:
    with closing(make_play_arm(120, MANIPULATION_SCENE)) as arm:
        plain = place(arm, (0.9, 0.0))  # out of view
        for x, y in ((0.5, 0.1), (0.6, -0.15)):
            differs = np.abs(place(arm, (x, y)).astype(int) - plain).sum(-1) > 60
            rows, columns = np.nonzero(differs)
            at = project(MANIPULATION_SCENE, np.array([[x, y, 0.025]]), 120)[0]
            assert abs(np.median(columns) - at[0]) < 3 and abs(np.median(rows) - at[1]) < 3


def place(arm: MujocoArm, at: tuple[float, float]) -> np.ndarray:
    arm.objects[0].place(TRAINING_OBJECTS[0], np.array([*at, 0.025]))
    return arm.render(120)


def test_a_missed_gate_says_what_was_found_and_wanted() -> None:
    finding = Finding(9.5, 30.0, 5.0, 0.97, {1: (4.0, 40.0, 3.0), 8: (16.0, 90.0, 9.0)})
    assert misses(Gates(), finding) == []
    assert misses(Gates(object=10.0, hand=5.0, held=0.97, predicted=16.0), finding) == []
    missed = misses(Gates(object=8.0, held=0.98, predicted=15.0), finding)
    assert missed[0] == "the gate 'object' is missed: 9.5 mm off, the median of objects, wanted 8"
    assert "0.97 of the frames told held or not, wanted 0.98" in missed[1]
    assert "16 mm off after 8 predicted actions" in missed[2]
    assert len(misses(Gates(predicted=5.0), Finding(1.0, 1.0, 1.0, 1.0, {8: (float("nan"), 0.0, 0.0)}))) == 1


def test_the_program_probes_a_checkpoint_and_fails_at_a_gate(
    tmp_path: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoint"  # type: ignore[operator]
    save_checkpoint(folder, small_model(), training={})
    words = ["--checkpoint", str(folder), "--episodes", "2", "--judged", "1", "--steps", "5", "--play.frames", "10"]
    words += ["--image-size", "64", "--ahead", "1", "4", "--pictures", str(folder.parent / "new/imagined.png")]
    assert not main(words)
    shown = capsys.readouterr().out
    with Image.open(folder.parent / "new/imagined.png") as picture:
        assert len(np.unique(np.asarray(picture).reshape(-1, 4), axis=0)) > 50
    assert "judged by 1 with held-out objects" in shown and "network, after 4 predicted actions" in shown
    assert main([*words, "--gates.object", "0.001"]) == 1
    assert "the gate 'object' is missed" in capsys.readouterr().err
    config = ProbeConfig(checkpoint="x")
    assert "linear" in table(config, {"linear": Finding(1.0, 2.0, 3.0, 0.5, {})})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name either a --checkpoint or an --encoder folder"),
        (["--checkpoint", "x", "--scene.objects", "0"], "reads the places of 1 to 3 objects"),
        (["--checkpoint", "x", "--ahead", "0"], "ahead are numbers of actions"),
        (["--checkpoint", "x", "--judged", "0"], "judged must be at least 1"),
    ],
)
def test_bad_settings_end_in_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert message in f"{stopped.value}{capsys.readouterr().err}"
