"""What every training loop needs: schedule, optimiser, resuming, clean interruption, a log."""

from __future__ import annotations

import json
import logging
import math
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO

import torch
from torch import nn

from envs.config import dump_config
from world_model.processes import Processes
from world_model.state import StateError, load_state, save_state
from world_model.tracker import Tracker, TrackerName, find_tracker

logger = logging.getLogger(__name__)

CONFIG_FILE, STATE_FILE, LOG_FILE = "config.yaml", "state.pt", "losses.jsonl"
ALONE = Processes()
Report = Callable[[int, Mapping[str, float]], None]  # step, what was measured at it


def learning_rate_factor(
    step: int,
    steps: int,
    warmup: int,
    decay: Literal["cosine", "linear", "constant"],
    final: float = 0.0,
    first: float = 0.0,
    cooldown: int | None = None,
) -> float:
    """Returns what to multiply the peak learning rate by.

    From `first` it rises linearly over `warmup` steps, stays at 1, and falls to `final` over the last `cooldown` steps:
    over all after the warm-up where `cooldown` is None.
    """
    if step < warmup:
        return first + (1.0 - first) * (step + 1) / (warmup + 1)
    start = warmup if cooldown is None else steps - cooldown
    progress = min(1.0, max(0.0, (step - start) / max(1, steps - start)))
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
    trainer: Trainer,
    config: RunConfig,
    session_fields: Collection[str],
    fingerprint: str,
    report: Report,
    processes: Processes = ALONE,
    finished: Callable[[], bool] = lambda: False,
) -> bool:
    """Takes all steps from the saved state on, and returns whether the run is finished; False if it was interrupted.

    The run directory gets the resolved configuration and, every `save_every` steps and when interrupted, the state.

    Args:
        trainer: What learns.
        config: Of the run.
        session_fields: Its entries that may differ between the sessions of one run.
        fingerprint: Of the data; a state made from other data is refused.
        report: Gets every step's measurements, in the main process.
        processes: All those that take the steps together; the main one writes.
        finished: Whether the run may end before its last step; asked after each, with the same answer in all processes.

    Raises:
        StateError: If the output directory holds the state of another run, or only damaged ones.
    """
    path = config.output / STATE_FILE
    identity = {"config": _without(dump_config(config), session_fields), "fingerprint": fingerprint}
    done, ending = _resume(trainer, path, identity), False
    processes.wait()  # nobody writes while others read
    if processes.main:
        config.output.mkdir(parents=True, exist_ok=True)
        dump_config(config, config.output / CONFIG_FILE)
    with interruptible() as stop:
        while done < config.steps and not finished():
            if ending:
                return False
            measured = trainer.step(done)
            if processes.main:
                report(done, measured)
            done, ending = done + 1, processes.any(stop.is_set())
            if done % config.save_every == 0 or done == config.steps or ending or finished():
                parts = trainer.state_dict()
                if processes.main:
                    save_state(path, {"step": done, "trainer": parts, **identity})
    return True


def _resume(trainer: Trainer, path: Path, identity: Mapping[str, Any]) -> int:
    """Returns the number of steps taken until now, the trainer brought to where it was after them.

    Raises:
        StateError: If the state was made with another configuration or other data.
    """
    state = load_state(path)
    if state is None:
        return 0
    differing = _differences(state["config"], identity["config"])
    if differing:
        raise StateError(
            f"{path} is the state of a run with another configuration: {'; '.join(differing)}. Name another output "
            "directory, or delete this one to start afresh"
        )
    if state["fingerprint"] != identity["fingerprint"]:
        raise StateError(f"{path} is the state of a run on other data. Name another output directory, or delete it")
    trainer.load_state_dict(state["trainer"])
    return state["step"]


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


def _without(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Returns a mapping without some of its entries."""
    return {name: value for name, value in values.items() if name not in names}


class RunLog:
    """The measurements of a run as JSON lines and for tensorboard or wandb; call it with a step and named numbers.

    The first step it is called with is where the run starts or resumes: what an attempt that was broken off had
    logged from there on is dropped.

    Args:
        directory: The run's; losses.jsonl and the tracker's files go there.
        tracker: What else gets the numbers.

    Raises:
        ValueError: If the tracker is not installed.
    """

    def __init__(self, directory: Path, tracker: TrackerName = "tensorboard") -> None:
        self.directory = directory
        self._start_tracker = find_tracker(tracker)
        self._file: TextIO | None = None
        self._tracker: Tracker | None = None

    def __call__(self, step: int, measured: Mapping[str, float]) -> None:
        """Adds one line."""
        if self._file is None or self._tracker is None:
            self._file, self._tracker = self._open(step), self._start_tracker(self.directory, step)
        self._file.write(f"{json.dumps({'step': step, **measured})}\n")
        self._tracker(step, measured)

    def _open(self, first_step: int) -> TextIO:
        """Returns the file to append to, without what was logged from `first_step` on."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / LOG_FILE
        kept = [line for line in read_log(path) if line["step"] < first_step]
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(f"{json.dumps(line)}\n" for line in kept), encoding="utf-8")
        temporary.replace(path)
        return path.open("a", buffering=1, encoding="utf-8")

    def __enter__(self) -> RunLog:
        """Returns itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Closes the files."""
        if self._file is not None:
            self._file.close()
        if self._tracker is not None:
            self._tracker.close()


def read_log(path: Path) -> list[dict[str, float]]:
    """Returns the lines of a losses.jsonl; a last line that a kill cut off is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    complete = [line for line in lines[:-1] if line]
    return [json.loads(line) for line in complete]
