"""The page of an evaluation or a suite, made of what is stored in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envs.config import load_config
from planner.evaluation.report import EpisodeRecord, Summary, share, stage_rows, summary_rows
from planner.evaluation.suite_config import BASELINES
from planner.viewing import page
from planner.viewing.page import Line, Media

RESULTS = "results.json"

PICTURES = (
    Media(
        "video.mp4",
        "The first episodes: what the camera saw with the ways that were tried, and the goal that was pursued.",
    ),
    Media("poster.png", "The same episodes, from the start to the end, then the goal."),
    Media("landscape.png", "What single actions cost as the model sees it."),
    Media("contact-sheet.png", "Successes and failures of each task."),
)


def write_page(folder: Path) -> Path:
    """Writes report.html of an evaluation or a suite, also of one whose page was lost, and returns its path.

    Args:
        folder: The output of scripts/evaluate.py.

    Raises:
        ValueError: If it has no results.json, or that is not of an evaluation.
    """
    results = read_results(folder, "evaluate")
    return _write_suite(folder, results) if "suite" in results else _write_evaluation(folder, results)


def read_results(folder: Path, program: str) -> dict[str, Any]:
    """Returns the results.json of a run.

    Args:
        folder: Of the run.
        program: Whose it should be, for the error.

    Raises:
        ValueError: If there is none, or it is broken.
    """
    try:
        return json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder} holds no whole {RESULTS}: name the --output of a run of {program}.py") from error


def _write_evaluation(folder: Path, results: Mapping[str, Any]) -> Path:
    """Writes the page of one task and one planner."""
    config = results["config"]
    summaries = {actor: load_config(Summary, values) for actor, values in results["summaries"].items()}
    episodes = [EpisodeRecord.from_dict("planner", values) for values in results["episodes"]["planner"]]
    names = {"planner": f"planner ({config['checkpoint']})", **BASELINES}
    title = f"{config['checkpoint']} in {config['task']}"
    remarks = [f"Who acted: {results['who']}.", *results["caption"].splitlines(), versions(results)]
    sections = {
        "Beside doing nothing and acting at random": page.table(*summary_rows(summaries, names)),
        "Stages": page.table(*stage_rows({names[actor]: each for actor, each in summaries.items() if each.stages})),
        "What it looked like": page.gallery(
            folder, PICTURES[:3], "The run drew none (--video-episodes 0, --view rerun or none), or it was taken away."
        ),
        **episode_sections(episodes),
        "Do it again": page.repeat(folder, "evaluate", "--config"),
        "Settings": page.settings(config),
    }
    return page.write_page(folder, title, headline(summaries["planner"], "episodes"), remarks, sections)


def headline(summary: Summary, what: str) -> str:
    """Returns how often it worked, with the interval and how many were solved at the start."""
    low, high = summary.interval
    return (
        f"{summary.at_the_end} of {summary.n} {what} ended in success (95 % interval {low:.0%} to {high:.0%}), "
        f"{summary.at_the_start} of {summary.n} were solved at the start."
    )


def versions(results: Mapping[str, Any]) -> str:
    """Returns what the results say of the checkpoints' files, of the code, of torch and of the processors."""
    hashes = results.get("checkpoints") or {"": results["checkpoint_sha256"]}
    told = "".join(f"Checkpoint manifest SHA-256 {sha}{name and f' ({name})'}. " for name, sha in hashes.items() if sha)
    code = f"commit {results['commit']}, " if results.get("commit") else ""
    return f"{told}{code}torch {results['torch']}, {results['processors']} processors."


def episode_sections(episodes: Sequence[EpisodeRecord]) -> dict[str, str]:
    """Returns the curves and the table of a planner's episodes, by heading."""

    def lines(kind: str, scale: float = 1.0) -> list[Line]:
        return [
            Line(f"seed {each.seed}", [scale * value for value in getattr(each, kind)], each.successes[-1])
            for each in episodes
        ]

    curves = {
        "plan cost": lines("costs"),
        "distance to the goal [mm]": lines("distances", 1000.0),
        "time of a plan [s]": lines("seconds"),
    }
    header = ["seed", "at the start", "at the end", "ever", "steps", "distance at the end", "median time"]
    return {
        "Step by step": "<p>Each line is an episode: green ended in success, orange did not.</p>" + page.charts(curves),
        "Episodes": page.table(header, [_episode_cells(each) for each in episodes]),
    }


def _episode_cells(episode: EpisodeRecord) -> list[str]:
    """Returns one row of the table of episodes."""
    told = {True: "success", False: "-"}
    seconds = sorted(episode.seconds)
    return [
        str(episode.seed),
        "solved" if episode.successes[0] else "-",
        "success" if episode.successes[-1] else "failure",
        told[any(episode.successes)],
        str(len(episode.actions)),
        f"{1000 * episode.distances[-1]:.1f} mm",
        f"{seconds[len(seconds) // 2]:.3f} s" if seconds else "-",
    ]


def _write_suite(folder: Path, results: Mapping[str, Any]) -> Path:
    """Writes the page of several tasks and planners."""
    suite, rows = results["suite"], results["rows"]
    found = {
        name: {column: load_config(Summary, cell["summary"]) for column, cell in row["cells"].items()}
        for name, row in rows.items()
    }
    columns = list(dict.fromkeys(column for row in found.values() for column in row))
    cells = [[name, *(_suite_cell(row.get(column)) for column in columns)] for name, row in found.items()]
    failed = [
        [name, column, ", ".join(map(str, cell["failed_seeds"]))]
        for name, row in rows.items()
        for column, cell in row["cells"].items()
        if cell["failed_seeds"] and column not in BASELINES.values()
    ]
    first = suite["variants"][0]["name"]
    whole = [row[first] for row in found.values()]
    result = f"{sum(s.at_the_end for s in whole)} of {sum(s.n for s in whole)} episodes of {first} ended in success."
    seeds = f"Seeds from {suite['seed']} on, up to {suite['episodes']} episodes of each task and planner."
    sections = {
        "Success at the end, with its 95 % interval": page.table(["task", *columns], cells),
        "What it looked like": page.gallery(folder, PICTURES[3:], "Of a suite there are pictures, and no video."),
        "Seeds that failed": page.table(["task", "planner", "seeds"], failed),
        "Do it again": page.repeat(folder, "evaluate", "--suite", "--precision", results["precision"]),
        "Settings": page.settings(suite),
    }
    title = f"{', '.join(results['checkpoints'])}: a suite"
    return page.write_page(folder, title, result, [seeds, versions(results)], sections)


def _suite_cell(summary: Summary | None) -> str:
    """Returns one cell of a suite's table."""
    if summary is None:
        return "-"
    return "{} ({:.0%} to {:.0%})".format(share(summary.at_the_end, summary.n), *summary.interval)
