"""Checks of a robot set-up against what a checkpoint was trained on: units, signs, clock, colours and camera."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from envs.arms.base import Arm
from envs.pose import compose, difference
from envs.spec import ActionSpec, Observation
from planner.base import Score
from planner.diagnostics.landscape import diagnose_step
from planner.objectives.objective import GoalDistance, rollout_score
from planner.search.cem import CEM, CEMConfig
from planner.search.chunks import Chunks
from world_model.base import LatentState, WorldModel

MIN_TRANSLATION = 0.01
"""Steps that move less tell nothing about directions [m]."""


@dataclass(frozen=True, eq=False)
class Recording:
    """What a set-up says happened.

    Attributes:
        images: (T, h, w, 3) uint8, as the model will get them.
        poses: Measured, (T, 7): position [m], extrinsic-xyz Euler angles [rad], closedness.
        times: Of the observations, (T,) [s].
        commands: Translations and gripper closedness that were asked for, (T-1, 4) [m, 1]; None if not known.
    """

    images: UInt8[np.ndarray, "T h w 3"]
    poses: Float[np.ndarray, "T 7"]
    times: Float[np.ndarray, "T"]
    commands: Float[np.ndarray, "T-1 4"] | None = None

    def observation(self, t: int) -> Observation:
        """Returns one look."""
        return Observation(self.images[t], self.poses[t].astype(np.float64), float(self.times[t]))


@dataclass(frozen=True)
class Training:
    """What a checkpoint is used to.

    Attributes:
        step: Root mean square translation of its training actions, over the axes [m].
        rate: Frames a second of its training windows [Hz].
        image_size: Side of its images [pixels].
    """

    step: float
    rate: float
    image_size: int


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        name: What kind of fault.
        problem: What was seen.
        remedy: What to change.
    """

    name: str
    problem: str
    remedy: str


@dataclass(frozen=True, eq=False)
class View:
    """What the model makes of the camera.

    Attributes:
        rank: Median rank of the true action, see `planner.diagnostics.landscape.StepDiagnosis`.
        rotation: (3, 3) from the directions that the model infers to those that were moved.
        angle: Of that rotation [rad].
        explained: Share of the squared error between inferred and true translations that the rotation takes away.
    """

    rank: float
    rotation: Float[np.ndarray, "3 3"]
    angle: float
    explained: float


def examine(
    model: WorldModel, training: Training, recording: Recording, steps: int = 24
) -> tuple[list[Finding], View | None]:
    """Returns what is wrong, and what the model makes of the camera if the numbers make sense at all.

    Args:
        model: The checkpoint's.
        training: What it is used to.
        recording: At least a dozen steps in varied directions, the gripper opening and closing if it is to be checked.
        steps: At most so many steps are looked at with the model.
    """
    findings = [*check_poses(recording), *check_motion(recording, training), *check_clock(recording, training.rate)]
    findings += check_images(recording, training.image_size)
    if any(finding.name in {"degrees", "quaternion", "scale", "gripper range"} for finding in findings):
        return findings, None  # nothing that a model makes of such poses means anything
    moves = moving_steps(recording, steps)
    if len(moves) < 6:
        short = Finding(
            "too little motion",
            f"only {len(moves)} steps move by {100 * MIN_TRANSLATION:.0f} cm or more",
            "record at least 12 moves of a few centimetres in varied directions",
        )
        return [*findings, short], None
    picture = check_pictures(model, recording, moves)
    if picture:
        return [*findings, *picture], None
    view = examine_view(model, recording, moves)
    return [*findings, *check_view(view), *check_gripper_sign(model, recording)], view


