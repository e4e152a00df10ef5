"""The latent cache and the predictor's training loop, on a square that actions move."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.spec import SpecError
from tests.moving_square import MovingSquare
from tests.small_training import DATA, make_config, make_encoder
from world_model.checkpoints.checkpoint import read_manifest
from world_model.data.batches import WindowBatches
from world_model.data.latents import LatentCache, build_latents, latent_layout
from world_model.data.store import CacheError, shard_path
from world_model.encoders.vjepa2 import Encoder
from world_model.training.held_out import format_errors
from world_model.training.state import StateError
from world_model.training.train import PredictorSize, TrainConfig, train
from world_model.vjepa2_ac import load_vjepa2_ac


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return make_encoder()


@pytest.fixture(scope="module")
def latents(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> LatentCache:
    return build_latents(DATA, encoder, tmp_path_factory.mktemp("latents"))


@pytest.fixture(scope="module")
def batches(latents: LatentCache) -> WindowBatches:
    return WindowBatches(DATA, latents)


def losses_of(config: TrainConfig, encoder: Encoder, batches: WindowBatches, stop_after: int | None = None) -> list:
    measured: list = []

    def report(step: int, values) -> None:
        measured.append((step, values["total"]))
        if step + 1 == stop_after:
            signal.raise_signal(signal.SIGINT)

    train(config, encoder, batches, report, {"command": "a test"})
    return measured


def test_cached_latents_are_the_encoders_in_bfloat16(encoder: Encoder, latents: LatentCache) -> None:
    cached = latents.windows(np.array([3]), np.array([1]), frames=4)
    images = torch.from_numpy(DATA[3].images[1:5])
    expected = encoder(encoder.preprocess(images)).to(torch.bfloat16)
    torch.testing.assert_close(cached[0], expected, atol=2e-2, rtol=1e-2)


def test_another_encoder_or_dataset_is_another_cache(encoder: Encoder) -> None:
    other = make_encoder(seed=1)
    keys = {
        latent_layout(DATA, encoder).key,
        latent_layout(DATA, other).key,
        latent_layout(MovingSquare((6,) * 24, seed=1), encoder).key,
    }
    assert len(keys) == 3


def test_a_truncated_cache_is_refused_by_name(encoder: Encoder, tmp_path: Path) -> None:
    cache = build_latents(MovingSquare((4, 4)), encoder, tmp_path)
    path = shard_path(cache.store.directory, 0)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CacheError, match=path.name):
        build_latents(MovingSquare((4, 4)), encoder, tmp_path)


def test_a_resumed_run_has_the_losses_of_an_unbroken_one(
    encoder: Encoder, batches: WindowBatches, tmp_path: Path
) -> None:
    unbroken = losses_of(make_config(tmp_path / "a", average=0.9), encoder, batches)
    broken = make_config(tmp_path / "b", average=0.9)
    first = losses_of(broken, encoder, batches, stop_after=7)
    assert len(first) == 7
    assert first + losses_of(broken, encoder, batches) == unbroken


def test_state_of_another_configuration_is_refused_by_name(
    encoder: Encoder, batches: WindowBatches, tmp_path: Path
) -> None:
    losses_of(make_config(tmp_path), encoder, batches, stop_after=2)
    with pytest.raises(StateError, match="learning_rate"):
        losses_of(make_config(tmp_path, learning_rate=0.5), encoder, batches)


def test_training_beats_copying_and_its_checkpoint_loads(
    encoder: Encoder, batches: WindowBatches, tmp_path: Path
) -> None:
    config = make_config(tmp_path, steps=250, batch=32, learning_rate=3e-3, evaluate_every=250, save_every=250)
    manifest = train(config, encoder, batches, lambda step, measured: None, {"command": "a test"})
    assert manifest is not None
    metrics = manifest.training["metrics"]
    assert metrics["teacher_forcing"] < metrics["teacher_forcing_copy"]
    assert metrics["teacher_forcing"] < metrics["teacher_forcing_shuffled"]
    assert "shuffled" in format_errors(metrics)
    assert load_vjepa2_ac(config.checkpoint_directory).action_spec == DATA.spec


@pytest.fixture(scope="module")
def parent(encoder: Encoder, batches: WindowBatches, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = make_config(tmp_path_factory.mktemp("parent"), predictor=PredictorSize(24, 3, 2, 2.0, 8))
    train(config, encoder, batches, lambda step, measured: None, {"command": "a test"})
    return config.checkpoint_directory


def fine_tune(output: Path, parent: Path, **changes: object) -> TrainConfig:
    return make_config(output, encoder=None, parent=str(parent), **changes)


def test_fine_tuning_starts_from_its_parent_and_says_so(
    encoder: Encoder, batches: WindowBatches, parent: Path, tmp_path: Path
) -> None:
    manifest = train(fine_tune(tmp_path, parent), encoder, batches, lambda step, measured: None, {})
    before = read_manifest(parent)
    assert manifest is not None and manifest.parent == str(parent)
    assert manifest.training["parent_metrics"] == pytest.approx(before.training["metrics"])
    assert manifest.training["metrics"]["teacher_forcing"] < before.training["metrics"]["teacher_forcing"]
    assert (manifest.parts, manifest.statistics) == (before.parts, before.statistics)


def test_fine_tuning_the_last_blocks_leaves_the_others_as_they_were(
    encoder: Encoder, batches: WindowBatches, parent: Path, tmp_path: Path
) -> None:
    config = fine_tune(tmp_path, parent, blocks=1)
    train(config, encoder, batches, lambda step, measured: None, {})
    before, after = (load_vjepa2_ac(folder).predictor.state_dict() for folder in (parent, config.checkpoint_directory))
    changed = {
        name.split(".")[0] + name.split(".")[1] * ("blocks" in name)
        for name in before
        if not torch.equal(before[name], after[name])
    }
    assert changed == {"predictor_blocks2", "predictor_norm", "predictor_proj"}


def test_a_resumed_fine_tuning_has_the_losses_of_an_unbroken_one(
    encoder: Encoder, batches: WindowBatches, parent: Path, tmp_path: Path
) -> None:
    unbroken = losses_of(fine_tune(tmp_path / "a", parent, blocks=2), encoder, batches)
    broken = fine_tune(tmp_path / "b", parent, blocks=2)
    first = losses_of(broken, encoder, batches, stop_after=7)
    assert first + losses_of(broken, encoder, batches) == unbroken


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"encoder": Path("here")}, "name either an encoder, for a new predictor, or a parent"),
        ({"parent": None}, "name either an encoder, for a new predictor, or a parent"),
        ({"blocks": 0}, "blocks is how many of a parent's last blocks learn, at least 1, got 0"),
        ({"parent": None, "encoder": Path("here"), "blocks": 1}, "blocks is how many of a parent's"),
    ],
)
def test_settings_that_do_not_fit_together_are_an_error(changes: dict, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=expected):
        replace(fine_tune(tmp_path, Path("some")), **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"blocks": 4}, "has 3 blocks, 4 were to learn"), ({"evaluate_horizon": 9}, "takes 8 frames at most, but 9 are")],
)
def test_a_parent_that_does_not_fit_is_an_error(
    encoder: Encoder, batches: WindowBatches, parent: Path, changes: dict, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=expected):
        train(fine_tune(tmp_path, parent, **changes), encoder, batches, lambda step, measured: None, {})


def test_a_parent_of_other_actions_is_refused(
    encoder: Encoder, batches: WindowBatches, parent: Path, tmp_path: Path
) -> None:
    slower = WindowBatches(DATA, batches.latents)
    slower.action_spec = replace(DATA.spec, rate=DATA.spec.rate / 2)
    with pytest.raises(SpecError, match="rate"):
        train(fine_tune(tmp_path, parent), encoder, slower, lambda step, measured: None, {})
