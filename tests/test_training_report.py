"""The report on a training run, from its command line to its pictures, with small models; and its arithmetic."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from envs.episodes import Episode
from envs.episodes.formats.lerobot import finalize_dataset, read_dataset, write_shard
from envs.pose import difference
from planner.evaluation import report as evaluation_report
from planner.training import figures, measures, report_program, verdict
from planner.training import run as training_run
from tests.moving_square import MovingSquare
from tests.toy_reach import HIGH, LOW, ToyArm
from world_model.checkpoints.checkpoint import read_manifest, save_checkpoint
from world_model.data.batches import WindowBatches
from world_model.data.clips import Split, split_episodes
from world_model.data.latents import LatentCache, build_latents
from world_model.encoders.vjepa2 import Encoder, EncoderConfig
from world_model.heads import neighbours
from world_model.heads.neighbours import Frames, nearest_frames, spread_frames
from world_model.training.loop import RunLog
from world_model.training.train import PredictorSize, TrainConfig, train
from world_model.vjepa2_ac import load_vjepa2_ac

ROOT = Path(__file__).parent.parent
PICTURES = ("training.png", "rollout_error.png", "landscape.png", "neighbours-1.png", "neighbours-2.png")
FAST = ["--windows", "20", "--steps", "6", "--shell", "16", "--device", "cpu"]


def record_episode(seed: int, frames: int = 10) -> Episode:
    """A random walk of the toy arm; every third action moves by less than a centimetre."""
    generator, arm = np.random.default_rng(seed), ToyArm()
    arm.pose[:3] = generator.uniform(LOW, HIGH)
    seen = [arm.observe()]
    for step in range(frames - 1):
        move = generator.uniform(-0.05, 0.05, 3) * (0.05 if step % 3 == 0 else 1)
        target = np.clip(arm.pose[:3] + move, LOW, HIGH)
        arm.command(np.append(target, arm.pose[3:6]), 0.0, 0.25)
        seen.append(arm.observe())
    poses = np.stack([observation.pose for observation in seen])
    images = np.stack([observation.image for observation in seen])
    return Episode(images, poses, difference(poses[:-1], poses[1:]), 4.0, arm.action_spec)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "toy"
    write_shard(root, 0, [record_episode(seed) for seed in range(12)])
    finalize_dataset(root, "toy")
    return root


def train_run(data: Path, output: Path, **changes: Any) -> Path:
    config = TrainConfig(
        data=data, output=output, frames=4, steps=20, batch=16, warmup=3, learning_rate=3e-3, held_out=0.25,
        evaluate_every=10, evaluate_horizon=3, evaluate_windows=20, save_every=20, device="cpu", precision="fp32",
        predictor=PredictorSize(24, 1, 2, 2.0, 8), **changes,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = Encoder(EncoderConfig(image_size=32, patch_size=8, width=24, depth=1, heads=2))
    dataset = read_dataset(data)
    batches = WindowBatches(dataset, build_latents(dataset, encoder, config.cache_directory))
    with RunLog(output) as log:
        train(config, encoder, batches, log, {"data": {"fingerprint": dataset.fingerprint}, "seed": config.seed})
    return output


@pytest.fixture(scope="module")
def scratch(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(data, tmp_path_factory.mktemp("runs") / "scratch", encoder=Path("nowhere"))


@pytest.fixture(scope="module")
def tuned(data: Path, scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(data, tmp_path_factory.mktemp("runs") / "tuned", parent=str(scratch / "checkpoint"))


def write_report(run: Path, *flags: str) -> tuple[str, Mapping[str, Any]]:
    report_program.main(["--run", str(run), *FAST, *flags])
    return (run / "report/report.md").read_text(), json.loads((run / "report/report.json").read_text())


def test_the_report_on_fine_tuning_compares_with_the_parent(data: Path, tuned: Path, tmp_path: Path) -> None:
    plan = {"task": "toy_reach:envs/ToyReach-v0", "max_steps": 3, "planner": {"samples": 8, "iterations": 1}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    flags = ("--plan", str(tmp_path / "plan.yaml"), "--episodes", "3", "--seed", "7")
    text, found = write_report(tuned, *flags)
    assert f"**{found['headline']}**" in text and found["headline"].startswith(found["verdict"])
    metrics = read_manifest(tuned / "checkpoint").training
    for kind, stored in (("before", "parent_metrics"), ("after", "metrics")):
        assert found["judged"][kind]["mean_errors"] == pytest.approx(metrics[stored], rel=1e-4)
    assert len(found["judged"]["before"]["steps"]) == len(found["judged"]["after"]["steps"]) == 6
    assert list(found["episodes"]) == ["before", "after", "zero", "random"]
    assert all([episode["seed"] for episode in episodes] == [7, 8, 9] for episodes in found["episodes"].values())
    assert "zero action" in text and "seeds 7..9" in text and "solved at the start" in text
    for name in PICTURES:
        assert np.asarray(Image.open(tuned / "report" / name).convert("L")).std() > 5
        assert f"({name})" in text
    held_out = set(split_episodes(12, 0.25, 0).held_out)
    assert set(found["held_out_episodes"]) == held_out
    assert {episode for episode, _ in found["steps"]} <= held_out
    places = [place for strip in found["strips"] for row in strip["found"].values() for place in row]
    assert len(places) == 2 * 3 * 3 and not held_out & {episode for episode, _ in places}


def test_a_new_model_is_compared_with_baselines(scratch: Path) -> None:
    run, model = training_run.open_run(scratch, "cpu")
    found = training_run.measure(run, model, report_program.ReportConfig(windows=20, steps=6, shell=16, device="cpu"))
    assert list(found.judged) == list(run.names) == ["after"] and list(found.strips[0].found) == ["seen", "after"]
    error, *blind, rank = found.changes  # three steps of training teach nobody to look at actions
    assert [(change.baseline, change.before.split()[0], change.effect) for change in blind] == [
        (True, "shuffled", "unclear")
    ]
    assert verdict.verdict([*blind, replace(error, effect="better")]) == "Mixed"
    means = {kind: found.judged["after"].errors[f"rollout_{kind}_3"].mean() for kind in ("copy", "shuffled")}
    name = "copying the last frame" if means["copy"] < means["shuffled"] else "shuffled actions"
    assert error.baseline and error.before == f"{name} {min(means.values()):.4f}"
    assert rank.before == "chance is 50 %"


def test_a_parent_of_other_actions_is_no_before(tuned: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tuned, tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    other = load_vjepa2_ac(config["parent"])
    other.action_spec = replace(other.action_spec, rate=2.0)
    save_checkpoint(tmp_path / "slower", other, training={})
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"parent": str(tmp_path / "slower")}))
    opened, _ = training_run.open_run(run, "cpu")
    assert opened.parent is None and list(opened.names) == ["after"]
    assert "slower cannot predict these episodes" in opened.remarks[-1] and "rate" in opened.remarks[-1]


def test_a_parent_that_was_replaced_is_remarked_on(tuned: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tuned, tmp_path / "run")
    assert not any("was replaced" in remark for remark in training_run.open_run(run, "cpu")[0].remarks)
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"parent": str(tuned / "checkpoint")}))
    assert any("was replaced" in remark for remark in training_run.open_run(run, "cpu")[0].remarks)


def test_a_parent_that_saw_the_held_out_episodes_is_remarked_on(tuned: Path, scratch: Path, tmp_path: Path) -> None:
    run, parent = shutil.copytree(tuned, tmp_path / "run"), load_vjepa2_ac(scratch / "checkpoint")
    config = yaml.safe_load((run / "config.yaml").read_text())
    training = {**read_manifest(scratch / "checkpoint").training, "seed": 5}
    save_checkpoint(tmp_path / "seed-5", parent, training=training)
    assert not any("another seed" in remark for remark in training_run.open_run(run, "cpu")[0].remarks)
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"parent": str(tmp_path / "seed-5")}))
    assert any("another seed" in remark for remark in training_run.open_run(run, "cpu")[0].remarks)


def test_what_is_no_finished_run_is_one_line(tuned: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"error: .* is no run directory: it has no config.yaml"):
        report_program.main(["--run", str(tmp_path)])
    run = shutil.copytree(tuned, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoint"))
    with pytest.raises(SystemExit, match=r"error: the run .* is not finished: there is no .*checkpoint"):
        report_program.main(["--run", str(run)])
    with pytest.raises(SystemExit, match=r"error: there is no task 'Nowhere-v0'"):
        report_program.main(["--run", str(tuned), "--task", "Nowhere-v0"])


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> tuple[MovingSquare, LatentCache]:
    data = MovingSquare((6, 4, 7))
    encoder = Encoder(EncoderConfig(image_size=32, patch_size=8, width=24, depth=1, heads=2))
    return data, build_latents(data, encoder, tmp_path_factory.mktemp("latents"))


def test_only_actions_of_an_end_effector_are_ranked(squares: tuple[MovingSquare, LatentCache]) -> None:
    held_out = measures.choose_held_out(WindowBatches(*squares), Split((0, 1), (2,)), 3, 8, 5)
    assert len(held_out.step_numbers) == 0 and held_out.drawn == []
    assert len(held_out.numbers) == 4 and len(held_out.strips) == 1


def test_steps_that_hardly_move_are_not_ranked(data: Path) -> None:
    dataset = read_dataset(data)
    encoder = Encoder(EncoderConfig(image_size=32, patch_size=8, width=24, depth=1, heads=2))
    batches = WindowBatches(dataset, build_latents(dataset, encoder, data.with_name("other-cache")))
    held_out = measures.choose_held_out(batches, Split((0, 1), (4, 7)), 3, 8, 100)
    actions = [held_out.step(i).actions[0, 0, :3].norm() for i in range(len(held_out.step_numbers))]
    assert len(actions) >= 8 and min(actions) >= 0.01
    assert not {0, 3, 6} & set(held_out.steps.locate(held_out.step_numbers)[1].tolist())


def test_the_nearest_frame_is_found_across_parts(
    squares: tuple[MovingSquare, LatentCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, latents = squares
    frames = spread_frames(data.lengths, (0, 2), limit=100)
    assert len(frames) == 13 and set(frames.episodes) == {0, 2}
    stored = latents.windows(frames.episodes, frames.indices, 1)[:, 0].float()
    queries = stored[[11, 2, 7]] + 0.01 * torch.randn(3, *stored.shape[1:], generator=torch.Generator().manual_seed(0))
    expected = (queries[:, None] - stored).abs().mean(dim=(2, 3)).min(dim=1)
    parts: list[int] = []
    monkeypatch.setattr(neighbours, "CHUNK_BYTES", 5 * 4 * stored[0].numel())
    found, distances = nearest_frames(latents, frames, queries, parts.append)
    assert parts == [5, 5, 3]
    np.testing.assert_array_equal(found.episodes, frames[expected.indices.numpy()].episodes)
    np.testing.assert_array_equal(found.indices, frames[expected.indices.numpy()].indices)
    np.testing.assert_allclose(distances, expected.values, rtol=1e-5)


def test_of_many_frames_an_even_share_is_searched() -> None:
    frames = spread_frames((10, 100, 10), (0, 2), limit=5)
    assert isinstance(frames, Frames)
    assert list(zip(frames.episodes, frames.indices, strict=True)) == [(0, 0), (0, 5), (2, 0), (2, 4), (2, 9)]


def test_a_landscape_without_any_slope_has_levels_to_draw() -> None:
    levels = figures._levels
    assert np.all(np.diff(levels(np.full((4, 4), 0.25, np.float32))) > 0)
    assert np.all(np.diff(levels(np.repeat([0.1, 0.2], 8).astype(np.float32))) > 0)


def test_an_error_ratio_counts_episodes_not_windows() -> None:
    episodes = np.repeat([3, 5, 8], [50, 2, 2])
    before = np.ones(54)
    after = np.select([episodes == 3, episodes == 5], [0.5, 0.25], 0.125)
    ratio = verdict.error_ratio(after, before, episodes)
    assert ratio.change == pytest.approx(0.25 - 1) and ratio.episodes == 3
    logs = np.log([0.5, 0.25, 0.125])
    half = 4.302653 * logs.std(ddof=1) / np.sqrt(3)  # t quantile, 2 degrees of freedom
    assert ratio.interval == pytest.approx((0.25 * np.exp(-half) - 1, 0.25 * np.exp(half) - 1), rel=1e-5)
    alone = verdict.error_change(after[:50], before[:50], episodes[:50], 2, None)
    assert alone.effect == "unclear" and alone.interval is None and "one held-out episode" in alone.sentence


@pytest.mark.parametrize(
    ("gained", "lost", "effect", "p"), [(11, 0, "better", 0.00098), (0, 6, "worse", 0.03125), (4, 1, "unclear", 0.375)]
)
def test_success_is_compared_seed_by_seed(gained: int, lost: int, effect: str, p: float) -> None:
    before = [record(False)] * gained + [record(True)] * lost + [record(True), record(False)] * 4
    after = [record(True)] * gained + [record(False)] * lost + [record(True), record(False)] * 4
    change = verdict.success_change(after, before, None)
    assert (change.effect, change.difference) == (effect, (gained - lost) / len(after))
    assert f"{gained} seeds gained, {lost} lost, p = {p:.2g}" in change.sentence


def record(success: bool) -> Any:
    nothing = np.zeros((1, 7))
    return evaluation_report.EpisodeRecord("planner", 0, [0.1], [success], nothing, nothing, [], [0.0], nothing[0])


@pytest.mark.parametrize(
    ("error", "rank", "success", "expected"),
    [
        ("better", "unclear", None, "Worth it"),
        ("better", "better", "better", "Worth it"),
        ("unclear", "unclear", "better", "Worth it"),
        ("better", "better", "unclear", "Mixed"),
        ("better", "worse", None, "Mixed"),
        ("better", "better", "worse", "Mixed"),
        ("worse", "unclear", "unclear", "Not worth it"),
        ("unclear", "unclear", "unclear", "No gain beyond chance"),
    ],
)
def test_lower_errors_alone_are_not_worth_it_where_success_was_measured(
    error: str, rank: str, success: str | None, expected: str
) -> None:
    effects = {"error": error, "rank": rank, **({} if success is None else {verdict.SUCCESS: success})}
    changes = [
        verdict.Change(name, "1", "2", cast(verdict.Effect, effect), 0.0, None, "", False)
        for name, effect in effects.items()
    ]
    assert verdict.verdict(changes) == expected
