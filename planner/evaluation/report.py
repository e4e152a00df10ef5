"""What evaluate.py records of an episode and how it sums episodes up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from scipy.stats import binomtest

from envs.spec import Goal
from planner.control.episode import Step, goals_of
from planner.reporting import markdown
from planner.viewing.shown import Shown


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode of one actor: K actions, K + 1 moments.

    Attributes:
        actor: "planner", "zero" or "random".
        seed: Seed of the environment's reset and of the actor.
        distances: To the goal at each moment, privileged [m].
        successes: At each moment, privileged.
        poses: At each moment, (K + 1, P).
        actions: (K, A).
        costs: Cost of the plan at each of the K actions; empty for a baseline.
        seconds: Time of each of the K decisions [s].
        goal_pose: (P,), for people; None where it is open.
        shown: The moments as people are shown them; empty where no picture is made of the episode.
        goals: What is to be reached, in turn; empty where no picture is made of the episode.
        stages: Of each stage that the task tells of in ``info["stages"]``, such as grasped or placed, whether the
            episode was at it, at each moment; privileged.
    """

    actor: str
    seed: int
    distances: list[float]
    successes: list[bool]
    poses: Float[np.ndarray, "K P"]
    actions: Float[np.ndarray, "K A"]
    costs: list[float]
    seconds: list[float]
    goal_pose: Float[np.ndarray, "P"] | None
    shown: Sequence[Shown] = ()
    goals: tuple[Goal, ...] = ()
    stages: dict[str, list[bool]] = field(default_factory=dict)

    @property
    def images(self) -> list[UInt8[np.ndarray, "h w 3"]]:
        """What the camera saw at each moment; empty where no picture is made of the episode."""
        return [shown.step.observation.image for shown in self.shown]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything but what is shown, for JSON; `from_dict` reads it."""
        return {
            "seed": self.seed,
            "success_at_the_end": self.successes[-1],
            "success_ever": any(self.successes),
            "solved_at_the_start": self.successes[0],
            "successes": self.successes,
            "stages": self.stages,
            "distances_m": [round(value, 5) for value in self.distances],
            "plan_costs": [round(value, 6) for value in self.costs],
            "seconds": [round(value, 4) for value in self.seconds],
            "goal_pose": None if self.goal_pose is None else self.goal_pose.round(5).tolist(),
            "poses": self.poses.round(5).tolist(),
            "actions": self.actions.round(5).tolist(),
        }

    @classmethod
    def from_dict(cls, actor: str, values: Mapping[str, Any]) -> EpisodeRecord:
        """Returns the record, with nothing to show, that `to_dict` described."""
        poses, actions = (np.array(values[name], dtype=np.float64) for name in ("poses", "actions"))
        goal = values["goal_pose"]
        return cls(
            actor=actor,
            seed=values["seed"],
            distances=values["distances_m"],
            successes=values["successes"],
            poses=poses,
            actions=actions,
            costs=values["plan_costs"],
            seconds=values["seconds"],
            goal_pose=None if goal is None else np.array(goal, dtype=np.float64),
            stages=values["stages"],
        )


def record_episode(steps: Iterable[Step], actor: str, seed: int, shown: list[Shown] | None = None) -> EpisodeRecord:
    """Returns the record of an episode, running it if it comes from `planner.control.episode.run_episode`.

    Args:
        steps: The moments.
        actor: Who acted.
        seed: Of the episode.
        shown: To which `planner.evaluation.watch.watch` adds each moment meanwhile; None where no picture is made.
    """
    moments = list(steps)
    goals = goals_of(moments[0].info)
    stages = [step.info.get("stages", {}) for step in moments]
    names = dict.fromkeys(name for told in stages for name in told)  # in the task's order
    return EpisodeRecord(
        actor=actor,
        seed=seed,
        distances=[float(step.info["distance"]) for step in moments],
        successes=[bool(step.info["success"]) for step in moments],
        poses=np.stack([step.observation.pose for step in moments]),
        actions=np.stack([step.action for step in moments if step.action is not None]),
        costs=[step.plan.cost for step in moments if step.plan is not None],
        seconds=[step.seconds for step in moments if step.action is not None],
        goal_pose=goals[-1].pose,
        shown=shown or (),
        goals=() if shown is None else tuple(goals),
        stages={name: [bool(told.get(name, False)) for told in stages] for name in names},
    )


@dataclass(frozen=True)
class StageCount:
    """How many episodes were at a stage of the task at the end, and how many at any moment."""

    at_the_end: int
    ever: int


@dataclass(frozen=True)
class Summary:
    """Episodes of one actor, summed up.

    Attributes:
        n: Episodes.
        at_the_end: Episodes that ended in success.
        ever: Episodes with a success at any moment.
        at_the_start: Episodes solved before the first action.
        interval: 95 % Wilson interval of the share at the end.
        mean_error: Mean distance to the goal at the end [m].
        median_error: Median distance to the goal at the end [m].
        median_seconds: Median time of a decision [s].
        p90_seconds: 90th percentile of it [s].
        stages: How many episodes got to each stage that the task tells of.
    """

    n: int
    at_the_end: int
    ever: int
    at_the_start: int
    interval: tuple[float, float]
    mean_error: float
    median_error: float
    median_seconds: float
    p90_seconds: float
    stages: dict[str, StageCount] = field(default_factory=dict)


def summarise(records: Sequence[EpisodeRecord]) -> Summary:
    """Returns what at least one record of one actor amounts to."""
    errors = np.array([record.distances[-1] for record in records])
    seconds = np.concatenate([record.seconds for record in records])
    at_the_end = sum(record.successes[-1] for record in records)
    return Summary(
        n=len(records),
        at_the_end=at_the_end,
        ever=sum(any(record.successes) for record in records),
        at_the_start=sum(record.successes[0] for record in records),
        interval=wilson_interval(at_the_end, len(records)),
        mean_error=float(errors.mean()),
        median_error=float(np.median(errors)),
        median_seconds=float(np.median(seconds)),
        p90_seconds=float(np.quantile(seconds, 0.9)),
        stages=_count_stages([record.stages for record in records]),
    )


def _count_stages(stages: Sequence[Mapping[str, Sequence[bool]]]) -> dict[str, StageCount]:
    """Returns how many of all episodes got to each stage that any of them tells of."""
    names = dict.fromkeys(name for told in stages for name in told)
    return {
        name: StageCount(
            at_the_end=sum(name in told and told[name][-1] for told in stages),
            ever=sum(any(told.get(name, ())) for told in stages),
        )
        for name in names
    }


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Returns the 95 % Wilson score interval of a share."""
    interval = binomtest(successes, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def table(summaries: Mapping[str, Summary], names: Mapping[str, str]) -> str:
    """Returns a Markdown table, aligned for reading as it stands, one row an actor."""
    return markdown(*summary_rows(summaries, names))


def summary_rows(summaries: Mapping[str, Summary], names: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
    """Returns the header of a table of summaries and its rows, one an actor."""
    header = ["", "success at the end", "95 % interval", "success ever", "solved at the start", "error mean / median"]
    return header, [[names[actor], *_cells(summary)] for actor, summary in summaries.items()]


def stage_table(summaries: Mapping[str, Summary]) -> str:
    """Returns a Markdown table of `stage_rows`; empty where no stage is told of."""
    header, rows = stage_rows(summaries)
    return markdown(header, rows) if rows else ""


def stage_rows(summaries: Mapping[str, Summary]) -> tuple[list[str], list[list[str]]]:
    """Returns the header of a table of the stages that the episodes got to, and its rows, one an actor.

    A cell is the share of episodes that were at the stage at any moment, and of those that were at the end. There are
    no rows where no stage is told of.
    """
    names = list(dict.fromkeys(name for summary in summaries.values() for name in summary.stages))
    rows = [[actor, *(_stage_cell(summary, name) for name in names)] for actor, summary in summaries.items()]
    return ["ever / at the end", *names], rows if names else []


def _stage_cell(summary: Summary, name: str) -> str:
    """Returns one cell of `stage_rows`."""
    if name not in summary.stages:
        return "-"
    count = summary.stages[name]
    return f"{count.ever / summary.n:.0%} / {count.at_the_end / summary.n:.0%}"


def share(count: int, n: int) -> str:
    """Returns a share for people."""
    return f"{count}/{n} = {count / n:.0%}"


def _cells(summary: Summary) -> list[str]:
    """Returns one actor's cells of `summary_rows`."""
    low, high = summary.interval
    return [
        share(summary.at_the_end, summary.n),
        f"{low:.0%} to {high:.0%}",
        share(summary.ever, summary.n),
        share(summary.at_the_start, summary.n),
        f"{1000 * summary.mean_error:.1f} / {1000 * summary.median_error:.1f} mm",
    ]
