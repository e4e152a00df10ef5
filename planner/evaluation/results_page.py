"""Fills the tables of a page of results from a suite's results.json, so that the two can't disagree.

python -m planner.evaluation.results_page docs/results/fetch.md

A page names its results between two comments; everything in between is written anew::

    <!-- results: fetch.json -->
    <!-- end of results -->
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envs.folders import write_text
from planner.evaluation.report import share, wilson_interval
from planner.evaluation.suite_config import BASELINES
from planner.reporting import markdown

_PLACE = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end of results -->)", re.DOTALL)


def filled(page: Path) -> str:
    """Returns a page's text with its tables as the results beside it say.

    Raises:
        ValueError: If the page names no results.
    """
    text = page.read_text(encoding="utf-8")
    if not _PLACE.search(text):
        raise ValueError(f"{page} has no place for results: <!-- results: FILE.json --> and <!-- end of results -->")

    def fill(place: re.Match[str]) -> str:
        results = json.loads((page.parent / place[2]).read_text(encoding="utf-8"))
        return f"{place[1]}\n{results_table(results)}\n\n{place[3]}"

    return _PLACE.sub(fill, text)


def results_table(results: Mapping[str, Any]) -> str:
    """Returns who reached how many goals in each task, floors below, and what they are figures of."""
    header = ["task", "who acts", "success ever", "at the end", "solved at the start", "seconds an action"]
    lines = [
        [row, actor, _counted(summary, "ever"), _counted(summary, "at_the_end"), *_rest(actor, summary)]
        for row, told in results["rows"].items()
        for actor, summary in ((name, cell["summary"]) for name, cell in told["cells"].items())
    ]
    suite = results["suite"]
    checkpoints = ", ".join(f"`{name}` ({sha[:12]})" for name, sha in results["checkpoints"].items() if sha)
    seeds = f"{suite['seed']}..{suite['seed'] + suite['episodes'] - 1}"
    made = f"Seeds {seeds} or the first of them, 95 % Wilson intervals; checkpoint {checkpoints}"
    code = f"; commit {results['commit']}" if results.get("commit") else ""
    return f"{markdown(header, lines)}\n\n{made}; torch {results['torch']}{code}."


def _counted(summary: Mapping[str, Any], when: str) -> str:
    low, high = wilson_interval(summary[when], summary["n"])
    return f"{share(summary[when], summary['n'])} ({low:.0%} to {high:.0%})"


def _rest(actor: str, summary: Mapping[str, Any]) -> tuple[str, str]:
    floor = actor in BASELINES.values()
    return share(summary["at_the_start"], summary["n"]), "" if floor else f"{summary['median_seconds']:.3f}"


def main(pages: Sequence[str]) -> None:
    """Writes the tables of pages anew."""
    for page in map(Path, pages):
        write_text(page, filled(page))


if __name__ == "__main__":
    main(sys.argv[1:])
