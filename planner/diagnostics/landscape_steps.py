"""The energy around recorded steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from envs.bar import progress
from envs.config import dump_config
from envs.episodes import DatasetError
from envs.folders import results_folder, write_text
from envs.pictures import read_picture
from envs.pose import difference
from envs.spec import ActionSpec, Observation
from planner.diagnostics.landscape import StepDiagnosis, diagnose_step, draw_plane, energy_plane, plane_values
from planner.diagnostics.landscape_program import LandscapeConfig
from planner.objectives.objective import GoalDistance, rollout_score
from planner.reporting import figure
from planner.search.chunks import Chunks
from world_model.base import WorldModel
from world_model.load import load_world_model

PLANES = ((0, 1), (0, 2), (1, 2))


@dataclass(frozen=True, eq=False)
class Pair:
    """Two observations and what to call them."""

    now: Observation
    after: Observation
    name: str

    @property
    def action(self) -> Float[np.ndarray, "7"]:
        """What leads from one pose to the other."""
        return difference(self.now.pose, self.after.pose)


def look(config: LandscapeConfig) -> None:
    """Measures, writes results and pictures, and prints what they say.

    Raises:
        ValueError: If there is no such checkpoint, a file is not what it should be or nothing moves.
    """
    with results_folder(config.output, "landscape"):
        model = load_world_model(config.checkpoint, config.device, config.precision)
        pairs = list(find_pairs(config, model.action_spec))
        if not pairs:
            raise ValueError(f"no step moves by {config.min_translation} m or more; lower min_translation")
        chunks = Chunks()
        found = [(pair, diagnose(model, config, pair, chunks)) for pair in progress(pairs, desc="steps")]
        text = summary_text([diagnosis for _, diagnosis in found])
        steps = [{"step": pair.name, "action": pair.action.tolist(), **asdict(step)} for pair, step in found]
        results = {"config": dump_config(config), "steps": steps}
        write_text(config.output / "results.json", json.dumps(results, indent=1))
        write_text(config.output / "results.md", text + "\n")
        draw(model, config, found, config.output / "landscape.png")
        print(text)
        print(f"wrote results.json, results.md and landscape.png to {config.output}")


def find_pairs(config: LandscapeConfig, spec: ActionSpec) -> Iterator[Pair]:
    """Yields the steps to look at.

    Raises:
        ValueError: If a file is not what it should be.
        SpecError: If recordings, or play where nothing is named, have other actions than the model's, `spec`.
    """
    if config.images is not None and config.poses is not None:
        pictures = [read_picture(path)[0] for path in config.images]
        poses = np.array(config.poses).reshape(2, 7)
        now, after = (Observation(picture, pose, 0.0) for picture, pose in zip(pictures, poses, strict=True))
        yield Pair(now, after, "images")
    elif config.npz is not None:
        yield from npz_pairs(config.npz, config.ahead)
    else:
        yield from episode_pairs(config, spec)


def npz_pairs(path: Path, ahead: int) -> Iterator[Pair]:
    """Yields the steps of a file with observations and states."""
    with np.load(path, allow_pickle=False) as content:
        if not {"observations", "states"} <= set(content):
            raise ValueError(
                f"{path} must hold observations (1, T, h, w, 3) and states (1, T, 7), has {sorted(content)}"
            )
        images, poses = content["observations"], content["states"].astype(np.float64)
    if images.ndim != 5 or poses.shape != (*images.shape[:2], 7) or images.dtype != np.uint8:
        raise ValueError(
            f"{path}: observations must be (1, T, h, w, 3) uint8 and states (1, T, 7), got {images.shape} "
            f"{images.dtype} and {poses.shape}"
        )
    if images.shape[1] <= ahead:
        raise ValueError(f"{path} has {images.shape[1]} frames, too few for a goal {ahead} ahead")
    for t in range(images.shape[1] - ahead):
        observations = [Observation(images[0, i], poses[0, i], float(i)) for i in (t, t + ahead)]
        yield Pair(observations[0], observations[1], f"{path.name} frame {t}")


def episode_pairs(config: LandscapeConfig, spec: ActionSpec) -> Iterator[Pair]:
    """Yields one step of each episode, the episodes in turn until there are enough."""
    generator = np.random.default_rng(config.seed)
    left = config.steps
    for name, episode in episodes(config):
        spec.check_same_meaning(episode.spec)
        moved = [difference(a, b) for a, b in zip(episode.poses, episode.poses[config.ahead :], strict=False)]
        lengths = np.linalg.norm(np.array(moved).reshape(-1, 7)[:, :3], axis=1)
        steps = np.flatnonzero(lengths >= config.min_translation)
        if len(steps):
            t = int(generator.choice(steps))
            observations = [
                Observation(episode.images[i], episode.poses[i].astype(np.float64), i / episode.rate)
                for i in (t, t + config.ahead)
            ]
            yield Pair(observations[0], observations[1], f"{name} frame {t}")
            left -= 1
            if left == 0:
                return


def episodes(config: LandscapeConfig):
    """Yields (name, episode): the dataset's, over and over, or fresh play."""
    if config.dataset is not None:
        from envs.episodes.formats.lerobot import read_dataset

        dataset = read_dataset(config.dataset)
        if not len(dataset):
            raise DatasetError(f"{config.dataset} has no episodes")
        for i in range(4 * config.steps):
            yield f"episode {i % len(dataset)}", dataset[i % len(dataset)]
        return
    from envs.tasks.play import PlayConfig, make_play_arm, record_episode

    arm = make_play_arm(image_size=128)
    try:
        for i in range(4 * config.steps):
            yield f"play {config.seed + i}", record_episode(arm, PlayConfig(), config.seed + i)
    finally:
        arm.close()


