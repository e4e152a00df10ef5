"""What an evaluation writes and prints."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from envs.config import dump_config
from envs.folders import results_folder, write_text
from planner.evaluation.config import EvaluateConfig
from planner.evaluation.episodes import checkpoint_hash, code_hash, commit, evaluate, task_name, workplace
from planner.evaluation.landscape import draw_landscape
from planner.evaluation.page import PICTURES, RESULTS, write_page
from planner.evaluation.report import EpisodeRecord, Summary, stage_table, summarise, table
from planner.evaluation.suite_config import BASELINES
from planner.viewing.page import CONFIG
from planner.viewing.view import make_view
from world_model.checkpoints.folder import called


def evaluate_task(config: EvaluateConfig) -> None:
    """Runs an evaluation, writes its results and pictures, and prints its table.

    Raises:
        ValueError: If there is no such task, checkpoint or mask, or they do not fit together.
    """
    output = config.output or Path("results") / f"{called(config.checkpoint)}-{task_name(config.task)}"
    with results_folder(output, "evaluate"):
        for name in (*(media.path for media in PICTURES), "video.gif"):
            (output / name).unlink(missing_ok=True)  # of an earlier evaluation
        _, controller = workplace(config)
        view = make_view(config.view, output)
        records = evaluate(config, view.show)
        text, results = report(config, records)
        print(text)
        write_text(output / RESULTS, json.dumps(results, indent=1) + "\n")
        write_text(output / "results.md", text + "\n")
        dump_config(config, output / CONFIG)
        drawn = [record for record in records["planner"] if record.shown]
        if drawn:
            title = f"{config.checkpoint} in {task_name(config.task)}"
            view.finish({f"seed {record.seed}": record.shown for record in drawn}, output)
            draw_landscape(controller, drawn, output / "landscape.png", title)
        write_page(output)
    print(f"wrote {', '.join(sorted(path.name for path in output.iterdir() if path.name[0] != '.'))} to {output}")


def report(config: EvaluateConfig, records: dict[str, list[EpisodeRecord]]) -> tuple[str, dict[str, Any]]:
    """Returns the text for people and the results for programs."""
    summaries = {actor: summarise(found) for actor, found in records.items()}
    names = {"planner": f"planner ({config.checkpoint})", **BASELINES}
    stages = stage_table({names[actor]: summary for actor, summary in summaries.items() if summary.stages})
    text = "\n\n".join(
        part for part in (table(summaries, names), stages, caption(config, summaries["planner"])) if part
    )
    results = {
        "config": dump_config(config),
        "who": config.who,
        "caption": caption(config, summaries["planner"]),
        "checkpoint_sha256": checkpoint_hash(config.checkpoint),
        "code_sha256": code_hash(),
        "commit": commit(),
        "threads": torch.get_num_threads() if config.processes == 1 else None,
        "processors": os.cpu_count(),
        "torch": torch.__version__,
        "summaries": {actor: asdict(summary) for actor, summary in summaries.items()},
        "episodes": {actor: [record.to_dict() for record in found] for actor, found in records.items()},
    }
    return text, results


def caption(config: EvaluateConfig, summary: Summary) -> str:
    """Returns what a reader of the table must know."""
    goal = "the goal's pose and image" if config.takes_goal_pose else "a goal image alone"
    if config.checkpoint == "toy":
        goal = "the goal's pose (the toy model reads poses, not images)"
    if config.privileged:
        goal += ", the simulator's own predictions in place of the model's (privileged)"
    return (
        f"{task_name(config.task)}, n = {summary.n}, seeds {config.seed}..{config.seed + config.episodes - 1}, at most "
        f"{config.max_steps} actions, {goal}.\nSeconds an action (encode and plan, {config.processes} process(es), "
        f"{os.cpu_count()} processors): median {summary.median_seconds:.3f}, 90th percentile {summary.p90_seconds:.3f}."
    )
