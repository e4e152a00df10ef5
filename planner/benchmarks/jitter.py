"""How late an executor's set-points are while a planner takes all the processors.

Three processes run side by side for the same time: a planner that plans without a pause (the bundled model, one torch
thread a processor), which gives way as the plan server of deploy.py does; an executor that follows plans through the
safety filter to an arm that only remembers, in a process prepared as deploy.py's; and a bare loop that sleeps from one
set-point's time to the next: the platform's own floor, under the same load.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.arms.safety import SafeArm
from envs.spec import POSE_NAMES, POSE_UNITS, ActionSpec, Goal, Observation
from planner.benchmarks.config import JitterBenchmark
from planner.control.executor import Executor, ExecutorConfig, Jitter, TimedPlan, make_punctual
from planner.deployment.server import give_way
from planner.reporting import figure, table

ROLES = ("executor", "floor")
QUANTILES = {"median": "median", "99 %": "p99", "99.9 %": "p999", "worst": "worst"}
_POSE = np.array([0.5, 0.0, 0.25, np.pi, 0.0, 0.0, 0.0])


def time_set_points(config: JitterBenchmark, output: Path) -> dict[str, Any]:
    """Returns, for "executor" and "floor": set-points, the share within 5 ms, quantiles and the worst lateness [s].

    "planner" holds the plans it made meanwhile; 0 there would mean that there was no load.

    Raises:
        ValueError: If the planner does not start, or a process fails.
    """
    load = _start("load", config, start_new_session=True)  # as the plan server
    try:
        assert load.stdout is not None
        if load.stdout.readline().strip() != "ready":
            raise ValueError(f"the planner of {config.checkpoint!r} did not start, see its message above")
        timed = {role: _start(role, config) for role in ROLES}
        results = {role: _result(role, process) for role, process in timed.items()}
    finally:
        assert load.stdin is not None
        load.stdin.close()  # ends it
    return {**results, "planner": _result("load", load)}


def jitter_text(config: JitterBenchmark, results: dict[str, Any]) -> str:
    """Returns the results as a Markdown table."""

    def milliseconds(name: str) -> Callable[[str], str]:
        return lambda role: f"{1e3 * results[role][name]:.1f} ms"

    text = table(
        ROLES,
        {
            "": str,
            "set-points": lambda role: str(results[role]["set_points"]),
            "within 5 ms": lambda role: f"{100 * results[role]['within_5_ms']:.3f} %",
            **{title: milliseconds(name) for title, name in QUANTILES.items()},
        },
    )
    return f"{text}\n\n{results['planner']['plans_a_second']:.1f} plans a second meanwhile"


def draw_jitter(results: dict[str, Any], path: Path) -> None:
    """Draws how late set-points were, at three shares of them and at worst."""
    with figure(path) as (_, (axes,)):
        for role in ROLES:
            axes.plot(list(QUANTILES), [1000 * results[role][name] for name in QUANTILES.values()], "o-", label=role)
        axes.axhline(5, color="gray", linewidth=0.8)
        axes.set(xlabel="of the set-points", ylabel="at most so late [ms]", yscale="log")


class _RememberingArm:
    """A streaming arm that is at once where it is sent."""

    def __init__(self) -> None:
        high = (0.075,) * 3 + (0.15,) * 3 + (1.0,)
        self.action_spec = ActionSpec(POSE_NAMES, POSE_UNITS, tuple(-bound for bound in high), high, "base", 4.0)
        self.image_shape = (128, 128, 3)
        self._image = np.zeros(self.image_shape, np.uint8)
        self._pose = _POSE

    def connect(self) -> None:
        """Is always connected."""

    def observe(self) -> Observation:
        """Returns a black image and the last set-point."""
        return Observation(self._image, self._pose, time.monotonic())

    def send(self, set_point: np.ndarray) -> None:
        """Remembers the set-point."""
        self._pose = set_point

    def stop(self) -> None:
        """Stands already."""

    def close(self) -> None:
        """Has nothing to release."""


def _start(role: str, config: JitterBenchmark, start_new_session: bool = False) -> subprocess.Popen[str]:
    settings = json.dumps(asdict(replace(config, output=None)))
    command = [sys.executable, "-P", "-m", "planner.benchmarks.jitter", role, settings]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=start_new_session
    )


def _result(role: str, process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    text = process.stdout.read()
    if process.wait() != 0:
        raise ValueError(f"the {role} process ended with status {process.returncode}, see its message above")
    return json.loads(text)


def _summary(jitter: Jitter) -> dict[str, float]:
    return {
        "set_points": len(jitter),
        "within_5_ms": jitter.share_within(0.005),
        "median": jitter.quantile(0.5),
        "p99": jitter.quantile(0.99),
        "p999": jitter.quantile(0.999),
        "worst": jitter.worst,
    }


def _floor(config: JitterBenchmark) -> dict[str, float]:
    """Sleeps from one set-point's time to the next."""
    jitter, period = Jitter(), 1.0 / config.rate
    due = time.monotonic()
    end = due + config.seconds
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        now = time.monotonic()
        while due <= now:
            jitter.add(now - due)
            due += period
    return _summary(jitter)


def _execute(config: JitterBenchmark) -> dict[str, float]:
    """Moves an arm to and fro, 7 cm an action."""
    make_punctual()
    arm = SafeArm(_RememberingArm())
    executor = Executor(arm, ExecutorConfig(config.rate))
    arm.connect()
    arm.observe()
    executor.start()
    end, side = time.monotonic() + config.seconds, 1.0
    while (now := time.monotonic()) < end and executor.reason is None:
        arm.observe()
        if not executor.following:
            target = _POSE + side * np.array([0.02, 0.05, 0.04, 0.0, 0.0, 0.05, 0.0])
            executor.publish(TimedPlan(now, target[None], 0.25, now))
            side = -side
        time.sleep(0.02)
    executor.stop("done")
    if executor.reason != "done":
        raise ValueError(f"the executor is over: {executor.reason}")
    return _summary(executor.jitter)


def _load(config: JitterBenchmark) -> dict[str, float]:
    """Plans until standard input is closed."""
    give_way()
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    import select

    import torch

    from planner.control.controller import Controller
    from planner.search.cem import CEM
    from world_model.load import load_world_model

    torch.set_num_threads(os.cpu_count() or 1)
    model = load_world_model(config.checkpoint, device=config.device)
    controller = Controller(model, CEM(), model.action_spec)
    image = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    seen = Observation(image, _POSE, 0.0)
    controller.reset([Goal(image, _POSE)], seed=0)
    controller.step(seen)
    print("ready", flush=True)
    begin, plans = time.monotonic(), 0
    while not select.select([sys.stdin], [], [], 0.0)[0]:
        controller.step(seen)
        plans += 1
    return {"plans_a_second": plans / (time.monotonic() - begin)}


_ROLES: dict[str, Callable[[JitterBenchmark], dict[str, float]]] = {
    "load": _load,
    "floor": _floor,
    "executor": _execute,
}

if __name__ == "__main__":
    print(json.dumps(_ROLES[sys.argv[1]](JitterBenchmark(**json.loads(sys.argv[2])))))