def check_poses(recording: Recording) -> Iterator[Finding]:
    """Yields faults of the numbers themselves."""
    position, angles, gripper = np.split(recording.poses, [3, 6], axis=1)
    norms = np.linalg.norm(recording.poses[:, 3:7], axis=1)
    fixed_zero = np.abs(angles).max() < 1e-6
    if np.abs(norms - 1).max() < 2e-3 and not fixed_zero:
        yield Finding(
            "quaternion",
            "the last four numbers of every pose have length 1: a quaternion, not three angles and the gripper",
            "convert to extrinsic xyz Euler angles [rad] and append the gripper's closedness (envs/pose.py)",
        )
    elif np.abs(angles).max() > 2 * np.pi:
        yield Finding(
            "degrees",
            f"angles reach {np.abs(angles).max():.0f}, more than a turn of 2 pi",
            "convert the angles to radians",
        )
    elif gripper.min() < -0.05 or gripper.max() > 1.05:
        yield Finding(
            "gripper range",
            f"the gripper is {gripper.min():.3g} to {gripper.max():.3g}, a closedness is 0 (open) to 1 (closed)",
            "divide by the gripper's travel, and turn opening into 1 - opening / travel",
        )
    if np.abs(position).max() > 3:
        yield Finding(
            "scale",
            f"positions reach {np.abs(position).max():.1f}, which would be metres from the base",
            "convert positions to metres",
        )


def check_motion(recording: Recording, training: Training) -> Iterator[Finding]:
    """Yields faults of how far steps go."""
    moved = np.diff(recording.poses[:, :3], axis=0)
    step = float(np.sqrt((moved**2).mean()))
    ratio = step / training.step
    if ratio > 4 or ratio < 0.15:
        yield Finding(
            "scale",
            f"steps are {1000 * step:.1f} mm an axis, {ratio:.2g} times the training's ({1000 * training.step:.1f})",
            "check the positions' unit (m) and that actions are differences over one control period",
        )
    if recording.commands is not None:
        asked = recording.commands[:, :3]
        gain = float((moved * asked).sum() / max((asked**2).sum(), 1e-12))
        if not 0.6 < gain < 1.5:
            yield Finding(
                "scale",
                f"the arm moves {gain:.2g} times as far as it is told",
                "check the unit of commands and of measured positions, and that a command has time to finish",
            )


def check_clock(recording: Recording, rate: float) -> Iterator[Finding]:
    """Yields faults of the control rate."""
    intervals = np.diff(recording.times)
    if (intervals <= 0).any():
        yield Finding("clock", "time stands still or runs backwards between frames", "use a monotonic clock")
        return
    found = 1 / float(np.median(intervals))
    if abs(found / rate - 1) > 0.1:
        yield Finding(
            "rate",
            f"frames come at {found:.2f} Hz, the model was trained at {rate:g} Hz",
            f"take an action every {1 / rate:.3g} s, or resample the recording",
        )
    elif intervals.max() > 2 * np.median(intervals):
        yield Finding(
            "rate",
            f"one interval lasted {intervals.max():.2f} s, frames were lost",
            "check the camera's driver and load",
        )


def check_images(recording: Recording, image_size: int) -> Iterator[Finding]:
    """Yields faults of the pictures' size."""
    height, width = recording.images.shape[1:3]
    if min(height, width) < image_size:
        yield Finding(
            "image size",
            f"images are {width} x {height} pixels, the model wants {image_size}: they would be blown up",
            f"set the camera to at least {image_size} pixels on its shorter side",
        )
    if recording.images.std(axis=0).max() < 1.0:
        yield Finding("frozen camera", "all images are the same", "check that the camera delivers new frames")


def moving_steps(recording: Recording, count: int) -> list[int]:
    """Returns at most `count` steps that move far enough, spread over the recording."""
    moved = np.linalg.norm(np.diff(recording.poses[:, :3], axis=0), axis=1)
    steps = np.flatnonzero(moved >= MIN_TRANSLATION)
    return (
        steps[np.linspace(0, len(steps) - 1, min(count, len(steps))).round().astype(int)].tolist() if len(steps) else []
    )