def diagnose(model: WorldModel, config: LandscapeConfig, pair: Pair, chunks: Chunks) -> StepDiagnosis:
    """Returns the numbers of one step."""
    now, after = model.encode([pair.now]), model.encode([pair.after])
    action = now.poses.new_tensor(pair.action)
    generator = torch.Generator().manual_seed(config.seed)
    objective = partial(GoalDistance, config=config.objective)
    return diagnose_step(model, objective, now, after, action, generator, config.shell, chunks)


def summary_text(steps: Sequence[StepDiagnosis]) -> str:
    """Returns what the numbers say, and beside each what a model would get that ignores the action."""
    rank, cost, shuffled, static, angle = (np.array([getattr(step, name) for step in steps]) for name in FIELDS)
    best_tenth = 100 * (rank <= 0.1).mean()
    return "\n".join(
        (
            f"steps: {len(steps)}",
            f"true action among the best 10 % of actions of its length: {best_tenth:.0f} % of the steps (chance 10 %)",
            f"median share of such actions that look better: {100 * np.median(rank):.1f} % (chance 50 %)",
            f"energy: true action {cost.mean():.4f}, shuffled actions {shuffled.mean():.4f}, nothing moved "
            f"{static.mean():.4f}",
            f"median angle between steepest descent and the true translation: {np.degrees(np.median(angle)):.0f} deg "
            "(chance 90)",
        )
    )


FIELDS = ("rank", "cost", "shuffled_cost", "static_cost", "angle")


def draw(model: WorldModel, config: LandscapeConfig, found: Sequence[tuple[Pair, StepDiagnosis]], path: Path) -> None:
    """Writes the energy of single actions in three planes for the first steps, and the ranks of all of them."""
    shown, several = found[: config.drawn], len(found) > 1
    rows = len(shown) + several
    with figure(path, rows, 3, (13, 4.1 * rows), legends=False) as (drawn, axes):
        for row, (pair, diagnosis) in enumerate(shown):
            draw_step(axes[3 * row : 3 * row + 3], model, config, pair, diagnosis)
        if several:
            draw_ranks(axes[-3:], [step for _, step in found])
        drawn.suptitle(
            f"{config.checkpoint}: energy of one action with the later observation as the goal\nred star: the true "
            "action; white cross: lowest energy on the grid; the third dimension as in the true action"
        )


def draw_ranks(axes, steps: Sequence[StepDiagnosis]) -> None:
    """Draws how all steps' true actions rank, and what the numbers say."""
    left, middle, right = axes
    left.hist([100 * step.rank for step in steps], bins=20, range=(0, 100), color="tab:blue")
    left.set(xlabel="actions of its length that look better [%]", ylabel="steps", title="rank of the true action")
    middle.hist([np.degrees(step.angle) for step in steps], bins=18, range=(0, 180), color="tab:blue")
    middle.set(xlabel="[deg]", title="steepest descent to true translation")
    right.axis("off")
    right.text(0, 0.5, summary_text(steps).replace(": ", ":\n  "), va="center", fontsize=8).set_in_layout(False)


def draw_step(row, model: WorldModel, config: LandscapeConfig, pair: Pair, diagnosis: StepDiagnosis) -> None:
    """Draws the three planes of translations through the true action of one step."""
    state, cost = model.encode([pair.now]), GoalDistance(model.encode([pair.after]).as_goal(), config.objective)
    score = partial(Chunks().score, rollout_score(model, cost, state))
    action = state.poses.new_tensor(pair.action)
    values = plane_values(action, model.action_spec.high, config.points)
    for axis, plane in zip(row, PLANES, strict=True):
        costs = energy_plane(score, action, plane, (values, values)).cpu().numpy()
        axis.figure.colorbar(draw_plane(axis, values, costs, action, plane, levels=24), ax=axis)
    row[0].set_title(f"{pair.name}: {100 * diagnosis.rank:.0f} % look better", fontsize=10)
    row[1].set_title(f"descent {np.degrees(diagnosis.angle):.0f} deg off the true way", fontsize=10)
