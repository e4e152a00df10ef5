"""What deploy.py leaves behind: lines for people, datasets, pictures and results.json, when no arm moves any more."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from envs.arm_file import TwinTask
from envs.episodes.recorder import RecordedStep, read_recording
from envs.folders import write_text, writing
from planner.deployment.drive import Drive
from planner.viewing.shown import Shown, latency
from planner.viewing.view import View


@dataclass(frozen=True)
class _Done:
    """A run that is over; ``distances`` to the goal [m] and ``successes`` are privileged, empty without a judge."""

    name: str
    seed: int
    folder: Path
    drive: Drive
    goal: Float[np.ndarray, "7"] | None
    distances: list[float]
    successes: list[bool]

    @property
    def actions(self) -> list[RecordedStep]:
        """The steps that acted."""
        return [shown.step for shown in self.drive.steps if shown.step.action is not None]

    @property
    def shown(self) -> list[Shown]:
        """All steps, with what the judge said of them."""
        if not self.distances:
            return self.drive.steps
        told = zip(self.drive.steps, self.distances, self.successes, strict=True)
        return [replace(shown, distance=distance, success=success) for shown, distance, success in told]


class Results:
    """Collects runs and writes what they leave behind.

    How far the simulated goal is comes from the simulator's state: it is printed and written, nobody plans with it.
    """

    def __init__(self, settings: dict[str, Any], output: Path, checkpoint: str, judge: TwinTask | None) -> None:
        """Prepares.

        Args:
            settings: The program's, for results.json.
            output: Folder.
            checkpoint: What plans.
            judge: The simulated task, where the arm moves to its own goals.
        """
        self._settings, self._output, self._checkpoint, self._judge = settings, output, checkpoint, judge
        self._runs: list[_Done] = []

    def add(self, name: str, seed: int, folder: Path, drive: Drive, goal: Float[np.ndarray, "7"] | None) -> None:
        """Keeps a run and prints how it went."""
        seen = [shown.step.observation for shown in drive.steps]
        judged = [] if self._judge is None else self._judge.judge(seen)
        distances, successes = [distance for distance, _ in judged], [success for _, success in judged]
        done = _Done(name, seed, folder, drive, goal, distances, successes)
        self._runs.append(done)
        print(_describe(done), flush=True)
        if drive.reason is not None:
            print(f"stopped: {drive.reason}", file=sys.stderr, flush=True)

    def write(self, view: View, videos: int, robot_type: str) -> None:
        """Writes results.json, pictures and the page, adds recordings to their dataset and prints what was judged.

        Args:
            view: Draws the runs.
            videos: Only the first so many.
            robot_type: Name of the arm, for the dataset.
        """
        judged = [done for done in self._runs if done.distances and done.actions]
        results: dict[str, Any] = {"config": self._settings, "checkpoint": self._checkpoint}
        if judged:
            results |= self._sum_up(judged)
        results["runs"] = [_to_dict(done, self._output) for done in self._runs]
        try:
            for done in self._runs:
                if done.drive.recording is not None:
                    _add_to_dataset(done.drive.recording, robot_type)
        finally:
            write_text(self._output / "results.json", json.dumps(results, indent=1) + "\n")
        with writing(self._output):
            for done in self._runs[:videos]:
                view.finish({done.name: done.shown}, done.folder)
            from planner.deployment.page import write_page  # imports SciPy: only when no arm moves

            write_page(self._output)
        print(f"wrote {self._output}")

    def _sum_up(self, judged: list[_Done]) -> dict[str, Any]:
        """Returns the summary of runs towards the simulated task's goals and prints it as evaluate.py does."""
        from planner.evaluation.report import EpisodeRecord, summarise, table  # imports torch: only when no arm moves

        records = [
            EpisodeRecord(
                actor="planner",
                seed=done.seed,
                distances=done.distances,
                successes=done.successes,
                poses=np.stack([shown.step.observation.pose for shown in done.drive.steps]),
                actions=np.stack([step.action for step in done.actions if step.action is not None]),
                costs=[step.cost for step in done.actions],
                seconds=[latency(step) for step in done.actions],
                goal_pose=done.goal,
            )
            for done in judged
        ]
        summary = summarise(records)
        print(table({"planner": summary}, {"planner": f"planner ({self._checkpoint})"}))
        caption = (
            f"n = {summary.n}, seeds {judged[0].seed}..{judged[-1].seed}. Seconds from question to plan: median "
            f"{summary.median_seconds:.3f}, 90th percentile {summary.p90_seconds:.3f}."
        )
        print(caption)
        episodes = [record.to_dict() for record in records]
        return {"summary": asdict(summary), "caption": caption, "episodes": episodes}


def _describe(done: _Done) -> str:
    """Returns a line on a run."""
    parts = [f"{len(done.actions)} actions"]
    if done.actions:
        parts.append(f"latency {np.median([latency(step) for step in done.actions]):.2f} s")
    if done.drive.lateness is not None:
        usual, worst = (1000 * late for late in done.drive.lateness)
        parts.append(f"set-points 99 % within {usual:.1f} ms, the latest {worst:.1f} ms")
    if done.distances:
        at_the_goal = ", at the goal" if done.successes[-1] else ""
        parts.append(f"{1000 * done.distances[0]:.0f} -> {1000 * done.distances[-1]:.0f} mm{at_the_goal}")
    return f"{done.name}: {', '.join(parts)}"


def _to_dict(done: _Done, output: Path) -> dict[str, Any]:
    """Returns what is to be known of any run, for JSON."""
    drive = done.drive
    return {
        "name": done.name,
        "seed": done.seed,
        "folder": done.folder.relative_to(output).as_posix(),
        "status": drive.status,
        "stopped": drive.reason,
        "recording": None if drive.recording is None else str(drive.recording),
        "set_points_late_s": drive.lateness,
        "costs": [round(step.cost, 6) for step in done.actions],
        "latencies_s": [round(latency(step), 4) for step in done.actions],
        "limited": [list(step.reasons) for step in done.actions],
    }


def _add_to_dataset(recording: Path, robot_type: str) -> None:
    """Makes a recording an episode of the dataset that its folder is in."""
    if len(read_recording(recording).steps) < 2:
        print(f"{recording} has fewer than two steps: it is no episode", file=sys.stderr)
        return
    from envs.episodes.recording_dataset import add_missing, add_to_dataset  # import torch: only when no arm moves

    add_to_dataset(recording, recording.parent.parent, robot_type)
    for other in add_missing(recording.parent.parent, robot_type):
        print(f"{other}, which an earlier run could not add, is in the dataset now", file=sys.stderr)
