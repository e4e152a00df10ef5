"""Several processes against one: the same losses, the same weights, and states that go from one to the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.small_training import from_job, log_of, make_batches, make_encoder, run
from world_model.finite import DivergedError, not_finite, tensors_in
from world_model.training.loop import STATE_FILE
from world_model.training.processes import find_processes
from world_model.training.state import load_state
from world_model.training.train import PredictorTrainer
from world_model.vjepa2_ac import load_vjepa2_ac

ROOT = Path(__file__).resolve().parent.parent
JOB: dict[str, Any] = {
    "batch": 16, "steps": 10, "learning_rate": 3e-3, "average": 0.9, "pose_noise": 0.1, "rollout_context": "mixed",
    "frames": 4, "evaluate_every": 5, "save_every": 4,
}  # fmt: skip
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ACCELERATE = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1")


def launch(launcher: tuple[str, ...], folder: Path, jobs: list[dict[str, Any]], status: int = 0) -> str:
    """Runs the jobs one after the other on two processes and returns what they said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *launcher, "-m", "tests.small_training", str(folder), json.dumps(jobs)]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert found.returncode == status, found.stderr[-6000:]
    return found.stderr


def train_alone(folder: Path, job: dict[str, Any]) -> None:
    encoder = make_encoder()
    run(from_job(folder, job), encoder, make_batches(encoder, folder))


def assert_same_run(folder: Path, one: str, other: str, tolerance: float = 1e-4) -> None:
    """Losses, held-out errors and final weights agree."""
    first, second = log_of(folder / one), log_of(folder / other)
    assert [line["step"] for line in first] == [line["step"] for line in second]
    for ours, theirs in zip(first, second, strict=True):
        assert ours == pytest.approx(theirs, abs=tolerance)
    ours, theirs = (load_vjepa2_ac(folder / name / "checkpoint").predictor.state_dict() for name in (one, other))
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-3, rtol=1e-3)


def diverging(sharding: str) -> dict[str, Any]:
    return {**JOB, "output": f"diverged-{sharding}", "sharding": sharding, "learning_rate": 1e30, "accumulate": 2}


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Runs on two processes, of which the last diverges, and what they said; and the same run on one."""
    folder = tmp_path_factory.mktemp("runs")
    train_alone(folder, {**JOB, "output": "alone"})
    jobs = [
        {"output": "copies"},
        {"output": "shares", "sharding": "fsdp", "recompute": True},
        {"output": "broken", "sharding": "fsdp", "stop_after": 6},
        diverging("fsdp"),
    ]
    return folder, launch(TORCHRUN, folder, [{**JOB, **job} for job in jobs], status=1)


@pytest.fixture
def folder(launched: tuple[Path, str]) -> Path:
    return launched[0]


def test_two_processes_have_the_losses_of_one(folder: Path) -> None:
    assert_same_run(folder, "alone", "copies")


def test_two_processes_that_share_the_weights_have_the_losses_of_one(folder: Path) -> None:
    assert_same_run(folder, "alone", "shares")


def test_a_stop_of_one_process_stops_all_and_another_number_goes_on(folder: Path) -> None:
    assert len(log_of(folder / "broken")) == 6
    assert not (folder / "broken" / "checkpoint").exists()
    train_alone(folder, {**JOB, "output": "broken"})
    assert_same_run(folder, "alone", "broken")


def test_a_batch_taken_in_parts_has_the_losses_of_a_whole_one(folder: Path) -> None:
    train_alone(folder, {**JOB, "output": "parts", "accumulate": 4})
    assert_same_run(folder, "alone", "parts")


def test_a_batch_that_can_not_be_divided_is_an_error(folder: Path) -> None:
    encoder = make_encoder()
    config = from_job(folder, {**JOB, "output": "odd", "batch": 10, "accumulate": 4})
    with pytest.raises(ValueError, match=r"batch of 10 windows .* choose a multiple of 4"):
        PredictorTrainer(config, encoder, make_batches(encoder, folder), find_processes("cpu"))


@pytest.mark.parametrize("sharding", [pytest.param("ddp", marks=pytest.mark.slow), "fsdp"])
def test_processes_that_diverge_stop_together_with_the_state_before(launched: tuple[Path, str], sharding: str) -> None:
    folder, told = launched
    job = diverging(sharding)
    if sharding != "fsdp":
        told = launch(TORCHRUN, folder, [job], status=1)
    assert told.count("DivergedError: training stopped at step 2 of 10: total is nan") == 2  # one a process
    assert told.count("as after step 1; the same command") == 2
    state = load_state(folder / job["output"] / STATE_FILE)
    assert state is not None and state["step"] == 1 and not not_finite(dict(tensors_in(state)))
    with pytest.raises(DivergedError, match=r"training stopped at step 2 of 10.* as after step 1;"):
        train_alone(folder, job)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_adapters_parts_and_early_stopping_are_the_same_on_two_processes(folder: Path, sharding: str) -> None:
    job = {
        **JOB, "encoder": None, "parent": str(folder / "alone" / "checkpoint"), "lora": {"rank": 2}, "steps": 20,
        "accumulate": 2, "evaluate_every": 1, "patience": 3, "learning_rate": 0.03, "fresh_conditioning": True,
    }  # fmt: skip
    train_alone(folder, {**job, "output": f"adapted-{sharding}"})
    launch(TORCHRUN, folder, [{**job, "output": f"adapted-two-{sharding}", "sharding": sharding}])
    assert_same_run(folder, f"adapted-{sharding}", f"adapted-two-{sharding}")


@pytest.mark.slow
def test_accelerate_launch_goes_on_with_what_one_process_began(folder: Path) -> None:
    encoder = make_encoder()
    config = from_job(folder, {**JOB, "output": "begun"})
    assert run(config, encoder, make_batches(encoder, folder), stop_after=3) is None
    launch(ACCELERATE, folder, [{**JOB, "output": "begun"}])
    assert_same_run(folder, "alone", "begun")