def check_pictures(model: WorldModel, recording: Recording, steps: list[int]) -> list[Finding]:
    """Returns the fault of the pictures that explains the recording better than no fault, if there is one.

    Each hypothesis undoes a fault; the model's error of the true actions, as a share of what changed between the
    frames, says how well the rest fits.
    """
    repairs: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str, str]] = {
        "colour order": (lambda x: x[..., ::-1], "colours look swapped", "convert BGR to RGB"),
        "upside down": (lambda x: x[:, ::-1, ::-1], "images look turned by 180 degrees", "turn them or the camera"),
        "turned left": (lambda x: np.rot90(x, -1, (1, 2)), "images look turned by 90 degrees left", "turn them right"),
        "turned right": (lambda x: np.rot90(x, 1, (1, 2)), "images look turned by 90 degrees right", "turn them left"),
        "mirrored": (lambda x: x[:, :, ::-1], "images look mirrored", "switch off the camera driver's mirror"),
    }
    base = prediction_error(model, recording, steps)
    errors = {
        name: prediction_error(model, replace(recording, images=np.ascontiguousarray(repair(recording.images))), steps)
        for name, (repair, _, _) in repairs.items()
    }
    name = min(errors, key=errors.__getitem__)
    if errors[name] > 0.85 * base:
        return []
    problem, remedy = repairs[name][1:]
    text = f"{problem}: undone, the model's error falls from {base:.2f} to {errors[name]:.2f} of what changes"
    return [Finding(name, text, remedy)]


def prediction_error(model: WorldModel, recording: Recording, steps: list[int]) -> float:
    """Returns the error of predicting the true actions, as a share of the change between the frames."""
    encoded = [encode_step(model, recording, t) for t in steps]
    change = sum(float((now.tokens - after.tokens).abs().mean()) for now, after, _ in encoded)
    return sum(step_error(model, *step) for step in encoded) / max(change, 1e-12)


def encode_step(
    model: WorldModel, recording: Recording, t: int
) -> tuple[LatentState, LatentState, Float[np.ndarray, "7"]]:
    """Returns the latents before and after a step, and the action between them."""
    now, after = (model.encode([recording.observation(i)]) for i in (t, t + 1))
    return now, after, difference(recording.poses[t], recording.poses[t + 1])


def step_error(model: WorldModel, now: LatentState, after: LatentState, action: Float[np.ndarray, "7"]) -> float:
    """Returns the energy of one step's true action."""
    return float(rollout_score(model, GoalDistance(after.as_goal()), now)(now.poses.new_tensor(action)[None, None])[0])


