"""One run of deploy.py: the runtime over an arm, recorded and shown, and how it ended."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from envs.arm_file import WatchedArm
from envs.episodes.recorder import RecordedStep, Recorder
from envs.keys import Deadman, ask
from envs.spec import Observation
from planner.control.executor import make_punctual
from planner.control.plan_thread import Answer, Committed, PlanSource, PlanThread, first_action
from planner.control.runtime import Runtime, RuntimeConfig
from planner.control.signals import stopping_on_signals
from planner.viewing.shown import Imagined, Picture, Shown, describe
from planner.viewing.view import View

FINISHED, FAILED, STOPPED_BY_SAFETY, INTERRUPTED = 0, 1, 3, 130
"""Exit statuses."""

logger = logging.getLogger(__name__)

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


def drive(arm: WatchedArm, source: PlanNotes, manner: Manner, view: View, verbose: bool) -> Drive:
    """Returns what came of a run; the arm is stopped and released, whatever happened.

    Args:
        arm: Not connected.
        source: The planner, which knows the goals and remembers what it planned.
        manner: How to drive.
        view: Shows each step.
        verbose: Whether to print a line a step.

    Raises:
        ArmError: If the arm cannot be connected or released.
    """
    make_punctual()
    outcome, over = Drive(), threading.Event()
    confirmed = _Confirmed(source, arm, over, manner.runtime.planning_time) if manner.confirm else None
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
            if recorder is not None and outcome.status != FAILED:
                try:
                    recorder.record(step)
                except OSError as error:  # the arm stops: what is done is to be recorded
                    outcome.status = FAILED
                    runtime.stop(f"the recording can't be written, its {recorder.steps} steps are kept: {error}")
            outcome.steps.append(source.shown(step))
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
    if recorder.steps:
        outcome.recording = recorder.path
    try:
        recorder.close()
    except OSError as error:
        logger.warning("%s may lack its last steps: %s", recorder.path, error)
    if not recorder.steps:
        recorder.path.unlink()


class PlanNotes:
    """A planner that remembers what each of its plans pursues and imagines. See `PlanSource`."""

    def __init__(self, source: PlanSource, goal: Picture) -> None:
        """Takes a planner and what to show while it pursues something of which it has sent no picture."""
        self._source, self._goal = source, goal
        self._pursued = (0, goal)  # index and picture of what the last plan pursues
        self._notes: dict[float, tuple[Picture, Imagined | None]] = {}  # by the time of the observation
        self._last: tuple[Picture, Imagined | None] = (goal, None)

    def infer(self, observation: Observation, committed: Committed = None, deadline: float | None = None) -> Answer:
        """See `PlanSource.infer`."""
        answer = self._source.infer(observation, committed, deadline)
        index, picture = int(answer.get("goal", 0)), read_picture(answer, "goal_image")
        if picture is not None or index != self._pursued[0]:
            self._pursued = index, self._goal if picture is None else picture
        self._notes[observation.time] = self._pursued[1], read_imagined(answer)
        return answer

    def shown(self, step: RecordedStep) -> Shown:
        """Returns a step with the goal that it pursued and what it was to lead to; the last known at a run's end."""
        self._last = self._notes.get(step.observation.time, self._last)
        return Shown(step, *self._last)


def read_imagined(answer: Answer) -> Imagined | None:
    """Returns the imagined end that came with a plan; None if none did.

    Raises:
        ValueError: If it is no picture, or nobody says how like the plan's end it is.
    """
    picture, distance = read_picture(answer, "imagined"), answer.get("imagined_distance")
    if picture is None:
        return None
    if not isinstance(distance, float):
        raise ValueError("the planner's imagined end is no picture (h, w, 3) of uint8 with its distance")
    return Imagined(picture, distance)


def read_picture(answer: Answer, name: str) -> Picture | None:
    """Returns a picture that came with a plan; None if none did.

    Raises:
        ValueError: If it is none.
    """
    picture = answer.get(name)
    if picture is None:
        return None
    is_array = isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.size
    if not is_array or picture.shape[2:] != (3,):
        raise ValueError(f"the planner's {name} is no picture (h, w, 3) of uint8")
    return picture


class _Confirmed:
    """A planner whose every action a person confirms with Enter. See `PlanSource`."""

    def __init__(self, source: PlanSource, arm: WatchedArm, over: threading.Event, seconds: float) -> None:
        self._source, self._arm, self._over, self._seconds = source, arm, over, seconds
        self.refused: Callable[[], None] = lambda: None

    def infer(self, observation: Observation, committed: Committed = None, deadline: float | None = None) -> Answer:
        """See `PlanSource.infer`. The planner's own time is the runtime's, without the person's."""
        answer = self._source.infer(observation, committed, self._seconds)
        action, cost, seconds = first_action(answer, self._arm.action_spec)
        step = RecordedStep(observation, action, cost=cost, seconds=seconds, timings={"waited": seconds})
        answered = ask(f"next: {describe(step)}   Enter alone to do it, anything else to stop: ", self._over.is_set)
        if answered != "" and not self._over.is_set():
            self.refused()
        return answer
