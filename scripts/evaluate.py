"""Plans in a task and says how often that reaches the goal image.

    python scripts/evaluate.py --checkpoint franka-tiny --task FrankaReach-v0 --episodes 20 --seed 10000

Episode i is the task's reset with seed + i. The zero-action and random-action baselines run on the same seeds. Prints a
table; writes results.json, results.md, video.mp4, video.gif, poster.png and landscape.png to --output. Every setting of
planner, objective and controller is a flag; --config scripts/configs/plan/reach.yaml fills them from a file.

    python scripts/evaluate.py --suite manipulation

Several tasks and several planners: the table of scripts/configs/suite/manipulation.yaml, see docs/evaluation.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # torch's threads yield: 5 times faster beside another program

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from _evaluation import EvaluateConfig, checkpoint_hash, evaluate, load_model, task_name, workplace
from _figures import draw_landscape, draw_poster, save_video
from _report import EpisodeRecord, Summary, stage_table, summarise, table
from _suite import evaluate_suite

from envs.config import config_from_command_line, dump_config
from planner.no_plan import NoPlanError

__all__ = ["EvaluateConfig", "checkpoint_hash", "evaluate", "load_model", "task_name", "workplace"]

DESCRIPTION = "Plans in a task and says how often it succeeds. --suite NAME takes several tasks and planners instead."


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if any(word.split("=")[0] == "--suite" for word in words):
        evaluate_suite(words)
        return
    config = config_from_command_line(EvaluateConfig, DESCRIPTION, words)
    try:
        _, controller = workplace(config)
    except ValueError as error:
        sys.exit(f"error: {error}")
    output = config.output or Path("results") / f"{Path(config.checkpoint).name}-{task_name(config.task)}"
    output.mkdir(parents=True, exist_ok=True)
    try:
        records = evaluate(config)
    except NoPlanError as error:
        sys.exit(f"error: {error}")
    text, results = report(config, records)
    (output / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (output / "results.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    if config.video_episodes:
        drawn = [record for record in records["planner"] if record.images is not None]
        title = f"{config.checkpoint} in {task_name(config.task)}"
        save_video(drawn, output, rate=controller.spec.rate)
        draw_poster(drawn, output / "poster.png")
        draw_landscape(controller, drawn, output / "landscape.png", title)
    pictures = ", video.mp4, video.gif, poster.png and landscape.png" if config.video_episodes else ""
    print(f"wrote results.json, results.md{pictures} to {output}")


def report(config: EvaluateConfig, records: dict[str, list[EpisodeRecord]]) -> tuple[str, dict[str, Any]]:
    """Returns the text for people and the results for programs."""
    summaries = {actor: summarise(found) for actor, found in records.items()}
    names = {"planner": f"planner ({config.checkpoint})", "zero": "zero action", "random": "random actions"}
    stages = stage_table({names[actor]: summary for actor, summary in summaries.items() if summary.stages})
    text = "\n\n".join(
        part for part in (table(summaries, names), stages, caption(config, summaries["planner"])) if part
    )
    results = {
        "config": dump_config(config),
        "checkpoint_sha256": checkpoint_hash(config.checkpoint),
        "threads": torch.get_num_threads() if config.processes == 1 else None,
        "processors": os.cpu_count(),
        "torch": torch.__version__,
        "summaries": {actor: asdict(summary) for actor, summary in summaries.items()},
        "episodes": {actor: [record.to_dict() for record in found] for actor, found in records.items()},
    }
    return text, results


def caption(config: EvaluateConfig, summary: Summary) -> str:
    """Returns what a reader of the table must know."""
    goal = "the goal's pose and image" if config.objective.pose_weight else "a goal image alone"
    if config.checkpoint == "toy":
        goal = "the goal's pose (the toy model reads poses, not images)"
    return (
        f"{task_name(config.task)}, n = {summary.n}, seeds {config.seed}..{config.seed + config.episodes - 1}, at most "
        f"{config.max_steps} actions, {goal}.\nSeconds an action (encode and plan, {config.processes} process(es), "
        f"{os.cpu_count()} processors): median {summary.median_seconds:.3f}, 90th percentile {summary.p90_seconds:.3f}."
    )


if __name__ == "__main__":
    main()
