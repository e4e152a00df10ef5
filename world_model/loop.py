"""What every training loop needs: schedule, optimiser, precision, atomic state, clean interruption, a log."""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from envs.config import dump_config

logger = logging.getLogger(__name__)

CONFIG_FILE, STATE_FILE, LOG_FILE = "config.yaml", "state.pt", "losses.jsonl"
Report = Callable[[int, Mapping[str, float]], None]  # step, what was measured at it


class StateError(ValueError):
    """A run directory's saved state is damaged or belongs to another configuration."""


def learning_rate_factor(
    step: int, steps: int, warmup: int, decay: Literal["cosine", "linear", "constant"], final: float = 0.0
) -> float:
    """Returns what to multiply the peak learning rate by: a linear rise over `warmup` steps, then a fall to `final`."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    if decay == "constant":
        return 1.0
    if decay == "linear":
        return 1.0 + (final - 1.0) * progress
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))


def make_adamw(
    modules: Iterable[nn.Module], learning_rate: float, weight_decay: float, betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.AdamW:
    """Returns AdamW over the modules' trainable parameters, without weight decay on biases and other 1-D ones."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate, betas=betas, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, momentum: float) -> None:
    """Moves the average's parameters towards the model's: average <- momentum average + (1 - momentum) model."""
    ours, theirs = ([p.detach() for p in m.parameters() if p.is_floating_point()] for m in (average, model))
    torch._foreach_lerp_(ours, theirs, 1.0 - momentum)  # pyright: ignore[reportPrivateImportUsage]


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes tensors and plain values so that a kill at any moment leaves the old file or the new one, whole."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_state(path: Path, config: Mapping[str, Any], fingerprint: str) -> dict[str, Any] | None:
    """Returns the state to resume from, or None if there is none yet.

    Args:
        path: Where `save_state` wrote it, with entries "config" and "fingerprint".
        config: The configuration now, plain values, without the entries that may change between sessions.
        fingerprint: Of the data now.

    Raises:
        StateError: If the file can't be read, or was made with another configuration or other data.
    """
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise StateError(f"{path} can't be read ({reason}); delete it to start the run afresh") from error
    differing = _differences(state["config"], config)
    if differing:
        raise StateError(
            f"{path} is the state of a run with another configuration: {'; '.join(differing)}. Name another output "
            "directory, or delete this one to start afresh"
        )
    if state["fingerprint"] != fingerprint:
        raise StateError(f"{path} is the state of a run on other data. Name another output directory, or delete it")
    return state


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Returns "name: then -> now" for every differing entry of two nested mappings."""
    found = []
    for name in sorted(set(before) | set(now)):
        then, current = before.get(name), now.get(name)
        if isinstance(then, Mapping) and isinstance(current, Mapping):
            found += _differences(then, current, f"{prefix}{name}.")
        elif then != current:
            found.append(f"{prefix}{name}: {then!r} then, {current!r} now")
    return found


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Gives an event that the first Ctrl-C or SIGTERM sets, so that a loop can end after saving; a second one raises.

    Outside the main thread, where signals can't be caught, the event is never set.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    caught = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in caught}

    def request(number: int, frame: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        logger.warning("stopping after this step; the run can be resumed (a second signal stops at once)")
        event.set()

    for number in caught:
        signal.signal(number, request)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class RunConfig(Protocol):
    """What `run_steps` reads of a run's configuration; the real ones are frozen dataclasses."""

    @property
    def output(self) -> Path:
        """Run directory."""
        ...

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        ...

    @property
    def save_every(self) -> int:
        """Steps between saved states."""
        ...


class Trainer(Protocol):
    """Something that learns in numbered steps, each fixed by the state before it and its number alone."""

    def step(self, step: int) -> dict[str, float]:
        """Takes step number `step` and returns what was measured."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Returns all that a resumed run needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        ...


def run_steps(
    trainer: Trainer, config: RunConfig, session_fields: Collection[str], fingerprint: str, report: Report
) -> bool:
    """Takes all steps from the saved state on, and returns whether the run is finished; False if it was interrupted.

    The run directory gets the resolved configuration and, every `save_every` steps and when interrupted, the state.

    Args:
        trainer: What learns.
        config: Of the run.
        session_fields: Its entries that may differ between the sessions of one run.
        fingerprint: Of the data; a state made from other data is refused.
        report: Gets every step's measurements.

    Raises:
        StateError: If the output directory holds the state of another run.
    """
    path = config.output / STATE_FILE
    identity = {"config": _without(dump_config(config), session_fields), "fingerprint": fingerprint}
    state = load_state(path, identity["config"], fingerprint)
    if state:
        trainer.load_state_dict(state["trainer"])
    config.output.mkdir(parents=True, exist_ok=True)
    dump_config(config, config.output / CONFIG_FILE)
    with interruptible() as stop:
        for step in range(state["step"] if state else 0, config.steps):
            report(step, trainer.step(step))
            done = step + 1
            if done % config.save_every == 0 or done == config.steps or stop.is_set():
                save_state(path, {"step": done, "trainer": trainer.state_dict(), **identity})
            if stop.is_set() and done < config.steps:
                return False
    return True


def _without(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Returns a mapping without some of its entries."""
    return {name: value for name, value in values.items() if name not in names}


class RunLog:
    """The measurements of a run as JSON lines and for tensorboard; call it with a step and named numbers.

    The first step it is called with is where the run starts or resumes: what an attempt that was broken off had
    logged from there on is dropped.

    Args:
        directory: The run's; losses.jsonl and tensorboard's files go there.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file: TextIO | None = None
        self._writer: SummaryWriter | None = None

    def __call__(self, step: int, measured: Mapping[str, float]) -> None:
        """Adds one line."""
        if self._file is None or self._writer is None:
            self._file, self._writer = self._open(step)
        self._file.write(f"{json.dumps({'step': step, **measured})}\n")
        for name, value in measured.items():
            self._writer.add_scalar(name, value, step)

    def _open(self, first_step: int) -> tuple[TextIO, SummaryWriter]:
        """Returns the files to append to, without what was logged from `first_step` on."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / LOG_FILE
        kept = [line for line in read_log(path) if line["step"] < first_step]
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(f"{json.dumps(line)}\n" for line in kept))
        temporary.replace(path)
        return path.open("a", buffering=1), SummaryWriter(str(self.directory / "tensorboard"), purge_step=first_step)

    def __enter__(self) -> RunLog:
        """Returns itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Closes the files."""
        if self._file is not None and self._writer is not None:
            self._file.close()
            self._writer.close()


def read_log(path: Path) -> list[dict[str, float]]:
    """Returns the lines of a losses.jsonl; a last line that a kill cut off is left out."""
    if not path.is_file():
        return []
    lines = path.read_text().split("\n")
    complete = [line for line in lines[:-1] if line]
    return [json.loads(line) for line in complete]
