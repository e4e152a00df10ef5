"""Training of a compact world model's eyes: other views give the latents that one view gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.episodes import Episode
from tests.commands import Ended
from tests.commands import run as program
from tests.moving_square import MovingSquare
from tests.small_training import measured_steps
from world_model.checkpoints.checkpoint import read_manifest, save_checkpoint
from world_model.compact import CompactModel
from world_model.data.batches import RecordedWindows
from world_model.data.joined import JoinedFrames
from world_model.data.store import build_frames
from world_model.encoders.convolutions_config import ConvolutionsConfig
from world_model.heads.ways import InverseDynamics
from world_model.heads.ways_config import InverseDynamicsConfig, InverseDynamicsShape, JudgeShape
from world_model.load import load_world_model
from world_model.training.compact import ImageBatches, encode_episode, make_compact
from world_model.training.compact_config import CompactConfig, DynamicsShape, LatentShape
from world_model.training.state import StateError
from world_model.training.views import ViewsTrainer, train_views
from world_model.training.views_config import ViewsConfig

SQUARES = MovingSquare((6,) * 90)
TRUNK = ConvolutionsConfig(image_size=32, channels=(8, 8, 16))
LATENTS = LatentShape(width=6, narrow=8, hidden=32)
PARENT = "parent"


@dataclass(frozen=True)
class Mirrored(MovingSquare):
    """The same episodes, seen from the other side and in weak light."""

    @property
    def fingerprint(self) -> str:
        return f"{super().fingerprint} mirrored"

    def __getitem__(self, episode: int) -> Episode:
        seen = super().__getitem__(episode)
        return replace(seen, images=np.ascontiguousarray(seen.images[:, :, ::-1] // 2))


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> list[JoinedFrames]:
    folder = tmp_path_factory.mktemp("frames")
    return [JoinedFrames([build_frames(data, folder)]) for data in (SQUARES, Mirrored(SQUARES.lengths))]


@pytest.fixture
def parent(views: list[JoinedFrames], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CompactModel:
    """A model that has learnt nothing, and its checkpoint: its latents are as good as any to be met."""
    monkeypatch.chdir(tmp_path)
    config = CompactConfig(
        data=Path("nowhere"), output=Path("nowhere"), encoder=TRUNK, latents=LATENTS,
        dynamics=DynamicsShape(width=16, depth=1),
    )  # fmt: skip
    batches = ImageBatches(RecordedWindows(SQUARES), views[0])
    torch.manual_seed(0)
    model = make_compact(config, batches.recorded, range(90))
    shape = InverseDynamicsShape(JudgeShape(code=4, reader=8, longest=5, width=8, depth=1), modes=4)
    model.add_head("inverse_dynamics", InverseDynamics(InverseDynamicsConfig(6, 2, 2, shape)))
    save_checkpoint(PARENT, model.freeze(), training={"command": "its own"})
    return model


def make_config(output: Path, **changes: object) -> ViewsConfig:
    config = ViewsConfig(
        data=Path("nowhere"), output=output, parent=PARENT, views=(Path("nowhere-else"),), encoder=TRUNK,
        latents=LATENTS, jitter=0.0, steps=12, batch=32, warmup=3, save_every=5, evaluate_every=6, held_out=0.2,
        device="cpu", precision="fp32",
    )  # fmt: skip
    return replace(config, **changes)  # type: ignore[arg-type]


def targets_of(parent: CompactModel, views: list[JoinedFrames]) -> list[torch.Tensor]:
    return [encode_episode(parent, views[0], episode, 6) for episode in range(90)]


def run(
    config: ViewsConfig, parent: CompactModel, views: list[JoinedFrames], stop_after: int | None = None
) -> list[dict[str, float]]:
    targets = targets_of(parent, views)
    return measured_steps(
        lambda report: train_views(config, parent, targets, views, "made up", report, {"command": "made up"}),
        stop_after,
    )


def test_another_view_comes_to_give_the_same_latents_and_the_first_still_does(
    parent: CompactModel, views: list[JoinedFrames], tmp_path: Path
) -> None:
    trainer = ViewsTrainer(
        make_config(tmp_path, steps=300, batch=128, learning_rate=5e-3), parent, targets_of(parent, views), views
    )
    before = trainer.evaluate()
    assert before["view_0"] < 1e-10 < 1e-3 < before["view_1"] == before["view_1_parent"]
    for step in range(300):
        trainer.step(step)
    after = trainer.evaluate()
    assert after["view_1"] < 0.5 * before["view_1"]
    assert after["view_0"] < 0.5 * before["view_1"]
    assert after["view_1_parent"] == before["view_1_parent"]


def test_a_checkpoint_keeps_all_but_the_eyes_and_a_resumed_run_takes_the_steps_of_an_unbroken_one(
    parent: CompactModel, views: list[JoinedFrames], tmp_path: Path
) -> None:
    whole = run(make_config(tmp_path / "whole"), parent, views)
    run(make_config(tmp_path / "broken"), parent, views, stop_after=8)
    rest = run(make_config(tmp_path / "broken"), parent, views)
    assert [each["error"] for each in rest] == [each["error"] for each in whole[5:]]
    kept, again = (load_world_model(tmp_path / name / "checkpoint").state_dict() for name in ("whole", "broken"))
    assert all(torch.equal(value, again[name]) for name, value in kept.items())
    changed = {name.split(".")[0] for name, value in parent.state_dict().items() if not torch.equal(value, kept[name])}
    manifest = read_manifest(tmp_path / "whole/checkpoint")
    assert manifest.training["command"] == "its own" and manifest.training["views"]["command"] == "made up"
    assert manifest.training["views"]["parent_files"] == read_manifest(PARENT).files
    assert changed == {"encoder", "readout"} and "heads.inverse_dynamics.judge.read.0.weight" in kept
    with pytest.raises(StateError, match=r"jitter: 0\.0 then, 0\.3 now"):
        run(make_config(tmp_path / "whole", jitter=0.3), parent, views)


def test_a_wider_trunk_gives_latents_of_the_same_shape(
    parent: CompactModel, views: list[JoinedFrames], tmp_path: Path
) -> None:
    wider = make_config(
        tmp_path, encoder=replace(TRUNK, channels=(16, 16, 24)), latents=replace(LATENTS, hidden=48), steps=1
    )
    run(wider, parent, views)
    model = load_world_model(tmp_path / "checkpoint")
    assert isinstance(model, CompactModel) and model.readout.config.hidden == 48
    seen = model.latents(torch.zeros(2, 3, 32, 32))
    assert seen.shape == (2, 1, 6)
    begun = ViewsTrainer(replace(wider, start=str(tmp_path / "checkpoint")), parent, targets_of(parent, views), views)
    known, learning = (each.encoder.state_dict()["shrink.0.weight"] for each in (model, begun.model))
    assert torch.equal(known, learning)
    with pytest.raises(ValueError, match=r"can't begin with .*checkpoint, it has another shape: encoder .*24"):
        run(make_config(tmp_path / "other", start=str(tmp_path / "checkpoint")), parent, views)


def test_the_program_learns_from_recordings_of_two_views(tmp_path: Path) -> None:
    play = (
        "--episodes 4 --episodes-per-shard 4 --processes 1 --image-size 32 --scene.objects 1 --scene.blocks 0 "
        "--play.frames 5 --play.wander 1 --play.push 0"
    ).split()
    views = ("--every-frame", "--variation.camera-turn", "8", "--variation.blocks", "0.5", "0.5")
    for folder, options in {"data": (), "view": views, "others": (*views, "--seed", "9")}.items():
        made = program(tmp_path, "collect", "--output", folder, *play, *options)
        assert made.status == 0, made.said

    def learn(view: str) -> Ended:
        words = (
            f"--parent franka --data data --views {view} --output runs/{view} --encoder.image-size 64 "
            "--encoder.channels 8 8 16 --latents.width 32 --steps 2 --batch 4 --held-out 0.3 --device cpu"
        )
        return program(tmp_path, "train_views", *words.split())

    learnt = learn("view")
    assert learnt.status == 0, learnt.said
    assert "view 1" in learnt.told and "checkpoint: runs/view/checkpoint" in learnt.told
    model, parent = (load_world_model(name) for name in (tmp_path / "runs/view/checkpoint", "franka"))
    assert model.image_size == 64 and set(model.heads) == set(parent.heads)
    refused = learn("others")
    assert refused.status != 0
    assert "episode 0 of the view others is another one than in the data" in refused.said


def test_settings_that_do_not_fit_are_refused(parent: CompactModel, views: list[JoinedFrames], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the parent has 1 latents of 6 numbers a frame, this run 1 of 12: set"):
        run(make_config(tmp_path, latents=replace(LATENTS, width=12)), parent, views)
    with pytest.raises(ValueError, match="view 1 holds other episodes than the first: their lengths differ"):
        run(
            make_config(tmp_path),
            parent,
            [views[0], JoinedFrames([build_frames(MovingSquare((6,) * 89), tmp_path / "other")])],
        )
    with pytest.raises(ValueError, match="one view teaches nothing about others"):
        make_config(tmp_path, views=())
    with pytest.raises(ValueError, match="view_readings are one for each of the 1 views, or none, got 2"):
        make_config(tmp_path, view_readings=(Path("a.yaml"), Path("b.yaml")))
    with pytest.raises(ValueError, match=r"jitter must be in \[0, 1\), got 1.0"):
        make_config(tmp_path, jitter=1.0)
