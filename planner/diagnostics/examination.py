"""An examination: the recording that it looks at, and what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from PIL import Image, ImageDraw, ImageFont
from scipy.spatial.transform import Rotation

from envs.arms.safety import SafeArm
from envs.folders import results_folder, write_text
from planner.diagnostics.doctor import Finding, Recording, Training, View, examine, record_moves
from planner.diagnostics.doctor_program import DoctorConfig
from world_model.checkpoints.checkpoint import Manifest, read_manifest
from world_model.load import load_world_model


def consult(config: DoctorConfig) -> int:
    """Prints what was found, writes pictures, and returns 1 if something is wrong with the set-up.

    Raises:
        ValueError: If there is no such checkpoint, arm, recording or device.
    """
    manifest = read_manifest(config.checkpoint)
    if manifest.action_spec.frame == "joints":
        raise ValueError(
            f"{config.checkpoint} acts on joints, and the doctor judges poses; for joints dataset.py inspect looks at "
            "recordings and deploy.py without --live at the arm"
        )
    with results_folder(config.output, "doctor"):
        training = what_it_knows(manifest)
        recording = record(config, training)  # an arm that is not there is noticed sooner than weights are loaded
        model = load_world_model(config.checkpoint, config.device, config.precision)
        findings, view = examine(model, training, recording, config.steps)
        print(report(findings, view))
        draw(recording, config.output / "looks.png")
        print(
            f"wrote {config.output / 'looks.png'}: is the view the training's, and are open and closed what they say?"
        )
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
        from envs.episodes.formats.lerobot import read_dataset

        dataset = read_dataset(config.dataset)
        if not 0 <= config.episode < len(dataset):
            raise ValueError(f"{config.dataset} has the episodes 0..{len(dataset) - 1}, not {config.episode}")
        episode = dataset[config.episode]
        times = np.arange(len(episode)) / episode.rate
        return Recording(episode.images, episode.poses.astype(np.float64), times)
    if config.arm != "simulated":
        from planner.diagnostics.doctor_arm import record_arm

        return record_arm(config)
    from envs.tasks.play import make_play_arm

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
    write_text(path, yaml.safe_dump(values, sort_keys=False))
