"""The report on a finished training run: was it worth it?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from envs.config import dump_config
from envs.folders import begin_folder, check_folder, write_text
from planner.evaluation.episodes import checkpoint_hash, task_name
from planner.evaluation.report import summarise, table
from planner.reporting import markdown
from planner.training.figures import draw_errors, draw_landscapes, draw_strip, draw_training
from planner.training.measures import Judged, Strip
from planner.training.report_program import ReportConfig
from planner.training.run import ACTORS, BASELINES, Findings, Run, measure, open_run
from planner.training.verdict import error_ratio, headline, share_with_interval, verdict
from world_model.data.clips import Windows
from world_model.training.loop import LOG_FILE, read_log


def write_report(run: Path, config: ReportConfig | None = None) -> Path:
    """Writes report.md, report.json and pictures into the run directory's report/ and returns report.md's path.

    Args:
        run: Directory of a finished run of scripts/train.py.
        config: What to measure; None for the defaults.

    Raises:
        ValueError: If the run is not finished, or its data, its parent or the task is not there.
    """
    config = config or ReportConfig()
    output = run / "report"
    check_folder(output, "report", "--run")
    opened, model = open_run(run, config.device)
    found = measure(opened, model, config)
    begin_folder(output, "report", "--run")
    sections = [
        training_section(opened, found, output),
        error_section(opened, found, output),
        energy_section(opened, found, output),
        neighbour_section(opened, found, output),
        success_section(opened, found),
    ]
    title = f"# Was it worth it? {opened.folder.resolve().name}\n\n**{headline(found.changes)}**"
    remarks = "\n".join(f"- {remark}" for remark in opened.remarks)
    write_text(output / "report.md", "\n\n".join([title, remarks, *sections]) + "\n")
    write_text(output / "report.json", json.dumps(numbers(opened, found, config), indent=1) + "\n")
    return output / "report.md"


def training_section(run: Run, found: Findings, output: Path) -> str:
    """Returns the text on the training itself; draws its curves."""
    log = read_log(run.folder / LOG_FILE)
    heading = "## Training"
    if not log:
        return f"{heading}\n\nThe run has no {LOG_FILE}, so there are no curves."
    start = {} if run.parent is None else run.manifest.training.get("parent_metrics", {})
    draw_training(log, start, found.held_out.windows.frames - 1, output / "training.png")
    source = f"from the checkpoint {run.config.parent}" if run.config.parent else "from scratch"
    best = run.manifest.training.get("best_step")
    kept = "" if best is None else f" The weights kept are those of step {best}, of the lowest held-out error."
    return (
        f"{heading}\n\n{len(log)} optimiser steps of {run.config.batch} windows, {source}, on {run.config.data}."
        f"{kept}\n\n![training loss and held-out error](training.png)"
    )


def error_section(run: Run, found: Findings, output: Path) -> str:
    """Returns the text on the rollout errors; draws them."""
    held_out, after = found.held_out, found.judged["after"]
    horizon = held_out.windows.frames - 1
    columns = {kind: (run.names[kind], _by_step(found.judged[kind], "", horizon)) for kind in run.names}
    columns |= {
        suffix.removeprefix("_"): (name, _by_step(after, suffix, horizon)) for name, suffix in BASELINES.items()
    }
    draw_errors(columns, output / "rollout_error.png")
    header = ["step", *(name for name, _ in columns.values())]
    rows = [[str(h + 1), *(f"{values[h]:.4f}" for _, values in columns.values())] for h in range(horizon)]
    if run.parent is not None:
        header.append("change")
        for h, row in enumerate(rows, start=1):
            before = found.judged["before"].errors[f"rollout_{h}"]
            row.append(str(error_ratio(after.errors[f"rollout_{h}"], before, held_out.episodes)))
    return (
        "## Rollout error\n\nMean absolute error of imagined latents, each prediction fed back, from one measured "
        f"frame: {len(held_out.numbers)} windows of {len(np.unique(held_out.episodes))} held-out episodes. A model is "
        "of use below the error of copying the last frame, and knows what actions do below that with shuffled actions. "
        f"Changes and intervals count each episode once.\n\n{markdown(header, rows)}\n\n"
        "![rollout error](rollout_error.png)"
    )


def _by_step(judged: Judged, suffix: str, horizon: int) -> list[float]:
    """Returns the mean error at each step of the rollouts."""
    return [float(judged.errors[f"rollout{suffix}_{step}"].mean()) for step in range(1, horizon + 1)]


def energy_section(run: Run, found: Findings, output: Path) -> str:
    """Returns the text on the energies of actions; draws the landscapes."""
    steps = len(found.held_out.step_numbers)
    heading = "## Energy of actions"
    if not steps:
        return (
            f"{heading}\n\nNot measured: actions are no translations of an end effector, or no held-out step moves by "
            "1 cm."
        )
    draw_landscapes(found.judged, run.names, found.held_out, output / "landscape.png")
    header = ["", "median share that looks better", "true action in the best 10 %", "energy", "shuffled", "unmoved"]
    rows = []
    for kind, name in run.names.items():
        diagnoses = found.judged[kind].diagnoses
        ranks = np.array([step.rank for step in diagnoses])
        means = [np.mean([getattr(s, field) for s in diagnoses]) for field in ("cost", "shuffled_cost", "static_cost")]
        best = share_with_interval(int((ranks <= 0.1).sum()), steps)
        rows.append([name, f"{100 * np.median(ranks):.1f} %", best, *(f"{mean:.4f}" for mean in means)])
    rows.append(["chance", "50 %", "10 %", "", "", ""])
    return (
        f"{heading}\n\nOf each of {steps} held-out steps the later observation is the goal. A planner finds the action "
        "that was really taken if few random actions of the same length have a lower energy (mean absolute distance of "
        f"latents).\n\n{markdown(header, rows)}\n\n![energy landscapes](landscape.png)\n\n"
        "Side by side the same colour is the same energy; the scale gives each colour as many points."
    )


def neighbour_section(run: Run, found: Findings, output: Path) -> str:
    """Returns the text on what rollouts look like; draws the strips."""
    links = []
    for number, strip in enumerate(found.strips, start=1):
        path = output / f"neighbours-{number}.png"
        draw_strip(strip, run.names, run.dataset, path)
        links.append(f"![{strip.name}]({path.name})")
    frames = sum(run.batches.lengths[episode] for episode in run.split.training)
    share = "all" if found.searched == frames else f"{found.searched} evenly chosen of the"
    return (
        "## What it imagines\n\nThe stored frames whose latents are nearest (mean absolute distance, exact search in "
        f"{share} {frames} frames of the training episodes) to what was imagined from the first frame and the true "
        "actions, in the held-out windows in which most moves. The second row shows how near the stored frames come "
        f"at all.\n\n{chr(10).join(links)}"
    )


def success_section(run: Run, found: Findings) -> str:
    """Returns the text on success in the simulated task."""
    heading = "## Success"
    if found.evaluation is None:
        return f"{heading}\n\nNot measured: name a simulated task with `scripts/report.py --task`, or `--plan`."
    summaries = {actor: summarise(records) for actor, records in found.episodes.items()}
    last = found.evaluation.seed + found.evaluation.episodes - 1
    kind = "held out" if found.evaluation.seed >= 10000 else "on which settings may have been chosen"
    return (
        f"{heading}\n\n{table(summaries, {**run.names, **ACTORS})}\n\n{task_name(found.evaluation.task)}, the same "
        f"seeds {found.evaluation.seed}..{last} for all ({kind}), n = {found.evaluation.episodes}, at most "
        f"{found.evaluation.max_steps} actions."
    )


def numbers(run: Run, found: Findings, config: ReportConfig) -> dict[str, Any]:
    """Returns every number of the report, for programs."""
    held_out = found.held_out
    return {
        "verdict": verdict(found.changes),
        "headline": headline(found.changes),
        "remarks": list(run.remarks),
        "changes": [asdict(change) for change in found.changes],
        "report": dump_config(config),
        "run": dump_config(run.config),
        "names": run.names,
        "checkpoint_sha256": checkpoint_hash(str(run.checkpoint)),
        "parent_sha256": None if run.parent is None else checkpoint_hash(str(run.config.parent)),
        "held_out_episodes": list(run.split.held_out),
        "windows": _places(held_out.windows, held_out.numbers),
        "steps": _places(held_out.steps, held_out.step_numbers),
        "judged": {kind: _answers(judged) for kind, judged in found.judged.items()},
        "strips": [_strip(strip) for strip in found.strips],
        "searched_frames": found.searched,
        "evaluation": None if found.evaluation is None else dump_config(found.evaluation),
        "summaries": {actor: asdict(summarise(records)) for actor, records in found.episodes.items()},
        "episodes": {actor: [record.to_dict() for record in records] for actor, records in found.episodes.items()},
    }


def _places(windows: Windows, chosen: Int[np.ndarray, " W"]) -> list[list[int]]:
    """Returns episode and first frame of each window."""
    return np.stack(windows.locate(chosen), axis=1).tolist()


def _answers(judged: Judged) -> dict[str, Any]:
    """Returns what a model answered, for each window and step."""
    return {
        "mean_errors": {name: float(values.mean()) for name, values in judged.errors.items()},
        "errors": {name: values.round(6).tolist() for name, values in judged.errors.items()},
        "steps": [asdict(step) for step in judged.diagnoses],
    }


def _strip(strip: Strip) -> dict[str, Any]:
    """Returns where a strip's pictures are from."""
    places = {kind: np.stack([frames.episodes, frames.indices], 1).tolist() for kind, frames in strip.found.items()}
    return {"name": strip.name, "found": places, "distances": strip.distances, "apart_m": strip.apart}
