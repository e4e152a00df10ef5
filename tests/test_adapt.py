"""What of a parent learns: adapters, encoders of other actions and poses; what the new checkpoint carries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from envs.spec import ActionSpec, SpecError
from tests.moving_square import MovingSquare
from tests.small_training import DATA, log_of, make_batches, make_config, make_encoder, run
from world_model.base import LatentState
from world_model.checkpoints.checkpoint import read_manifest
from world_model.data.batches import WindowBatches
from world_model.encoders.vjepa2 import Encoder
from world_model.training.adapt import ADAPTED, add_adapters, plain_predictor
from world_model.training.processes import find_processes
from world_model.training.train import LoRA, PredictorSize, PredictorTrainer, TrainConfig
from world_model.vjepa2_ac import load_vjepa2_ac

ADAPTERS = LoRA(rank=4, alpha=8)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return make_encoder()


@pytest.fixture(scope="module")
def batches(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> WindowBatches:
    return make_batches(encoder, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def parent(encoder: Encoder, batches: WindowBatches, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = make_config(tmp_path_factory.mktemp("parent"), predictor=PredictorSize(24, 3, 2, 2.0, 8))
    run(config, encoder, batches)
    return config.checkpoint_directory


def fine_tune(output: Path, parent: Path, **changes: Any) -> TrainConfig:
    return make_config(output, encoder=None, parent=str(parent), **changes)


def changed_weights(before: Path, after: Path) -> set[str]:
    """Which of a checkpoint's tensors differ from another's, block numbers and weight or bias left out."""
    ours, theirs = (load_vjepa2_ac(folder).predictor.state_dict() for folder in (before, after))
    names = [
        name for name in ours if ours[name].shape != theirs[name].shape or not torch.equal(ours[name], theirs[name])
    ]
    return {".".join(part for part in name.split(".")[:-1] if not part.isdigit()) for name in names}


def test_adapters_change_what_they_adapt_and_leave_an_ordinary_checkpoint(
    encoder: Encoder, batches: WindowBatches, parent: Path, tmp_path: Path
) -> None:
    config = fine_tune(tmp_path, parent, lora=ADAPTERS, steps=60, learning_rate=1e-2, evaluate_every=60)
    manifest = run(config, encoder, batches)
    assert manifest is not None and manifest.parent == str(parent)
    adapted = {f"predictor_blocks.{name}" for name in ADAPTED}
    assert changed_weights(parent, config.checkpoint_directory) == adapted | {"action_encoder", "state_encoder"}
    before = manifest.training["parent_metrics"]["teacher_forcing"]
    assert manifest.training["metrics"]["teacher_forcing"] < before
    held_out = {n: v for n, v in log_of(tmp_path)[-1].items() if n.startswith("held_out/")}  # before merging
    merged = {f"held_out/{name}": value for name, value in manifest.training["metrics"].items()}
    assert held_out == pytest.approx(merged, abs=1e-5)


def test_adapters_start_without_effect(encoder: Encoder, batches: WindowBatches, parent: Path, tmp_path: Path) -> None:
    trainer = PredictorTrainer(fine_tune(tmp_path, parent, lora=ADAPTERS), encoder, batches, find_processes("cpu"))
    assert trainer.evaluate() == pytest.approx(read_manifest(parent).training["metrics"], abs=1e-6)


def test_merged_adapters_predict_what_they_predicted(parent: Path) -> None:
    predictor = load_vjepa2_ac(parent).predictor
    add_adapters(predictor, ADAPTERS, seed=0)
    for name, parameter in predictor.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    merged = plain_predictor(predictor.config, ADAPTERS, predictor.state_dict())
    inputs = (torch.randn(2, 3, 16, 24), torch.randn(2, 3, 2), torch.randn(2, 3, 2))
    for gradients in (True, False):  # two ways through the predictor
        with torch.set_grad_enabled(gradients):
            torch.testing.assert_close(predictor(*inputs), merged(*inputs), atol=1e-5, rtol=1e-5)


def test_a_resumed_run_with_dropout_has_the_losses_of_an_unbroken_one(
    encoder: Encoder, batches: WindowBatches, parent: Path, tmp_path: Path
) -> None:
    unbroken, broken = (
        fine_tune(tmp_path / name, parent, lora=replace(ADAPTERS, dropout=0.5), learning_rate=1e-2) for name in "ab"
    )
    run(unbroken, encoder, batches)
    assert run(broken, encoder, batches, stop_after=7) is None
    torch.rand(3)  # what else is drawn does not matter
    run(broken, encoder, batches)
    assert log_of(broken.output) == log_of(unbroken.output)


class JointSquare(MovingSquare):
    """The same pictures, but poses and actions are of three joints."""

    def poses_actions(self, episode: int) -> tuple[np.ndarray, np.ndarray]:
        poses, _ = super().poses_actions(episode)
        joints = np.stack([poses[:, 0] + 1.0, poses[:, 1], poses.sum(1)], axis=1)
        return joints, np.diff(joints, axis=0)


JOINTS = ActionSpec(("a", "b", "c"), ("rad",) * 3, (-0.5,) * 3, (0.5,) * 3, "joints", 4.0)


@pytest.fixture(scope="module")
def joints(batches: WindowBatches) -> WindowBatches:
    return WindowBatches(JointSquare(DATA.lengths, spec=JOINTS), batches.latents)


def test_other_actions_are_refused_with_the_way_to_train_for_them(
    encoder: Encoder, joints: WindowBatches, parent: Path, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=r"names: .* encoders start anew: fresh_conditioning"):
        run(fine_tune(tmp_path, parent), encoder, joints)


@pytest.mark.parametrize("part", [{"blocks": 1}, {"lora": ADAPTERS}, {}])
def test_a_parent_is_adopted_for_other_actions_and_poses(
    encoder: Encoder, joints: WindowBatches, parent: Path, tmp_path: Path, part: dict[str, Any]
) -> None:
    config = fine_tune(tmp_path, parent, fresh_conditioning=True, steps=40, learning_rate=1e-2, **part)
    manifest = run(config, encoder, joints)
    assert manifest is not None
    changed = changed_weights(parent, config.checkpoint_directory)
    assert changed >= {"action_encoder", "state_encoder"}
    assert ("predictor_embed" in changed) == (not part)
    metrics = manifest.training["metrics"]
    assert metrics["teacher_forcing"] < manifest.training["parent_metrics"]["teacher_forcing"]
    assert len(manifest.statistics.pose_mean) == 3 and manifest.statistics.pose_mean[0] > 1.0


def test_the_new_checkpoint_carries_what_it_comes_from_and_plans_without_data(
    encoder: Encoder, joints: WindowBatches, parent: Path, tmp_path: Path
) -> None:
    config = fine_tune(tmp_path, parent, fresh_conditioning=True)
    run(config, encoder, joints)
    manifest = read_manifest(config.checkpoint_directory)
    assert (manifest.parent, manifest.action_spec, manifest.fps) == (str(parent), JOINTS, 4.0)
    assert manifest.training["parent_files"] == read_manifest(parent).files
    assert manifest.training["latents"] == joints.latents.key
    model = load_vjepa2_ac(config.checkpoint_directory)
    state = LatentState(torch.randn(1, 1, 16, 24), torch.zeros(1, 1, 3))
    assert model.rollout(state, torch.zeros(5, 4, 3)).tokens.shape == (5, 4, 16, 24)
