"""A suite's table and what it amounts to, for people and for programs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from envs.config import dump_config
from planner.evaluation.episodes import checkpoint_hash, commit, task_name
from planner.evaluation.paired import Comparison, compare
from planner.evaluation.report import EpisodeRecord, Summary, share, stage_table, summarise
from planner.evaluation.suite_config import BASELINES, Block, Row, SuiteConfig, SuiteOptions
from planner.reporting import markdown


@dataclass(frozen=True)
class Cell:
    """A block and its episodes, in the order of the seeds."""

    block: Block
    records: list[EpisodeRecord]

    @property
    def summary(self) -> Summary:
        """The episodes, summed up."""
        return summarise(self.records)


def suite_text(suite: SuiteConfig, options: SuiteOptions, cells: Sequence[Cell]) -> str:
    """Returns the table, the stages that tasks tell of, the comparisons and what a reader must know."""
    rows = {row.name: _columns(cells, row.name) for row in suite.rows}
    further = list(dict.fromkeys(name for row in suite.rows for name in row.columns))
    variants = [variant.name for variant in suite.variants]
    header = ["task", *further, *variants, *BASELINES.values(), "solved at the start", "seconds an action"]
    summaries = {name: {column: cell.summary for column, cell in found.items()} for name, found in rows.items()}
    lines = [_row(row, further, variants, summaries[row.name]) for row in suite.rows]
    stages = stage_table(
        {f"{row}, {name}": found[name] for row, found in summaries.items() for name in variants if found[name].stages}
    )
    comparisons = [_comparison_text(suite, rows, other) for other in variants[1:]]
    parts = [markdown(header, lines), stages, *comparisons, _caption(suite, options, rows)]
    return "\n\n".join(part for part in parts if part)


def suite_results(suite: SuiteConfig, options: SuiteOptions, cells: Sequence[Cell]) -> dict[str, Any]:
    """Returns the results for programs; the episodes themselves are in the files beside them."""
    rows: dict[str, Any] = {}
    for row in suite.rows:
        found, first = _columns(cells, row.name), suite.variants[0].name
        rows[row.name] = {
            "columns": row.columns,
            "cells": {name: _cell(cell) for name, cell in found.items()},
            "comparisons": {v.name: asdict(_compare(found, first, v.name)) for v in suite.variants[1:]},
        }
    return {
        "suite": dump_config(suite),
        "checkpoint_sha256": checkpoint_hash(suite.checkpoints[0]),
        "checkpoints": {name: checkpoint_hash(name) for name in suite.checkpoints},
        "commit": commit(),
        "precision": options.precision,
        "processors": os.cpu_count(),
        "torch": torch.__version__,
        "rows": rows,
    }


def _columns(cells: Sequence[Cell], row: str) -> dict[str, Cell]:
    """Returns a row's cells by the names of the columns."""
    return {cell.block.column: cell for cell in cells if cell.block.row == row}


def _cell(cell: Cell) -> dict[str, Any]:
    """Returns one cell for JSON."""
    return {
        "settings": cell.block.identity(),
        "summary": asdict(cell.summary),
        "failed_seeds": [record.seed for record in cell.records if not record.successes[-1]],
    }


def _row(row: Row, further: Sequence[str], variants: Sequence[str], found: Mapping[str, Summary]) -> list[str]:
    """Returns one line of the table."""
    zero = found[BASELINES["zero"]]
    return [
        row.name,
        *(row.columns.get(name, "-") for name in further),
        *(f"{_share(found[name])} ({_interval(found[name])})" for name in variants),
        *(_share(found[name]) for name in BASELINES.values()),
        share(zero.at_the_start, zero.n),
        " / ".join(f"{found[name].median_seconds:.3f}" for name in variants),
    ]


def _share(summary: Summary) -> str:
    """Returns the share of successes at the end."""
    return share(summary.at_the_end, summary.n)


def _interval(summary: Summary) -> str:
    """Returns the interval of that share."""
    return "{:.0%} to {:.0%}".format(*summary.interval)


def _compare(found: Mapping[str, Cell], first: str, other: str) -> Comparison:
    """Returns how the first planner's success differs from another's in one row."""
    return compare(found[first].records, found[other].records)


def _comparison_text(suite: SuiteConfig, rows: Mapping[str, Mapping[str, Cell]], other: str) -> str:
    """Returns whether the first planner is anywhere lower than another, and by how much each row differs."""
    first = suite.variants[0].name
    found = {name: _compare(cells, first, other) for name, cells in rows.items()}
    points = {name: 100 * comparison.difference for name, comparison in found.items()}
    least = min(points, key=lambda name: points[name])
    lower = sum(value < 0 for value in points.values())
    verdict = (
        f"lower in {lower} of {len(points)} tasks, most in {least}, by {-points[least]:.1f} points"
        if lower
        else f"no lower in any of {len(points)} tasks ({points[least]:+.1f} to {max(points.values()):+.1f} points)"
    )
    lines = [f"- {name}: {comparison}; {_times(rows[name], first, other)}" for name, comparison in found.items()]
    return f"{first} against {other}: {verdict}.\n\n" + "\n".join(lines)


def _times(cells: Mapping[str, Cell], first: str, other: str) -> str:
    """Returns how long the first planner's actions take beside another's."""
    ours, theirs = (cells[name].summary.median_seconds for name in (first, other))
    return f"{ours:.3f} s an action against {theirs:.3f} s" + (f", {ours / theirs:.0%} of it" if theirs else "")


def _named(checkpoint: str) -> str:
    """Returns which checkpoint it is, in words."""
    sha = checkpoint_hash(checkpoint)
    return "the exact toy model, which reads poses and not images" if sha is None else f"{checkpoint} ({sha[:12]})"


def _caption(suite: SuiteConfig, options: SuiteOptions, rows: Mapping[str, Mapping[str, Cell]]) -> str:
    """Returns what a reader of the table must know."""
    settings = {name: next(iter(cells.values())).block.config for name, cells in rows.items()}
    tasks = "; ".join(
        f"{name} is {task_name(config.task)}, at most {config.max_steps} actions" for name, config in settings.items()
    )
    named = ", ".join(_named(checkpoint) for checkpoint in suite.checkpoints)
    planned = [cell.block for cells in rows.values() for cell in cells.values() if cell.block.actor == "planner"]
    simulated = dict.fromkeys(block.column for block in planned if block.config.privileged)
    told = f" {', '.join(simulated)}: predictions by the simulator itself (privileged)." if simulated else ""
    return (
        f"Success at the end, 95 % Wilson intervals, {named}, seeds {suite.seed}..{suite.seed + suite.episodes - 1} or "
        f"the first of them. {tasks}. Seconds an action: median of encoding and planning, in the order of the columns, "
        f"{options.processes} process(es) at a time in each launched one, {os.cpu_count()} processors.{told}"
    )
