"""What the report on a training run measures: the same held-out frames, asked of one model after another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from envs.bar import progress
from envs.episodes import EpisodeSource
from envs.pose import END_EFFECTOR, motion_of
from planner.diagnostics.landscape import StepDiagnosis, diagnose_step, energy_plane, plane_values
from planner.objectives.objective import GoalDistance, rollout_score
from planner.search.chunks import Chunks
from world_model.base import LatentState
from world_model.data.batches import Batch, WindowBatches
from world_model.data.clips import Split, Windows
from world_model.heads.neighbours import Frames, nearest_frames
from world_model.training.held_out import choose_windows, errors_of_windows
from world_model.vjepa2_ac import VJEPA2AC

PLANES = ((0, 1), (0, 2))
POINTS = 21  # of a landscape's grid along a side
DRAWN = 3  # held-out steps with a landscape
STRIPS = 2  # held-out windows with a strip of pictures
LEAST_TRANSLATION = 0.01  # [m]; steps that move less single out no action


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out frames that every model is judged by.

    Attributes:
        batches: Gives the frames' latents, actions and poses.
        windows: One frame longer than the rollouts.
        numbers: The windows to take the errors of.
        strips: Among `numbers`, the windows in which most moves, of different episodes where there are several.
        steps: Windows of two frames, to rank the true action of.
        step_numbers: The steps to take; none where actions are not translations of an end effector.
    """

    batches: WindowBatches
    windows: Windows
    numbers: Int[np.ndarray, " W"]
    strips: Int[np.ndarray, " K"]
    steps: Windows
    step_numbers: Int[np.ndarray, " S"]

    @property
    def episodes(self) -> Int[np.ndarray, " W"]:
        """Episode of each window."""
        return self.windows.locate(self.numbers)[0]

    @property
    def step_episodes(self) -> Int[np.ndarray, " S"]:
        """Episode of each step."""
        return self.steps.locate(self.step_numbers)[0]

    @property
    def drawn(self) -> list[int]:
        """Which of the steps have a landscape, evenly spread."""
        count = min(DRAWN, len(self.step_numbers))
        return np.linspace(0, len(self.step_numbers) - 1, 2 * count + 1).round().astype(int)[1::2].tolist()

    def step(self, index: int) -> Batch:
        """Returns one step as a batch of one."""
        return self.batches.gather(self.steps, self.step_numbers[index : index + 1])

    def grid(self, action: Tensor) -> Float[Tensor, "n"]:
        """Returns the translations along a side of the landscape around a step's action [m]."""
        return plane_values(action, self.batches.action_spec.high, POINTS)


def choose_held_out(batches: WindowBatches, split: Split, horizon: int, windows: int, steps: int) -> HeldOut:
    """Returns the held-out frames to judge by.

    Args:
        batches: Gives the frames.
        split: Says which are held out.
        horizon: Steps of the rollouts.
        windows: Windows to take the errors of, at most.
        steps: Steps to rank the true action of, at most.

    Raises:
        ValueError: If no held-out episode is long enough.
    """
    rollouts, pairs = batches.windows(split.held_out, horizon + 1), batches.windows(split.held_out, 2)
    numbers = choose_windows(rollouts, windows)
    moving = np.zeros(0, np.int64)
    if motion_of(batches.action_spec) is END_EFFECTOR:
        actions = np.concatenate([batches.actions[episode] for episode in split.held_out])
        moving = np.flatnonzero(np.linalg.norm(actions[:, :3], axis=1) >= LEAST_TRANSLATION)
    if len(moving) > steps:
        moving = moving[np.linspace(0, len(moving) - 1, steps).round().astype(int)]
    return HeldOut(batches, rollouts, numbers, _most_moving(batches, rollouts, numbers), pairs, moving)


def _most_moving(batches: WindowBatches, windows: Windows, numbers: Int[np.ndarray, " W"]) -> Int[np.ndarray, " K"]:
    """Returns the windows whose actions add up to most, in units of their std, one an episode."""
    episodes, starts = windows.locate(numbers)
    std = np.array(batches.statistics(sorted(set(episodes.tolist()))).action_std)
    span, stride = (windows.frames - 1) * windows.stride, windows.stride
    places = zip(episodes, starts, strict=True)
    ways = [np.linalg.norm(batches.actions[e][s : s + span : stride].sum(0) / std) for e, s in places]
    best: dict[int, int] = {}
    for index in np.argsort(ways)[::-1]:
        best.setdefault(int(episodes[index]), int(numbers[index]))
    return np.array(list(best.values())[:STRIPS])


@dataclass(frozen=True, eq=False)
class Judged:
    """What one model answered.

    Attributes:
        errors: Of each window, see `errors_of_windows`.
        diagnoses: Of each step, see `diagnose_step`.
        planes: Energies around the drawn steps' actions, for each of PLANES.
        imagined: Latents that it rolls out from the strips' first frames with their true actions.
    """

    errors: dict[str, Float[np.ndarray, " W"]]
    diagnoses: list[StepDiagnosis]
    planes: list[list[Float[np.ndarray, "m n"]]]
    imagined: Float[Tensor, "K H N D"]


