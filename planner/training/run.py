"""A finished training run, opened and measured for its report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from envs.bar import progress
from envs.config import load_config
from envs.episodes import EpisodeSource
from envs.folders import MARKER
from envs.spec import SpecError
from planner.evaluation.config import EvaluateConfig
from planner.evaluation.episodes import evaluate, workplace
from planner.evaluation.report import EpisodeRecord
from planner.training.measures import HeldOut, Judged, Strip, choose_held_out, find_neighbours, judge
from planner.training.report_program import ReportConfig
from planner.training.verdict import Change, error_change, rank_change, success_change
from world_model.base import Encoder
from world_model.checkpoints.checkpoint import MANIFEST, Manifest, read_manifest
from world_model.data.batches import WindowBatches
from world_model.data.clips import Split, split_episodes
from world_model.data.latents import build_latents, latent_layout
from world_model.device import find_device
from world_model.heads.neighbours import spread_frames
from world_model.training.dataset import open_episodes
from world_model.training.loop import CONFIG_FILE
from world_model.training.train_config import TrainConfig
from world_model.vjepa2_ac import VJEPA2AC, load_vjepa2_ac, predictor_config


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training run.

    Attributes:
        folder: The run's.
        config: The run's.
        checkpoint: Folder of the trained model.
        manifest: Of the trained model.
        parent: Of a fine-tuned model, the manifest that it started from; None where there is nothing to compare with.
        remarks: What a reader must know of the comparison.
        dataset: What was learnt from.
        batches: Its windows.
        split: Its held-out episodes.
    """

    folder: Path
    config: TrainConfig
    checkpoint: Path
    manifest: Manifest
    parent: Manifest | None
    remarks: tuple[str, ...]
    dataset: EpisodeSource
    batches: WindowBatches
    split: Split

    @property
    def names(self) -> dict[str, str]:
        """What to call the models; "before" comes first where there is one."""
        name = self.folder.resolve().name
        if self.parent is None:
            return {"after": name}
        return {"before": f"{self.parent.name} (before)", "after": f"{name} (after)"}


@dataclass(frozen=True, eq=False)
class Findings:
    """All that was measured of a run.

    Attributes:
        held_out: What the models were asked.
        judged: Of "before", where there is one, and "after", what it answered.
        strips: Imagined rollouts and their nearest stored frames.
        searched: How many frames these were searched in.
        evaluation: How success was measured; None where no task was named.
        episodes: Of "before", "after", "zero" and "random", on the same seeds; none without a task.
        changes: What all of it amounts to.
    """

    held_out: HeldOut
    judged: dict[str, Judged]
    strips: list[Strip]
    searched: int
    evaluation: EvaluateConfig | None
    episodes: dict[str, list[EpisodeRecord]]
    changes: list[Change]


