"""What every training loop needs: schedule, optimiser, clean interruption, a log."""

from __future__ import annotations

import json
import logging
import math
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO

import torch
from jaxtyping import Float
from torch import Tensor, nn

from envs.folders import write_text
from world_model.training.tracker import Tracker, TrackerName, find_tracker

logger = logging.getLogger(__name__)

CONFIG_FILE, STATE_FILE, LOG_FILE = "config.yaml", "state.pt", "losses.jsonl"
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


def clip_gradients(parameters: Iterable[nn.Parameter], clip: float) -> Float[Tensor, ""]:
    """Returns the norm of all gradients, and scales them so that it is at most `clip` (0 leaves them as they are)."""
    if clip:
        return nn.utils.clip_grad_norm_(parameters, clip)
    return nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])


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
        write_text(path, "".join(f"{json.dumps(line)}\n" for line in kept))
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


def read_log(path: Path, numbered: bool = True) -> list[dict[str, Any]]:
    """Returns the lines of a losses.jsonl; one that a kill cut off, or that is damaged, is left out, which is said.

    Args:
        path: The file.
        numbered: Whether a line without its step is damaged; lines of other files have none.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    read = {number: _read_line(line, numbered) for number, line in enumerate(lines[:-1], start=1) if line}
    broken = [str(number) for number, line in read.items() if line is None]
    if broken:
        logger.warning("%s: damaged lines are left out: %s", path, ", ".join(broken))
    return [line for line in read.values() if line is not None]


def _read_line(line: str, numbered: bool) -> dict[str, Any] | None:
    """Returns what a line of the log says, None if it is none."""
    try:
        read = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(read, dict) and (not numbered or isinstance(read.get("step"), int))
    return read if whole else None
