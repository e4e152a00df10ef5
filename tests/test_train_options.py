"""The loss's rollouts and gradients, the schedule, early stopping, recomputing, what is logged where."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from envs.config import load_config
from tests.small_models import random_actions, random_state, small_model
from tests.small_training import log_of, make_batches, make_config, make_encoder, run
from world_model.data.batches import WindowBatches
from world_model.encoders.vjepa2 import Encoder
from world_model.training.loop import STATE_FILE, RunLog, learning_rate_factor
from world_model.training.processes import find_processes
from world_model.training.state import load_state
from world_model.training.train import LoRA, PredictorTrainer, TrainConfig
from world_model.vjepa2_ac import load_vjepa2_ac

OFFICIAL = Path(__file__).resolve().parent.parent / "scripts" / "configs" / "official" / "train.yaml"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return make_encoder()


@pytest.fixture(scope="module")
def batches(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> WindowBatches:
    return make_batches(encoder, tmp_path_factory.mktemp("data"))


def test_a_rollout_after_measured_frames_is_what_the_planner_would_predict() -> None:
    model, state, actions = small_model(context=2), random_state(5), random_actions(1, 4)
    found = model.loss(state.tokens, actions, state.poses, rollout_steps=3, measured=2).rollout
    latents, cache = model._predict(state.tokens[:, :2], actions[:, :2], state.poses[:, :2], None)
    predicted = [latents[:, 1:]]
    for step in (2, 3):
        latent, cache = model._predict(predicted[-1], actions[:, [step]], state.poses[:, [step]], cache)
        predicted.append(latent)
    torch.testing.assert_close(found, (torch.cat(predicted, 1) - state.tokens[:, 2:5]).abs().mean())


def test_a_window_too_short_for_its_rollout_is_an_error() -> None:
    state = random_state(4)
    with pytest.raises(ValueError, match="4 frames has no 2 rollout steps after 3 measured"):
        small_model().loss(state.tokens, random_actions(1, 3), state.poses, 2, measured=3)


@pytest.mark.parametrize(("gradient_steps", "reached"), [(0, {2}), (1, {2}), (2, {0, 1, 2}), (None, {0, 1, 2})])
def test_gradients_flow_through_so_many_predictions_fed_back(gradient_steps: int | None, reached: set[int]) -> None:
    """Of a rollout of 3 steps: which actions its last prediction depends on, as gradients see it."""
    model, state = small_model(), random_state(4)
    actions = random_actions(1, 3).requires_grad_()
    predict, predicted = model._predict, []

    def watch(*arguments: Any) -> Any:
        latents, cache = predict(*arguments)
        predicted.append(latents)
        return latents, cache

    model._predict = watch  # type: ignore[method-assign]
    model.loss(state.tokens, actions, state.poses, 3, gradient_steps=gradient_steps)
    (gradient,) = torch.autograd.grad(predicted[-1].abs().sum(), actions)
    assert {step for step in range(3) if gradient[0, step].any()} == reached


def test_one_prediction_fed_back_lets_gradients_through_to_the_one_before() -> None:
    model, state = small_model(), random_state(4)
    actions = random_actions(1, 3).requires_grad_()
    (cut,) = torch.autograd.grad(model.loss(state.tokens, actions, state.poses, 2, gradient_steps=0).rollout, actions)
    (kept,) = torch.autograd.grad(model.loss(state.tokens, actions, state.poses, 2, gradient_steps=1).rollout, actions)
    (full,) = torch.autograd.grad(model.loss(state.tokens, actions, state.poses, 2).rollout, actions)
    assert torch.equal(kept, full) and not torch.equal(cut, full)


def test_mixed_rollouts_start_after_every_number_of_measured_frames(
    encoder: Encoder, batches: WindowBatches, tmp_path: Path
) -> None:
    config = make_config(tmp_path, frames=5, rollout_steps=2, rollout_context="mixed")
    trainer = PredictorTrainer(config, encoder, batches, find_processes("cpu"))
    starts = [trainer._measured(step) for step in range(60)]
    assert set(starts) == {1, 2, 3} and starts == [trainer._measured(step) for step in range(60)]
    first = PredictorTrainer(replace(config, rollout_context="first"), encoder, batches, find_processes("cpu"))
    assert {first._measured(step) for step in range(60)} == {1}


def test_recomputing_activations_changes_no_loss(encoder: Encoder, batches: WindowBatches, tmp_path: Path) -> None:
    for name, recompute in (("a", False), ("b", True)):
        run(make_config(tmp_path / name, recompute=recompute, rollout_steps=2), encoder, batches)
    assert log_of(tmp_path / "a") == log_of(tmp_path / "b")


def test_the_official_file_has_the_published_schedule() -> None:
    config = load_config(TrainConfig, OFFICIAL)

    def rate(step: int) -> float:
        return config.learning_rate * learning_rate_factor(
            step, config.steps, config.warmup, config.decay, config.final_learning_rate, config.first_learning_rate,
            config.cooldown,
        )  # fmt: skip

    assert rate(0) == pytest.approx(7.5e-5, rel=2e-3)
    assert rate(4500) == rate(60000) == rate(90000) == 4.25e-4
    assert rate(92250) == pytest.approx(4.25e-4 / 2) and rate(94499) < 1e-7 and rate(94500) == 0.0
    assert rate(2250) == pytest.approx((7.5e-5 + 4.25e-4) / 2, rel=1e-3)
    assert (config.batch, config.frames, config.rollout_steps, config.clip) == (256, 8, 2, 0.0)


def test_early_stopping_saves_the_best_weights_and_survives_a_stop(
    encoder: Encoder, batches: WindowBatches, tmp_path: Path
) -> None:
    changes = {"steps": 200, "learning_rate": 0.3, "clip": 0.0, "evaluate_every": 1, "patience": 4, "warmup": 30}
    for name in "ab":
        config = make_config(tmp_path / name, **changes)
        if name == "b":
            assert run(config, encoder, batches, stop_after=3) is None
        manifest = run(config, encoder, batches)
        errors = [line["held_out/rollout_3"] for line in log_of(config.output)]
        best = errors.index(min(errors))
        assert len(errors) == best + 5 < 200
        assert manifest is not None and manifest.training["best_step"] == best + 1
        assert manifest.training["metrics"]["rollout_3"] == pytest.approx(min(errors), abs=1e-6)
        state = load_state(config.output / STATE_FILE)
        assert state is not None and state["step"] == len(errors)
        saved = load_vjepa2_ac(config.checkpoint_directory).predictor.state_dict()
        assert all(torch.equal(value, state["trainer"]["best"][key]) for key, value in saved.items())
        assert run(config, encoder, batches) == manifest  # it stays ended
    assert log_of(tmp_path / "a") == log_of(tmp_path / "b")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"lora": LoRA(4)}, "say what becomes of a parent, but none is named"),
        ({"parent": "p", "encoder": None, "lora": LoRA(4), "blocks": 1}, "either the last blocks or adapters"),
        ({"cooldown": 10}, "3 steps of warm-up and 10 of cooldown do not fit into 12 steps"),
        ({"gradient_steps": -1}, "gradient_steps must be at least 0"),
        ({"patience": 0}, "patience must be positive"),
        ({"first_learning_rate": 2.0}, "share of the peak"),
    ],
)
def test_settings_that_make_no_sense_are_an_error(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=expected):
        make_config(tmp_path, **changes)


def test_an_adapters_settings_are_checked() -> None:
    with pytest.raises(ValueError, match=r"dropout in 0 \.\. 1"):
        LoRA(rank=2, dropout=1.0)


def test_wandb_that_is_not_installed_is_an_error_before_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"wandb is not installed .* log to tensorboard"):
        RunLog(tmp_path, "wandb")


def test_wandb_gets_every_step_of_one_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[str, Any]] = []

    def init(**settings: Any) -> types.SimpleNamespace:
        calls.append(("init", settings["id"]))
        return types.SimpleNamespace(
            log=lambda values, step: calls.append(("log", (step, values))),
            finish=lambda: calls.append(("finish", None)),
        )

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))  # type: ignore[arg-type]
    for step in (0, 1):
        with RunLog(tmp_path, "wandb") as log:
            log(step, {"total": 0.5})
    assert calls[1:3] == [("log", (0, {"total": 0.5})), ("finish", None)]
    assert calls[0] == calls[3] and calls[4] == ("log", (1, {"total": 0.5}))