def judge(model: VJEPA2AC, held_out: HeldOut, shell: int, seed: int, name: str) -> Judged:
    """Returns what a model answers, showing progress.

    Args:
        model: On the device to compute on.
        held_out: What it is asked.
        shell: Random actions of its length that a true action is compared with.
        seed: Of their directions, the same for every model.
        name: What to call the model in the progress bars.
    """
    chunks = Chunks()
    with progress(total=len(held_out.numbers), desc=f"{name}: rollout errors", unit="window") as bar:
        errors = errors_of_windows(
            model, held_out.batches, held_out.windows, held_out.numbers, batch=16, report=bar.update
        )
    steps = progress(range(len(held_out.step_numbers)), desc=f"{name}: true actions", unit="step")
    diagnoses = []
    for i in steps:
        seen, noise = _states(model, held_out.step(i)), torch.Generator().manual_seed(seed + i)
        diagnoses.append(diagnose_step(model, GoalDistance, *seen, noise, shell, chunks))
    drawn = progress(held_out.drawn, desc=f"{name}: landscapes", unit="step")
    planes = []
    for i in drawn:
        now, after, action = _states(model, held_out.step(i))
        score = partial(chunks.score, rollout_score(model, GoalDistance(after.as_goal()), now))
        values = held_out.grid(action)
        planes.append([energy_plane(score, action, plane, (values, values)).cpu().numpy() for plane in PLANES])
    return Judged(errors, diagnoses, planes, _imagine(model, held_out))


def _states(model: VJEPA2AC, step: Batch) -> tuple[LatentState, LatentState, Float[Tensor, "A"]]:
    """Returns what was seen before and after a step, and the action between."""
    step = step.to(model.action_mean.device)
    now, after = (LatentState(step.tokens[:, t : t + 1].float(), step.poses[:, t : t + 1]) for t in (0, 1))
    return now, after, step.actions[0, 0]


@torch.no_grad()
def _imagine(model: VJEPA2AC, held_out: HeldOut) -> Float[Tensor, "K H N D"]:
    """Returns the latents that a model rolls out in the strips' windows."""
    seen = held_out.batches.gather(held_out.windows, held_out.strips).to(model.action_mean.device)
    rollouts = [
        model.rollout(
            LatentState(seen.tokens[i : i + 1, :1].float(), seen.poses[i : i + 1, :1]), seen.actions[i : i + 1]
        )
        for i in range(len(seen.poses))
    ]
    return torch.cat([rollout.tokens for rollout in rollouts]).cpu()


@dataclass(frozen=True, eq=False)
class Strip:
    """A held-out window, and for every model the stored frames that look most like what it imagined.

    Attributes:
        name: Which window it is.
        seen: Its frames.
        found: Of "seen", the H stored frames nearest to what was really seen; of each model, to what it imagined.
        distances: Likewise, mean absolute distances of the latents.
        apart: Likewise, distances of the end effector in the stored frame from where it really was [m]; empty where
            poses are not an end effector's.
    """

    name: str
    seen: Frames
    found: dict[str, Frames]
    distances: dict[str, list[float]]
    apart: dict[str, list[float]]


def find_neighbours(
    held_out: HeldOut, imagined: dict[str, Tensor], stored: Frames, device: torch.device
) -> list[Strip]:
    """Returns the strips, after one search for all of them, showing progress.

    Args:
        held_out: Says which windows.
        imagined: Of each model, the latents that it rolled out, (K, H, N, D).
        stored: Where to look.
        device: Where to search.
    """
    batches, windows = held_out.batches, held_out.windows
    rows = {"seen": batches.gather(windows, held_out.strips).tokens[:, 1:], **imagined}
    queries = torch.stack([tokens.float() for tokens in rows.values()], dim=1)  # (K, rows, H, N, D)
    with progress(total=len(stored), desc="nearest stored frames", unit="frame") as bar:
        found, distances = nearest_frames(batches.latents, stored, queries.flatten(0, 2).to(device), bar.update)
    horizon, strips = queries.shape[2], []
    for k, (episode, start) in enumerate(zip(*windows.locate(held_out.strips), strict=True)):
        seen = Frames(np.full(horizon + 1, episode), start + windows.stride * np.arange(horizon + 1))
        places = {name: horizon * (k * len(rows) + row) + np.arange(horizon) for row, name in enumerate(rows)}
        nearest = {name: found[place] for name, place in places.items()}
        strips.append(
            Strip(
                name=f"held-out episode {episode}, from frame {start}",
                seen=seen,
                found=nearest,
                distances={name: distances[place].tolist() for name, place in places.items()},
                apart={name: _apart(batches, frames, seen[1:]) for name, frames in nearest.items()},
            )
        )
    return strips


def _apart(batches: WindowBatches, one: Frames, other: Frames) -> list[float]:
    """Returns the distances between the end effector's positions in two sequences of frames [m]."""
    if motion_of(batches.action_spec) is not END_EFFECTOR:
        return []
    positions = [
        np.array([batches.poses[e][i, :3] for e, i in zip(frames.episodes, frames.indices, strict=True)])
        for frames in (one, other)
    ]
    return np.linalg.norm(positions[0] - positions[1], axis=1).tolist()


def pictures(dataset: EpisodeSource, frames: Frames) -> list[np.ndarray]:
    """Returns the images of some frames, each episode decoded once."""
    images = {episode: dataset[episode].images for episode in sorted(set(frames.episodes.tolist()))}
    return [images[e][i] for e, i in zip(frames.episodes.tolist(), frames.indices.tolist(), strict=True)]
