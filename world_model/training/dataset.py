"""The episodes of a training run, for the run itself and for its report, and whether a parent fits them."""

from __future__ import annotations

import logging

from envs.bar import progress
from envs.episodes import EpisodeSource
from envs.episodes.check import usable
from envs.episodes.open import load_reading, open_dataset
from envs.spec import ActionSpec, SpecError
from world_model.checkpoints.checkpoint import read_manifest
from world_model.data.batches import strided_spec
from world_model.training.train_config import TrainConfig
from world_model.vjepa2_ac import predictor_config

logger = logging.getLogger(__name__)

JOINT_SPACE = (
    "actions are of joints: deploy.py drives LeRobot's arms with such a checkpoint, evaluate.py's simulated arm and "
    "other drivers take poses alone. For those, read the joints through a model of the arm: {remedy}"
)
_THROUGH_A_MODEL = "dataset.py inspect {data} --propose FILE.yaml --model ARM.xml --site NAME"


def open_episodes(config: TrainConfig, show: bool = True) -> EpisodeSource:
    """Returns the episodes to learn from, without the broken ones where the config skips them.

    Args:
        config: The run's.
        show: Whether to show progress.

    Raises:
        DatasetError: If nothing can be read, or an episode is broken and that is refused.
    """
    dataset = open_dataset(config.data, load_reading(config.reading))
    if config.broken == "refuse" and not dataset.problems:
        return dataset  # what only decoding shows ends the encoding
    record = config.cache_directory / "checked.json"
    with progress(total=len(dataset), desc="check", unit="episode", disable=not show) as bar:
        return usable(dataset, config.broken, bar.update, record=record, processes=config.encoding_processes)


def check_actions(config: TrainConfig, spec: ActionSpec) -> None:
    """Returns if a run's data and its parent mean the same by an action; says of joints what becomes of them.

    It takes no time, so it comes before all work. What `world_model.training.adapt` checks of them again is the same.

    Args:
        config: The run's.
        spec: Of the data's actions, as recorded.

    Raises:
        SpecError: Saying what differs and what to do.
    """
    spec, through_a_model = strided_spec(spec, config.stride), _THROUGH_A_MODEL.format(data=config.data)
    if config.parent is not None and not config.fresh_conditioning:
        parent = read_manifest(config.parent)
        remedies = list(_remedies(config, spec, parent.action_spec, through_a_model))
        if remedies:
            raise SpecError(f"{config.parent} can't learn from {config.data} as it is read. " + " ".join(remedies))
        pose_size = predictor_config(parent).pose_size
        if pose_size not in {0, spec.size}:
            raise SpecError(
                f"the data's poses have {spec.size} numbers, those of {config.parent} {pose_size}: "
                "let the encoders of actions and poses start anew (--fresh-conditioning)"
            )
    if spec.frame == "joints":
        logger.warning(JOINT_SPACE.format(remedy=through_a_model))


def _remedies(config: TrainConfig, spec: ActionSpec, parent: ActionSpec, through_a_model: str) -> list[str]:
    """Returns what differs between the data's actions and a parent's, each with what to do; nothing if they agree."""
    found = []
    if (spec.names, spec.units, spec.frame) != (parent.names, parent.units, parent.frame):
        found.append(
            f"The data's actions are {_words(spec)}, the parent's {_words(parent)}: "
            + (f"read the joints through a model of the arm ({through_a_model}), or " if spec.frame == "joints" else "")
            + "let the encoders of actions and poses start anew (--fresh-conditioning)."
        )
    if abs(spec.rate / parent.rate - 1) > 1e-6:
        recorded, ratio = spec.rate * config.stride, spec.rate * config.stride / parent.rate
        stride = f" or --stride {round(ratio)}" if ratio > 1 and abs(ratio - round(ratio)) < 1e-6 else ""
        faster = f": have `rate: {parent.rate:g}` in the Reading{stride}" if ratio > 1 else ""
        found.append(
            f"The data has {spec.rate:g} actions a second, the parent {parent.rate:g}"
            + (faster or f", and {recorded:g} frames a second were recorded: take another parent, or none")
            + "."
        )
    return found


def _words(spec: ActionSpec) -> str:
    """Returns what a spec's numbers are, such as x, y, z [m], roll [rad] in the frame base."""
    named = ", ".join(f"{name} [{unit}]" for name, unit in zip(spec.names, spec.units, strict=True))
    return f"{named} (frame {spec.frame})"
