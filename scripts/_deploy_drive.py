"""One run of deploy.py: the runtime over an arm, recorded and shown, and how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _deploy_arm import WatchedArm
from _deploy_keys import Deadman, ask
from _deploy_view import Shown, View, describe
from jaxtyping import Float, UInt8

from envs.episodes.recorder import RecordedStep, Recorder
from envs.spec import Observation
from planner.plan_thread import PlanSource, PlanThread, first_action
from planner.runtime import Runtime, RuntimeConfig
from planner.signals import stopping_on_signals

FINISHED, FAILED, STOPPED_BY_SAFETY, INTERRUPTED = 0, 1, 3, 130
"""Exit statuses."""

_AN_HOUR = 3600.0  # s that a person may look at an action before it is confirmed; the arm stands meanwhile


@dataclass
class Drive:
    """What came of a run.

    Attributes:
        steps: What was seen and done.
        status: Exit status that it stands for.
        reason: Why it ended early, None if it did not.
        lateness: 99th percentile and worst of the executor's set-points [s]; None if there were none.
        recording: Its file, None if it was not recorded.
    """

    steps: list[Shown] = field(default_factory=list)
    status: int = FINISHED
    reason: str | None = None
    lateness: tuple[float, float] | None = None
    recording: Path | None = None


@dataclass(frozen=True)
class Manner:
    """How a run is driven.

    Attributes:
        runtime: Settings.
        max_steps: Actions at most.
        confirm: Whether each action waits for Enter.
        deadman: Whether the space bar must be held.
        record: Folder to record into, None for none.
        task: What is being done, for the recording.
    """

    runtime: RuntimeConfig
    max_steps: int
    confirm: bool = False
    deadman: bool = False
    record: Path | None = None
    task: str = ""

    @property
    def settings(self) -> RuntimeConfig:
        """The runtime's, with time for a person to look at each action where they are confirmed."""
        if not self.confirm:
            return self.runtime
        executor = replace(self.runtime.executor, plan_age=_AN_HOUR)
        return replace(self.runtime, planning_time=_AN_HOUR, executor=executor)


def drive(arm: WatchedArm, source: PlanSource, goals: GoalNote, manner: Manner, view: View, verbose: bool) -> Drive:
    """Returns what came of a run; the arm is stopped and released, whatever happened.

    Args:
        arm: Not connected.
        source: The planner, which knows the goals.
        goals: Tells which goal an observation was planned for.
        manner: How to drive.
        view: Shows each step.
        verbose: Whether to print a line a step.

    Raises:
        ArmError: If the arm cannot be connected or released.
    """
    outcome, over = Drive(), threading.Event()
    confirmed = _Confirmed(source, arm, over) if manner.confirm else None
    plans = PlanThread(confirmed or source)
    with ExitStack() as stack:
        stack.callback(plans.close)
        stack.callback(over.set)
        recorder = None
        if manner.record is not None:
            recorder = Recorder(manner.record, arm.action_spec, manner.task)
            stack.callback(_keep, recorder, outcome)
        deadman = stack.enter_context(Deadman()).held if manner.deadman else None
        runtime = stack.enter_context(Runtime(arm, plans, manner.settings, deadman))
        interrupt = partial(_interrupt, outcome, runtime)
        if confirmed is not None:
            confirmed.refused = partial(interrupt, "the action was not confirmed")
        stack.enter_context(stopping_on_signals(interrupt))
        for step in runtime.run(manner.max_steps):
            if recorder is not None:
                recorder.record(step)
            outcome.steps.append(Shown(step, goals.of(step)))
            view.show(outcome.steps[-1])
            if verbose:
                print(f"step {len(outcome.steps) - 1:3d}  {describe(step)}", flush=True)
        outcome.reason, jitter = runtime.reason, runtime.executor.jitter
        outcome.lateness = (jitter.quantile(0.99), jitter.worst) if len(jitter) else None
    if outcome.reason is not None and outcome.status == FINISHED:
        outcome.status = STOPPED_BY_SAFETY if arm.safety_stop else FAILED
    return outcome


def _interrupt(outcome: Drive, runtime: Runtime, reason: str) -> None:
    """Ends a run because a person or the system asks for it."""
    outcome.status = INTERRUPTED
    runtime.stop(reason)


def _keep(recorder: Recorder, outcome: Drive) -> None:
    """Ends a recording, and deletes one without a step."""
    recorder.close()
    if outcome.steps:
        outcome.recording = recorder.path
    else:
        recorder.path.unlink()


class GoalNote:
    """A planner that remembers which goal each of its plans pursues. See `PlanSource`."""

    def __init__(self, source: PlanSource, images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> None:
        self._source, self._images = source, images
        self._pursued: dict[float, int] = {}  # by the time of the observation
        self._last = 0

    def infer(self, observation: Observation, committed: Float[np.ndarray, "K A"] | None = None) -> Mapping[str, Any]:
        """See `PlanSource.infer`."""
        answer = self._source.infer(observation, committed)
        self._pursued[observation.time] = int(answer.get("goal", 0))
        return answer

    def of(self, step: RecordedStep) -> UInt8[np.ndarray, "h w 3"]:
        """Returns the image of the goal that a step pursued; the last one known for the end of a run."""
        self._last = self._pursued.get(step.observation.time, self._last)
        return self._images[min(self._last, len(self._images) - 1)]


class _Confirmed:
    """A planner whose every action a person confirms with Enter. See `PlanSource`."""

    def __init__(self, source: PlanSource, arm: WatchedArm, over: threading.Event) -> None:
        self._source, self._arm, self._over = source, arm, over
        self.refused: Callable[[], None] = lambda: None

    def infer(self, observation: Observation, committed: Float[np.ndarray, "K A"] | None = None) -> Mapping[str, Any]:
        """See `PlanSource.infer`."""
        answer = self._source.infer(observation, committed)
        action, cost, seconds = first_action(answer, self._arm.action_spec)
        step = RecordedStep(observation, action, cost=cost, seconds=seconds, timings={"waited": seconds})
        if ask(f"next: {describe(step)}   Enter to do it, anything else to stop: ", self._over.is_set) != "":
            self.refused()
        return answer
