"""A run in a process of its own, to be ended by signals: python -m tests.real_run FOLDER."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from envs.arms.safety import SafeArm
from envs.episodes.recorder import Recorder
from planner.control.plan_thread import PlanThread
from planner.control.runtime import Runtime, RuntimeConfig
from planner.control.signals import stopping_on_signals
from tests.fake_arms import FakeArm


class NotedArm(FakeArm):
    """Appends every call to a file at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(time, image_size=64)
        self._file = path.open("a", buffering=1)

    def send(self, set_point: np.ndarray) -> None:
        super().send(set_point)
        self._file.write(f"send {' '.join(map(repr, set_point.tolist()))}\n")

    def stop(self) -> None:
        self._file.write("stop\n")

    def close(self) -> None:
        self._file.write("close\n")


class RandomPlans:
    """Plans at random, in up to 0.1 s."""

    def __init__(self) -> None:
        self._generator = np.random.default_rng()

    def infer(self, observation, committed=None, deadline=None):
        time.sleep(self._generator.uniform(0.0, 0.1))
        return {"actions": self._generator.uniform(-0.05, 0.05, (1, 7)) * [1, 1, 1, 0, 0, 0, 1]}


def main(folder: Path) -> None:
    arm = NotedArm(folder / "calls")
    runtime = Runtime(SafeArm(arm), PlanThread(RandomPlans()), RuntimeConfig("overlapping"))
    with Recorder(folder / "data", arm.action_spec) as recorder, runtime, stopping_on_signals(runtime.stop):
        for count, step in enumerate(runtime.run(1000), start=1):
            recorder.record(step)
            (folder / "steps.new").write_text(str(count))
            (folder / "steps.new").replace(folder / "steps")  # whole, whenever this is killed
            print(count, flush=True)
    print(runtime.reason, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