def examine_view(model: WorldModel, recording: Recording, steps: list[int]) -> View:
    """Returns the rotation between the motion that the model reads from the pictures and the one that was measured.

    For each step the model's best translation is searched; W = argmin sum |a_true - W a_inferred|^2 over rotations, by
    singular value decomposition. Source: V-JEPA 2 (arXiv 2506.09985), on the sensitivity to the camera's position.
    """
    generator, chunks = torch.Generator().manual_seed(0), Chunks()
    true, inferred, ranks = [], [], []
    for t in steps:
        now, after, action = encode_step(model, recording, t)
        tensor = now.poses.new_tensor(action)
        ranks.append(diagnose_step(model, GoalDistance, now, after, tensor, generator, 64, chunks).rank)
        true.append(action[:3])
        score = partial(chunks.score, rollout_score(model, GoalDistance(after.as_goal()), now))
        inferred.append(infer_translation(score, model.action_spec, tensor, generator))
    rotation = fit_rotation(np.array(inferred), np.array(true))
    before = ((np.array(true) - inferred) ** 2).sum()
    after_fit = ((np.array(true) - np.array(inferred) @ rotation.T) ** 2).sum()
    angle = float(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    return View(float(np.median(ranks)), rotation, angle, float(1 - after_fit / max(before, 1e-12)))


def infer_translation(
    score: Score, spec: ActionSpec, action: Float[Tensor, "A"], generator: torch.Generator
) -> Float[np.ndarray, "3"]:
    """Returns the translation of the lowest energy within 1.5 times the true one's length [m]."""
    reach = 1.5 * float(action[:3].norm())
    rest = action[3:].tolist()
    spec = replace(spec, low=(-reach, -reach, -reach, *rest), high=(reach, reach, reach, *rest))
    planner = CEM(CEMConfig(horizon=1, samples=48, iterations=4, elites=6, initial_std=0.3))
    start = torch.cat([torch.zeros_like(action[:3]), action[3:]])[None, None]
    plan = planner.plan(score, spec, start, generator)
    return plan.actions[0, :3].cpu().numpy().astype(np.float64)


def fit_rotation(source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3 3"]:
    """Returns the rotation R that minimises sum |target - R source|^2 (Kabsch)."""
    left, _, right = np.linalg.svd(target.T @ source)
    sign = np.sign(np.linalg.det(left @ right))
    return left @ np.diag([1.0, 1.0, sign]) @ right


def check_view(view: View, max_rank: float = 0.3, max_angle: float = np.radians(20)) -> Iterator[Finding]:
    """Yields faults of where the camera stands."""
    if view.angle > max_angle and view.explained > 0.25:
        yield Finding(
            "camera angle",
            f"the model reads motions {np.degrees(view.angle):.0f} degrees off those that were made; a rotation "
            f"explains {100 * view.explained:.0f} % of the error",
            "move the camera to where the training's stood, or store the correction (--store)",
        )
    elif view.rank > max_rank:
        yield Finding(
            "camera view",
            f"{100 * view.rank:.0f} % of random actions look better than the true one (50 % is chance)",
            "put the camera where the training's stood, or fine-tune on recordings of this view",
        )


def check_gripper_sign(model: WorldModel, recording: Recording) -> list[Finding]:
    """Returns a finding if the gripper goes against its commands, or the pictures fit the opposite of what it says.

    The second needs a model that has seen grippers move; it speaks up only when it is sure (3 standard errors and 2 %
    of the energy), so its silence proves nothing: look at the pictures too.
    """
    change = np.diff(recording.poses[:, 6])
    if recording.commands is not None:
        asked = recording.commands[:, 3] - recording.poses[:-1, 6]
        told = np.abs(asked) > 0.5
        if told.sum() >= 2 and (asked * change)[told].sum() <= 0:
            return [_flipped("the measured gripper does not close when it is told to close, or opens")]
    steps = np.flatnonzero(np.abs(change) > 0.5).tolist()
    if len(steps) < 6:
        return []
    poses = np.array(recording.poses)
    poses[:, 6] = 1 - poses[:, 6]
    flipped = replace(recording, poses=poses)
    errors = np.array([[step_error(model, *encode_step(model, one, t)) for one in (recording, flipped)] for t in steps])
    gain = errors[:, 0] - errors[:, 1]
    sure = gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(len(steps)) and gain.mean() > 0.02 * errors[:, 0].mean()
    return [_flipped("the pictures fit the opposite motion of the gripper")] if sure else []


def _flipped(problem: str) -> Finding:
    return Finding("gripper sign", problem, "closedness is 0 open and 1 closed: use 1 - value in the arm's driver")


def record_moves(arm: Arm, spec: ActionSpec, step: float, steps: int, generator: np.random.Generator) -> Recording:
    """Returns a recording of random moves about where the arm is, the gripper closing and opening now and then.

    Args:
        arm: Every command should pass its `SafeArm`.
        spec: Of the arm's actions; moves are clipped to its bounds, the rotation stays.
        step: Root mean square length of a move along an axis [m].
        steps: Moves to make.
        generator: Source of the directions.
    """
    seen = [arm.observe()]
    start, commands, grip = seen[0].pose[:3], [], float(seen[0].pose[6])
    for i in range(steps):
        pose = seen[-1].pose
        move = generator.normal(0, step, 3) + np.where(np.abs(start - pose[:3]) > 4 * step, start - pose[:3], 0.0) / 2
        turn = i % 4 == 3  # the gripper alone, so that nothing else explains what is seen
        grip = 1.0 - round(grip) if turn else grip
        action = np.zeros(7)
        action[:3] = 0.0 if turn else np.clip(move, -3 * step, 3 * step)
        action[:3] = np.clip(action[:3], spec.low[:3], spec.high[:3])
        target = compose(pose, action)
        arm.command(target[:6], grip, spec.period)
        commands.append(np.append(action[:3], grip))
        seen.append(arm.observe())
    return Recording(
        np.stack([one.image for one in seen]),
        np.stack([one.pose for one in seen]),
        np.array([one.time for one in seen]),
        np.array(commands),
    )