def open_run(folder: Path, device: str) -> tuple[Run, VJEPA2AC]:
    """Returns a run and its trained model.

    Raises:
        ValueError: If the run is not finished, or its data or its parent is not there or damaged.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise ValueError(f"{folder} is no run directory: it has no {CONFIG_FILE}; scripts/train.py makes one")
    begun_by = [path.name.removeprefix(MARKER) for path in folder.glob(f"{MARKER}train-*")]
    if begun_by:
        raise ValueError(
            f"{folder} is a run of {begun_by[0]}: reports are of train.py's; its own figures are in its log"
        )
    config = load_config(TrainConfig, folder / CONFIG_FILE)
    checkpoint = config.checkpoint or folder / "checkpoint"
    if not (checkpoint / MANIFEST).is_file():
        raise ValueError(f"the run {folder} is not finished: there is no {checkpoint}; its command goes on with it")
    model, manifest = load_vjepa2_ac(checkpoint, device), read_manifest(checkpoint)
    dataset = open_episodes(config)
    batches = open_windows(config, dataset, model.encoder)
    split = split_episodes(len(dataset), config.held_out, config.seed)
    count = len(split.held_out)
    few = " That is few: the intervals are wide, and a larger --held-out makes them narrower." if count < 5 else ""
    parent, remarks = None, [f"Held out of training: {count} of {len(dataset)} episodes.{few}"]
    if config.parent is not None:
        parent = read_manifest(config.parent)
        remarks += _parent_remarks(config, manifest, parent)
        reason = _other_inputs(parent, batches)
        if reason is not None:
            remarks.append(f"The parent {parent.name} cannot predict these episodes, so there is no before: {reason}.")
            parent = None
    return Run(folder, config, checkpoint, manifest, parent, tuple(remarks), dataset, batches, split), model


def open_windows(
    config: TrainConfig, dataset: EpisodeSource, encoder: Encoder, processes: int = 1, show: bool = True
) -> WindowBatches:
    """Returns a run's windows of cached latents, encoding what is not in the cache yet.

    Args:
        config: The run's.
        dataset: Its episodes.
        encoder: On the device to encode with.
        processes: To encode with.
        show: Whether to show progress.
    """
    layout = latent_layout(dataset, encoder)
    with progress(total=sum(dataset.lengths), desc="encode", unit="frame", disable=not show) as bar:
        latents = build_latents(
            dataset, encoder, config.cache_directory, processes=processes, layout=layout, report=bar.update
        )
    return WindowBatches(dataset, latents, config.stride)


def _parent_remarks(config: TrainConfig, manifest: Manifest, parent: Manifest) -> list[str]:
    """Returns why the parent may not be what it should be compared as."""
    remarks = []
    data, before = (m.training.get("data", {}).get("fingerprint") for m in (manifest, parent))
    if data is not None and data == before and parent.training.get("seed") != config.seed:
        remarks.append(
            f"The parent {parent.name} was trained on the same data with another seed, so on other held-out episodes: "
            "it has seen some of those that it is judged on here."
        )
    started = manifest.training.get("parent_files")
    if started is not None and started != parent.files:
        remarks.append(f"The checkpoint {config.parent} was replaced after this run started from it.")
    return remarks


def _other_inputs(parent: Manifest, batches: WindowBatches) -> str | None:
    """Returns why a parent's actions or poses are not the data's, or None if they are."""
    try:
        parent.action_spec.check_same_meaning(batches.action_spec)
    except SpecError as error:
        return str(error)
    pose_size = batches.poses[0].shape[1]
    known = predictor_config(parent).pose_size
    if known not in {0, pose_size}:
        return f"its poses have {known} numbers, the data's {pose_size}"
    return None


def measure(run: Run, model: VJEPA2AC, config: ReportConfig) -> Findings:
    """Returns all that the report needs, showing progress.

    Args:
        run: The run.
        model: Its trained model.
        config: What to measure.

    Raises:
        ValueError: If there is no such task, or no held-out episode is long enough.
    """
    evaluation = config.evaluation(str(run.checkpoint))
    episodes = {} if evaluation is None else compare_success(run, evaluation)
    held_out = choose_held_out(run.batches, run.split, run.config.evaluate_horizon, config.windows, config.steps)
    judged = {"after": judge(model, held_out, config.shell, run.config.seed, "after")}
    if run.parent is not None:
        before = load_vjepa2_ac(str(run.config.parent), config.device)
        judged = {"before": judge(before, held_out, config.shell, run.config.seed, "before"), **judged}
    imagined = {kind: answers.imagined for kind, answers in judged.items()}
    stored = spread_frames(run.batches.lengths, run.split.training, config.search)
    strips = find_neighbours(held_out, imagined, stored, find_device(config.device))
    changes = find_changes(held_out, judged, episodes)
    return Findings(held_out, judged, strips, len(stored), evaluation, episodes, changes)


def compare_success(run: Run, evaluation: EvaluateConfig) -> dict[str, list[EpisodeRecord]]:
    """Returns the episodes of "before", where there is one, "after", "zero" and "random", on the same seeds."""
    records = evaluate(evaluation)
    found = {"after": records["planner"], "zero": records["zero"], "random": records["random"]}
    if run.parent is not None:
        workplace.cache_clear()
        before = replace(evaluation, checkpoint=str(run.config.parent), baselines=False)
        found = {"before": evaluate(before)["planner"], **found}
    workplace.cache_clear()
    return found


def find_changes(
    held_out: HeldOut, judged: dict[str, Judged], episodes: dict[str, list[EpisodeRecord]]
) -> list[Change]:
    """Returns what changed, against the parent or, without one, against the better of the baselines.

    Where the error is not below that with shuffled actions, that is among it: such a predictor does not look at them.
    """
    after, before = judged["after"], judged.get("before")
    step = held_out.windows.frames - 1
    errors = {name: after.errors[f"rollout{kind}_{step}"] for name, kind in BASELINES.items()}
    baseline = min(errors, key=lambda name: float(errors[name].mean()))
    reference = errors[baseline] if before is None else before.errors[f"rollout_{step}"]
    name = None if before is not None else baseline
    changes = [error_change(after.errors[f"rollout_{step}"], reference, held_out.episodes, step, name)]
    if name != _SHUFFLED:
        blind = error_change(after.errors[f"rollout_{step}"], errors[_SHUFFLED], held_out.episodes, step, _SHUFFLED)
        changes += [blind] if blind.effect != "better" else []
    if len(held_out.step_numbers):
        ranks = [None if found is None else np.array([d.rank for d in found.diagnoses]) for found in (after, before)]
        assert ranks[0] is not None
        changes.append(rank_change(ranks[0], ranks[1], held_out.step_episodes))
    if episodes:
        actor = "before" if before is not None else max(ACTORS, key=lambda a: sum(r.successes[-1] for r in episodes[a]))
        changes.append(success_change(episodes["after"], episodes[actor], ACTORS.get(actor)))
    return changes


_SHUFFLED = "shuffled actions"
BASELINES = {"copying the last frame": "_copy", _SHUFFLED: "_shuffled"}
ACTORS = {"zero": "zero action", "random": "random actions"}
