"""Runs a suite: several tasks and planners into one table, in one process or in those of `accelerate launch`."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from envs.bar import progress
from envs.config import dump_config
from envs.folders import results_folder, write_text
from planner.control.episode import goals_of
from planner.evaluation.contact_sheet import draw_contact_sheet
from planner.evaluation.episodes import Job, make_task, run_jobs, workplace
from planner.evaluation.page import RESULTS, write_page
from planner.evaluation.report import EpisodeRecord
from planner.evaluation.suite_config import Block, SuiteConfig, SuiteOptions, make_blocks
from planner.evaluation.suite_report import Cell, suite_results, suite_text
from planner.evaluation.suite_store import BlockStore, gather
from planner.viewing.page import CONFIG
from world_model.training.processes import Processes, find_processes, leave_processes

logger = logging.getLogger(__name__)


def evaluate_suite(options: SuiteOptions) -> None:
    """Fills the table of a suite; what a user can get wrong ends it in one line."""
    try:
        processes = find_processes(options.device)
        suite = options.open()
        output, blocks = options.folder(suite), check_blocks(suite, options, processes)
        with results_folder(output, "suite"):
            cells = fill_cells(blocks, output / "episodes", processes)
            if processes.main:
                write_results(suite, options, cells, output)
            if options.drawn:
                sections = {row.name: redraw(cells, row.name, options.drawn, processes) for row in suite.rows}
                if processes.main:
                    title = f"{', '.join(suite.checkpoints)}, {suite.variants[0].name}"
                    draw_contact_sheet(sections, output / "contact-sheet.png", title)
                    print(f"wrote contact-sheet.png to {output}")
            if processes.main:
                write_page(output)
    except ValueError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        sys.exit(130)
    finally:
        leave_processes()


def check_blocks(suite: SuiteConfig, options: SuiteOptions, processes: Processes) -> list[Block]:
    """Returns all blocks of a suite.

    Raises:
        ValueError: If a plan or a task is wrong, before anything runs.
    """
    blocks = list(make_blocks(suite, options, processes))
    for task, scene in dict.fromkeys((block.config.task, block.config.scene) for block in blocks):
        make_task(task, scene).close()
    return blocks


def fill_cells(blocks: Sequence[Block], folder: Path, processes: Processes) -> list[Cell]:
    """Returns the episodes of all blocks, running those that are not there; to be called by all processes.

    Raises:
        ValueError: If a checkpoint is wrong, a planner can't plan with it or there are episodes of other settings.
    """
    stores = [BlockStore(folder, block, processes) for block in blocks]
    there = [store.read() for store in stores]
    check_planners([block for block, episodes in zip(blocks, there, strict=True) if {*block.seeds} - episodes.keys()])
    return [Cell(block, run_block(block, store, processes)) for block, store in zip(blocks, stores, strict=True)]


def check_planners(blocks: Sequence[Block]) -> None:
    """Plans for a goal of each task with each planner of these blocks, once for what is alike in all but the task.

    Raises:
        ValueError: Naming the first that can't plan, such as for want of what was never learnt: better now than hours
            after the first.
    """
    alike = {}
    for block in blocks:
        config = block.config
        alike.setdefault((config.checkpoint, config.planner, config.objective, config.controller), block)
    for block in alike.values():
        try:
            env, controller = workplace(block.config)
            _, info = env.reset(seed=block.seeds[0])
            controller.reset(goals_of(info), seed=0)
        except ValueError as error:
            raise ValueError(
                f"row {block.row!r}, {block.column!r} of the suite: {error}; --rows and --variants run the others alone"
            ) from error
        finally:
            workplace.cache_clear()


def run_block(block: Block, store: BlockStore, processes: Processes) -> list[EpisodeRecord]:
    """Returns a block's episodes in the order of the seeds, running those that are not there.

    Each of N processes takes every N-th of the missing seeds. To be called by all of them.
    """
    there = store.read_all()
    missing = [seed for seed in block.seeds if seed not in there]
    own = missing[processes.rank :: processes.count]
    if own:
        with store.adding() as add:
            for record in show(block, own, processes.main):
                add(record)
        workplace.cache_clear()
    if missing:
        there = store.read_all()
        store.finish(there)
    return [EpisodeRecord.from_dict(block.actor, there[seed]) for seed in block.seeds]


def show(block: Block, seeds: Sequence[int], visible: bool) -> Iterator[EpisodeRecord]:
    """Yields the episodes of some seeds as they are done; shows how many there are and how many were successes."""
    solved, title = 0, f"{block.row}, {block.column}"
    records = run_jobs(block.config, [Job(block.actor, seed) for seed in seeds])
    with progress(records, title, len(seeds), unit="episode", disable=not visible) as bar:
        for done, record in enumerate(bar, start=1):
            solved += record.successes[-1]
            bar.set_postfix_str(f"{solved}/{done}", refresh=False)
            yield record


def write_results(suite: SuiteConfig, options: SuiteOptions, cells: Sequence[Cell], output: Path) -> None:
    """Writes results.md and results.json, and prints the table."""
    text = suite_text(suite, options, cells)
    write_text(output / "results.md", text + "\n")
    write_text(output / RESULTS, json.dumps(suite_results(suite, options, cells), indent=1) + "\n")
    dump_config(suite, output / CONFIG)
    print(f"{text}\nwrote results.json, results.md and episodes/ to {output}")


def redraw(cells: Sequence[Cell], row: str, count: int, processes: Processes) -> list[EpisodeRecord]:
    """Returns successes and failures of a row's first planner with what the camera saw, running them again.

    To be called by all processes.

    Args:
        cells: Of the whole table.
        row: Name of the task.
        count: So many successes, and so many failures, those of the first seeds.
        processes: Each runs every N-th of them.
    """
    cell = next(cell for cell in cells if cell.block.row == row)
    ends = {record.seed: record.successes[-1] for record in cell.records}
    seeds = [seed for end in (True, False) for seed in [seed for seed in ends if ends[seed] is end][:count]]
    jobs = [Job("planner", seed, images=True) for seed in seeds[processes.rank :: processes.count]]
    config = replace(cell.block.config, processes=min(cell.block.config.processes, max(1, len(jobs))))
    found = gather(list(run_jobs(config, jobs)), processes)
    workplace.cache_clear()
    for record in found:
        if record.successes[-1] != ends[record.seed]:
            logger.warning("%s, seed %d ended otherwise when it was run again", row, record.seed)
    return sorted(found, key=lambda record: (not record.successes[-1], record.seed))
