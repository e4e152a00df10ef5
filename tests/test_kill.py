"""kill -9 at random moments of a run that saves at every step, in the middle of saves too."""

from __future__ import annotations

import multiprocessing
import random
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from tests.small_training import log_of, make_batches, make_config, make_encoder, run
from world_model.checkpoints.checkpoint import read_manifest
from world_model.training.loop import LOG_FILE, STATE_FILE
from world_model.training.state import StateError, load_state, save_state

STEPS = 15  # for each kill, many more than it takes to come to it
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.small_training", "torch.utils.tensorboard"])


def train_once(folder: Path, name: str, steps: int) -> None:
    torch.set_num_threads(1)
    encoder = make_encoder()
    config = make_config(folder / name, steps=steps, save_every=1, average=0.9, evaluate_every=20, evaluate_windows=8)
    run(replace(config, patience=100), encoder, make_batches(encoder, folder))


def start(folder: Path, name: str, steps: int) -> BaseProcess:
    process = SERVER.Process(target=train_once, args=(folder, name, steps))
    process.start()
    return process


def steps_logged(folder: Path) -> int:
    path = folder / "killed" / LOG_FILE
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_and_resume(folder: Path, rounds: int, seed: int) -> int:
    """Kills a run so many times, each a random few steps after it went on; returns how many found it still running."""
    generator, kills = random.Random(seed), 0
    for _ in range(rounds):
        process, target = start(folder, "killed", STEPS * rounds), steps_logged(folder) + generator.randint(1, 4)
        while process.is_alive() and steps_logged(folder) < target:
            time.sleep(0.001)
        time.sleep(generator.uniform(0.0, 0.01))
        kills += process.is_alive()
        process.kill()
        process.join()
        state, logged = load_state(folder / "killed" / STATE_FILE), steps_logged(folder)
        assert (state["step"] if state else 0) in {logged - 1, logged}, "more than the step under way was lost"
    return kills


@pytest.mark.parametrize("rounds", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_again_and_again_ends_like_an_unbroken_one(rounds: int, tmp_path: Path) -> None:
    unbroken = start(tmp_path, "unbroken", STEPS * rounds)
    unbroken.join()
    assert unbroken.exitcode == 0
    assert kill_and_resume(tmp_path, rounds, seed=rounds) == rounds
    last = start(tmp_path, "killed", STEPS * rounds)
    last.join()
    assert last.exitcode == 0
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "unbroken")
    ours, theirs = (read_manifest(tmp_path / name / "checkpoint") for name in ("killed", "unbroken"))
    assert ours.files == theirs.files


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state with one before it."""
    for step in (1, 2):
        save_state(tmp_path / STATE_FILE, {"step": step, "weights": torch.full((5000,), float(step))})
    return tmp_path / STATE_FILE


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def step_of(path: Path) -> int:
    state = load_state(path)
    assert state is not None and (state["weights"] == state["step"]).all()
    return state["step"]


def test_one_flipped_bit_is_noticed_and_the_state_before_taken(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damage(path)
    assert step_of(path) == 1
    assert "state.pt can't be read" in caplog.text and "going on from state.previous.pt" in caplog.text


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_state_cut_short_is_noticed(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert step_of(path) == 1


def test_a_save_broken_off_while_writing_leaves_the_state(path: Path) -> None:
    path.with_name("state.pt.tmp").write_bytes(path.read_bytes()[:1000])
    assert step_of(path) == 2


def test_a_save_broken_off_between_its_two_renames_is_complete(path: Path) -> None:
    save_state(path, {"step": 3, "weights": torch.full((5000,), 3.0)})
    path.rename(path.with_name("state.pt.tmp"))
    assert step_of(path) == 3


def test_the_first_save_broken_off_is_a_fresh_start(tmp_path: Path) -> None:
    (tmp_path / "state.pt.tmp").write_bytes(b"PK")
    assert load_state(tmp_path / STATE_FILE) is None


def test_two_damaged_states_are_an_error_that_says_what_to_do(path: Path) -> None:
    for name in ("state.pt", "state.previous.pt"):
        damage(path.with_name(name))
    with pytest.raises(StateError, match=r"state\.pt can't be read .*delete it to start the run afresh"):
        load_state(path)
