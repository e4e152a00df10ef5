"""Checks a robot set-up against what a checkpoint was trained on, before anyone trusts it.

    python scripts/doctor.py --checkpoint franka-tiny --arm simulated           # moves the arm at random, a little
    python scripts/doctor.py --checkpoint NAME --dataset data/mine --episode 3  # a recorded episode

Looks for poses in degrees, quaternions taken for angles, wrong scales, signs, rates, image sizes, colours and camera
views. Each finding says what is wrong and what to change. --store FILE adds the fitted camera correction to a planning
configuration (controller.camera_rotation), for a camera that can't be moved.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from PIL import Image, ImageDraw, ImageFont
from scipy.spatial.transform import Rotation

from envs.config import config_from_command_line
from envs.safety import SafeArm
from planner.doctor import Finding, Recording, Training, View, examine, record_moves
from world_model.checkpoint import Manifest, load_checkpoint, read_manifest
from world_model.device import Precision


@dataclass(frozen=True)
class DoctorConfig:
    """Whom to examine.

    Attributes:
        checkpoint: Name of a folder in checkpoints/, or its path.
        arm: An arm to move; the simulated one is the only one so far.
        dataset: Folder of recorded episodes, instead of an arm.
        episode: Which of them.
        steps: Moves to make, or steps of the episode to look at with the model.
        seed: Of the moves.
        output: Folder for looks.png, the recording's extremes for your own eyes.
        store: YAML file that gets the camera correction, made if missing; None to store nothing.
        device: Where the model runs: cpu, cuda, mps or auto.
        precision: Of the model: fp32, bf16, or auto for bf16 where the hardware is faster in it.
    """

    checkpoint: str = "franka-tiny"
    arm: Literal["simulated"] | None = None
    dataset: Path | None = None
    episode: int = 0
    steps: int = 36
    seed: int = 0
    output: Path = Path("results/doctor")
    store: Path | None = None
    device: str = "cpu"
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        if (self.arm is None) == (self.dataset is None):
            raise ValueError("name either an arm (--arm simulated) or a recording (--dataset FOLDER)")
        if self.steps < 12:
            raise ValueError(f"a dozen steps are the least that directions can be fitted to, got {self.steps}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 1 if something is wrong with the set-up."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        config = config_from_command_line(DoctorConfig, "Checks a robot set-up.", arguments)
        training = what_it_knows(read_manifest(config.checkpoint))
        model = load_checkpoint(config.checkpoint, config.device, config.precision)
        recording = record(config, training)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    findings, view = examine(model, training, recording, config.steps)
    print(report(findings, view))
    config.output.mkdir(parents=True, exist_ok=True)
    draw(recording, config.output / "looks.png")
    print(f"wrote {config.output / 'looks.png'}: is the view the training's, and are open and closed what they say?")
    if config.store is not None and view is not None:
        store(config.store, view)
        print(f"wrote controller.camera_rotation to {config.store}")
    return int(bool(findings))


def what_it_knows(manifest: Manifest) -> Training:
    """Returns what the checkpoint is used to; official weights have no statistics, their bounds tell a step's size."""
    mean, std = (np.array(values[:3]) for values in (manifest.statistics.action_mean, manifest.statistics.action_std))
    step = float(np.sqrt((mean**2 + std**2).mean()))
    if step > 0.5:  # identity statistics
        step = float(np.abs(manifest.action_spec.high[:3]).mean()) / 2
    return Training(step=step, rate=manifest.fps, image_size=manifest.image_size)


def record(config: DoctorConfig, training: Training) -> Recording:
    """Returns the recording to examine."""
    if config.dataset is not None:
        from envs.episodes.lerobot import read_dataset

        dataset = read_dataset(config.dataset)
        if not 0 <= config.episode < len(dataset):
            raise ValueError(f"{config.dataset} has the episodes 0..{len(dataset) - 1}, not {config.episode}")
        episode = dataset[config.episode]
        times = np.arange(len(episode)) / episode.rate
        return Recording(episode.images, episode.poses.astype(np.float64), times)
    from envs.mujoco.play import make_play_arm

    arm = make_play_arm(image_size=128)
    try:
        arm.reset()
        driver = SafeArm(arm)
        return record_moves(driver, arm.action_spec, training.step, config.steps, np.random.default_rng(config.seed))
    finally:
        arm.close()


def report(findings: Sequence[Finding], view: View | None) -> str:
    """Returns the examination's result as text."""
    lines = [f"{finding.name}: {finding.problem}\n  -> {finding.remedy}" for finding in findings]
    lines = lines or ["nothing found: units, signs, clock, pictures and view are as in the training"]
    if view is not None:
        lines.append(
            f"view: median rank of the true action {100 * view.rank:.0f} % (0 best, 50 chance), inferred directions "
            f"{np.degrees(view.angle):.0f} degrees off"
        )
    return "\n".join(lines)


def draw(recording: Recording, path: Path) -> None:
    """Writes the pictures in which the recording says that the arm is at its extremes."""
    extremes = [(int(pick(recording.poses[:, 6])), text) for pick, text in ((np.argmin, "open"), (np.argmax, "closed"))]
    for axis, name in enumerate("xyz"):
        extremes.append((int(recording.poses[:, axis].argmin()), f"least {name}"))
        extremes.append((int(recording.poses[:, axis].argmax()), f"most {name}"))
    side = 240
    sheet = Image.new("RGB", (4 * side, 2 * (side + 20)), (250, 250, 252))
    pen = ImageDraw.Draw(sheet)
    for i, (t, text) in enumerate(extremes):
        corner = (side * (i % 4), (side + 20) * (i // 4))
        sheet.paste(Image.fromarray(recording.images[t]).resize((side, side)), (corner[0], corner[1] + 20))
        pen.text((corner[0] + 4, corner[1] + 3), f"{text}: frame {t}", (30, 34, 42), ImageFont.load_default(13))
    sheet.save(path)


def store(path: Path, view: View) -> None:
    """Adds the camera correction to a planning configuration, keeping what else is in it."""
    values = (yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None) or {}
    vector = Rotation.from_matrix(view.rotation).as_rotvec()
    values.setdefault("controller", {})["camera_rotation"] = [round(float(number), 5) for number in vector]
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
