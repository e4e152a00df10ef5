"""The page of a deployment, made of what is stored in its folder."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envs.config import load_config
from planner.evaluation.page import episode_sections, headline, read_results
from planner.evaluation.report import EpisodeRecord, Summary
from planner.viewing import page
from planner.viewing.page import Line, Media

_ENDS = {0: "finished", 1: "failed", 3: "stopped by the safety filter", 130: "interrupted"}
"""What exit statuses stand for, see `planner.deployment.drive`."""


def write_page(folder: Path) -> Path:
    """Writes report.html of a deployment, also of one whose page was lost, and returns its path.

    Args:
        folder: The output of scripts/deploy.py.

    Raises:
        ValueError: If it has no results.json.
    """
    results = read_results(folder, "deploy")
    config, runs = results["config"], results["runs"]
    media = [
        Media((Path(run["folder"]) / name).as_posix(), f"{run['name']}: {what}")
        for run in runs[: config["videos"]]
        for name, what in (
            ("video.mp4", "camera, goal, cost and time of plans."),
            ("poster.png", "moments, then the goal."),
        )
    ]
    sections = {
        "What it looked like": page.gallery(
            folder, media, "No run was drawn (--videos 0, --view rerun or none, or no step), or it was taken away."
        ),
        **_numbers(results),
        "Runs": page.table(*_run_rows(runs)),
        "Do it again": page.repeat(folder, "deploy", "--config") + "<p>Before an arm moves it asks again.</p>",
        "Settings": page.settings(config),
    }
    return page.write_page(folder, f"{results['checkpoint']} on {config['arm']}", *_told(results), sections)


def _told(results: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Returns what came of it in a line, and what a reader must know of that."""
    config, runs = results["config"], results["runs"]
    moved = "The arm moved." if config["live"] else "This was a dry run: nothing moved."
    ends = [_ENDS[run["status"]] for run in runs]
    counted = ", ".join(f"{ends.count(end)} {end}" for end in dict.fromkeys(ends)) or "nothing was run"
    reasons = [f"{run['name']} ended early: {run['stopped']}." for run in runs if run["stopped"] is not None]
    if "summary" in results:
        return headline(load_config(Summary, results["summary"]), "runs"), [moved, results["caption"], *reasons]
    return f"Runs: {counted}.", [moved, "Nobody measured success: that takes a simulated task and --live.", *reasons]


def _numbers(results: Mapping[str, Any]) -> dict[str, str]:
    """Returns curves and, of runs that were judged, the table of episodes, by heading."""
    if "episodes" in results:
        return episode_sections([EpisodeRecord.from_dict("planner", values) for values in results["episodes"]])
    curves = {
        title: [Line(run["name"], run[kind]) for run in results["runs"]]
        for title, kind in (("plan cost", "costs"), ("latency of a plan [s]", "latencies_s"))
    }
    return {"Step by step": page.charts(curves)}


def _run_rows(runs: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Returns the header of the table of runs and its rows."""
    rows = []
    for run in runs:
        latencies, late = run["latencies_s"], run["set_points_late_s"]
        rows.append(
            [
                run["name"],
                _ENDS[run["status"]],
                str(len(latencies)),
                f"{statistics.median(latencies):.2f} s" if latencies else "-",
                "-" if late is None else f"{1000 * late[0]:.1f} / {1000 * late[1]:.1f} ms",
                str(sum(map(bool, run["limited"]))),
                run["recording"] or "-",
            ]
        )
    return ["run", "end", "actions", "latency", "set-points late, 99 % / all", "actions limited", "recording"], rows
