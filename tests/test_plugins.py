"""Adding things in one file of one's own, through the public commands: the examples of docs/plugins.md."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.commands import Ended, run

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = {
    match[1]: (match[0], shlex.split(match[2]))
    for match in re.finditer(
        r"(?<=```python\n)# (\S+): python scripts/(.*)\n(?:(?!```).*\n)+", (ROOT / "docs/plugins.md").read_text()
    )
}
"""Text and command of each example, by the name of its file."""

QUICK = ("--episodes", "2", "--max-steps", "12", "--no-baselines", "--video-episodes", "0", "--output", "out")
TOY = ("--checkpoint", "toy", "--task", "FrankaReach-v0")


def write_example(folder: Path, name: str) -> None:
    (folder / name).write_text(EXAMPLES[name][0])


def run_example(folder: Path, name: str, *words: str) -> str:
    """Runs the command of an example, with further words, and returns what it printed."""
    write_example(folder, name)
    ended = run(folder, *EXAMPLES[name][1], *words)
    assert ended.status == 0, ended.said[-6000:]
    return ended.told


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out/results.json").read_text())


def evaluate(folder: Path, *words: str) -> Ended:
    return run(folder, "evaluate", *TOY, *QUICK, "--objective.image-weight", "1", *words)


def assert_refused(ended: Ended, message: str) -> None:
    assert ended.status != 0
    assert message in " ".join(ended.said.split())


@pytest.mark.parametrize("in_yaml", [False, True], ids=["command line", "yaml"])
def test_a_planner_of_ones_own_is_a_file(tmp_path: Path, in_yaml: bool) -> None:
    write_example(tmp_path, "mine.py")
    (tmp_path / "plan.yaml").write_text('planner: {algorithm: "mine.py:Mine", samples: 64}\n')
    flags = ["--planner.algorithm", "mine.py:Mine", "--planner.samples", "64"]
    ended = evaluate(tmp_path, *(["--config", "plan.yaml"] if in_yaml else flags))
    assert ended.status == 0, ended.said
    found = results(tmp_path)
    assert found["config"]["planner"] == {"algorithm": "mine.py:Mine", "horizon": 1, "samples": 64}
    assert found["summaries"]["planner"]["n"] == 2


def test_worker_processes_find_what_is_in_a_file(tmp_path: Path) -> None:
    write_example(tmp_path, "mine.py")
    ended = evaluate(tmp_path, "--planner.algorithm", "mine.py:Mine", "--processes", "2")
    assert ended.status == 0, ended.said
    assert results(tmp_path)["summaries"]["planner"]["n"] == 2


def test_what_is_wrong_with_ones_own_planner_is_said(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Mine:\n    pass\n")
    for word, message in {
        "mine.py:Mine": "the planner 'mine.py:Mine' must have a dataclass Config, its settings",
        "mine.py:Nine": "mine.py has no Nine; did you mean Mine?",
        "yours.py:Mine": "the planner is to be in yours.py, but there is no such file here",
    }.items():
        assert_refused(evaluate(tmp_path, "--planner.algorithm", word), message)


def test_an_objective_of_ones_own_is_a_file(tmp_path: Path) -> None:
    run_example(tmp_path, "my_objective.py", *TOY, *QUICK)
    for episode in results(tmp_path)["episodes"]["planner"]:
        assert episode["poses"][-1][2] == pytest.approx(0.3, abs=0.02)


def test_a_proposer_of_ones_own_is_a_file_and_first_guess_follows_it(tmp_path: Path) -> None:
    run_example(tmp_path, "my_proposer.py", *TOY, *QUICK)
    for episode in results(tmp_path)["episodes"]["planner"]:
        assert episode["actions"][0][:3] == pytest.approx([0.0, 0.0, 0.075])


def test_a_source_of_subgoals_of_ones_own_is_a_file(tmp_path: Path) -> None:
    run_example(tmp_path, "my_subgoals.py", *TOY, *QUICK)
    found = results(tmp_path)
    assert found["config"]["controller"]["subgoals"] == {"kind": "my_subgoals.py:Halfway", "every": 3}
    for episode in found["episodes"]["planner"]:
        start, *_, end = episode["distances_m"]
        assert episode["distances_m"][3] == pytest.approx(start / 2, rel=0.3)  # it waits there
        assert end == pytest.approx(start / 16, rel=0.5)


ARM_FLAGS = ("--max-steps", "2", "--view", "none", "--output", "out")


def write_goal(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "goal.png")


def test_an_arm_of_ones_own_is_a_file_with_its_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_goal(tmp_path)
    told = run_example(tmp_path, "my_arm.py", *ARM_FLAGS)
    assert "step   1  would" in told and "slowed to max_speed" in told
    (tmp_path / "arm.yaml").write_text('arm: {kind: "my_arm.py:make_arm"}\nlimits: {max_acceleration: 2.0}\n')
    with open(os.devnull) as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        examined = run(tmp_path, "doctor", "--arm", "arm.yaml", "--output", "examined")
    assert "(0.3, -0.2, 0.1) to (0.7, 0.2, 0.4) m" in examined.told  # the arm's own
    assert "0.1 m/s, 2 m/s^2" in examined.told  # the file's, and the arm's
    assert_refused(examined, "not confirmed: nothing moved")


ARM_WITHOUT_LIMITS = """
from dataclasses import dataclass

from my_arm import MyArm

del MyArm.limits


@dataclass(frozen=True)
class Config:
    kind: str = "bare.py:make_arm"
    size: int = 96


class Bare(MyArm):
    Config = Config

    def __init__(self, config):
        super().__init__()
        self.image_shape = (config.size, config.size, 3)


def make_arm(config: Config):
    return Bare(config)


def no_arm():
    return 3
"""


def test_an_arm_whose_limits_nobody_says_does_not_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from envs.arm_file import make_driver, read_arm

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    write_example(tmp_path, "my_arm.py")
    Path("bare.py").write_text(ARM_WITHOUT_LIMITS)
    Path("arm.yaml").write_text('arm: {kind: "bare.py:make_arm", size: 64}\n')
    for name in ("bare.py:make_arm", "arm.yaml"):
        with pytest.raises(ValueError, match=r"how far and how fast bare\.py:make_arm may go\. Give the arm that it"):
            read_arm(name)
    for name in ("make_arm", "Bare"):
        Path("arm.yaml").write_text(f'arm: {{kind: "bare.py:{name}", size: 64}}\nlimits: {{max_speed: 0.1}}\n')
        file = read_arm("arm.yaml")
        assert file.limits.max_speed == 0.1 and make_driver(file.arm).image_shape == (64, 64, 3)
    with pytest.raises(ValueError, match=r"must give an envs\.arms\.base\.StreamingArm; a int lacks action_spec"):
        read_arm("bare.py:no_arm")
    with pytest.raises(ValueError, match=r"bare\.py:make_arm"):
        read_arm("bare.py")


def write_recordings(folder: Path) -> None:
    generator = np.random.default_rng(0)
    (folder / "recordings").mkdir()
    for episode in range(3):
        frames = 20 + episode
        positions = np.cumsum(generator.normal(0, 0.01, (frames, 3)), axis=0) + np.array([0.5, 0.0, 0.3])
        turned, closed = np.tile((np.pi, 0.0, 0.1), (frames, 1)), generator.integers(0, 2, (frames, 1))
        images = generator.integers(0, 255, (frames, 48, 48, 3), dtype=np.uint8)
        path = folder / f"recordings/{episode}.npz"
        np.savez(path, images=images, pose=np.concatenate([positions, turned, closed], axis=1))


def test_a_format_of_ones_own_is_a_file(tmp_path: Path) -> None:
    from envs.episodes.formats.lerobot import read_dataset

    write_recordings(tmp_path)
    run_example(tmp_path, "my_format.py")  # in two processes
    converted = read_dataset(tmp_path / "converted")
    recorded = np.load(tmp_path / "recordings/1.npz")["pose"]
    assert converted.lengths == (20, 21, 22) and converted.rate == 5.0
    np.testing.assert_allclose(converted.poses_actions(1)[0], recorded, atol=1e-6)


def test_a_format_of_ones_own_is_inspected_and_proposes_a_reading(tmp_path: Path) -> None:
    write_recordings(tmp_path)
    write_example(tmp_path, "my_format.py")
    flags = ("--reading", "my_format.py:Npz", "--propose", "reading.yaml")
    inspected = run(tmp_path, "dataset", "inspect", "recordings", *flags)
    assert inspected.status == 0, inspected.said
    assert "format npz: 3 episodes at 5 Hz" in inspected.told and "contact-sheet.png" in inspected.told
    proposed = yaml.safe_load((tmp_path / "reading.yaml").read_text())
    assert proposed["format"] == "my_format.py:Npz" and proposed["rate"] == 4.0
    again = run(tmp_path, "dataset", "inspect", "recordings")
    assert_refused(again, "A format of your own is named: --reading mine.py:MyFormat")
    other = run(tmp_path, "dataset", "validate", "recordings", "--reading", "droid")
    assert_refused(other, "recordings is not of the format droid, which does not know it (there: ['0.npz', ")


LEARN = ("--reading", "reading.yaml", "--steps", "2", "--batch", "2", "--evaluate-horizon", "2", "--context", "1")
JOB = (*LEARN, "--device", "cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a predictor on an encoder of one's own was trained, from a format of one's own."""
    folder = tmp_path_factory.mktemp("trained")
    write_recordings(folder)
    write_example(folder, "my_format.py")
    (folder / "reading.yaml").write_text('format: "my_format.py:Npz"\nrate: 4.0\n')
    size = ("--predictor.width", "32", "--predictor.depth", "1", "--predictor.heads", "2")
    told = run_example(folder, "my_encoder.py", "--data", "recordings", "--encoding-processes", "2", *size, *JOB)
    assert "checkpoint: run/checkpoint" in told
    return folder


def test_an_encoder_of_ones_own_is_a_file_and_travels_in_the_checkpoint(trained: Path) -> None:
    manifest = yaml.safe_load((trained / "run/checkpoint/manifest.yaml").read_text())
    assert manifest["parts"]["encoder"] == {"kind": "my_encoder.py:Patches"}
    quick = ("--planner.samples", "8", "--planner.elites", "2", "--planner.iterations", "1")
    planned = run(trained, "evaluate", "--checkpoint", "run/checkpoint", *QUICK, *quick)
    assert planned.status == 0, planned.said
    assert results(trained)["summaries"]["planner"]["n"] == 2


def test_a_checkpoint_with_an_encoder_of_ones_own_is_fine_tuned(trained: Path) -> None:
    words = ("--parent", "run/checkpoint", "--data", "recordings", "--output", "tuned", *JOB)
    ended = run(trained, "train", *words)
    assert ended.status == 0, ended.said
    assert (trained / "tuned/checkpoint/manifest.yaml").is_file()


def test_a_trunk_of_ones_own_is_a_file_and_travels_in_the_checkpoint(trained: Path) -> None:
    few = ("--frames", "3", "--rollout-steps", "2", "--furthest", "4", "--evaluate-horizon", "3", "--minimum-rank", "0")
    small = ("--batch", "16", "--latents.width", "8", "--inverse-dynamics.modes", "4", "--held-out", "0.5")
    words = (
        "--data",
        "recordings",
        "--output",
        "compact",
        "--reading",
        "reading.yaml",
        "--steps",
        "3",
        "--warmup",
        "1",
    )
    told = run_example(trained, "my_trunk.py", *words, "--evaluate-every", "3", *few, *small)
    assert "checkpoint: compact/checkpoint" in told
    manifest = yaml.safe_load((trained / "compact/checkpoint/manifest.yaml").read_text())
    assert manifest["parts"]["encoder"]["kind"] == "my_trunk.py:Patchwork"
    quick = ("--planner.samples", "8", "--planner.elites", "2", "--planner.iterations", "1")
    planned = run(trained, "evaluate", "--checkpoint", "compact/checkpoint", *QUICK, *quick)
    assert planned.status == 0, planned.said


def test_a_world_model_of_ones_own_is_a_file(tmp_path: Path) -> None:
    write_example(tmp_path, "my_model.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "my_model.py"], cwd=tmp_path, env=environment, check=True)
    run_example(tmp_path, "my_model.py", *QUICK)
    for episode in results(tmp_path)["episodes"]["planner"]:
        assert episode["success_at_the_end"] and not episode["solved_at_the_start"]


def test_a_task_of_ones_own_is_a_file(tmp_path: Path) -> None:
    run_example(tmp_path, "my_env.py", *QUICK, "--processes", "2")
    for episode in results(tmp_path)["episodes"]["planner"]:
        assert episode["success_at_the_end"] and not episode["solved_at_the_start"]


def test_play_of_ones_own_is_a_file_and_its_recording_goes_on(tmp_path: Path) -> None:
    from envs.episodes.formats.lerobot import read_dataset

    write_example(tmp_path, "my_env.py")
    few = ("--episodes-per-shard", "2", "--play.frames", "5", "--image-size", "64")
    assert "2 episodes, 10 frames at 4 Hz" in run_example(tmp_path, "my_play.py", *few, "--episodes", "2")
    written = next((tmp_path / "data/dot").rglob("*.mp4")).stat().st_mtime_ns
    run_example(tmp_path, "my_play.py", *few, "--episodes", "4", "--processes", "2")
    dataset = read_dataset(tmp_path / "data/dot")
    assert len(dataset) == 4 and set(dataset.lengths) == {5} and dataset.robot_type == "dot"
    assert min(path.stat().st_mtime_ns for path in (tmp_path / "data/dot").rglob("*.mp4")) == written
    assert np.ptp([dataset[index].poses[0, 0] for index in range(4)]) > 0.05


def test_what_a_task_of_ones_own_lacks_is_said(tmp_path: Path) -> None:
    whole = EXAMPLES["my_env.py"][0]
    faults = (
        ('"distance": distance, ', "", "after reset: info lacks distance, from the goal [m]"),
        (', "pose": pose.copy()', "", "an observation must be a dict with image and pose, it has {'image'}"),
        (', "goals": [Goal(self.look(self.goal)["image"], self.goal)]', "", "after reset: info lacks goals, a list of"),
        ("    action_spec = ", "    actions = ", "its environment needs an attribute action_spec"),
        ("Box(-np.array(STEP), np.array(STEP)", "Box(-np.ones(3), np.ones(3)", "action_space must be a Box (7,)"),
        ("np.zeros((64, 64, 3), np.uint8)", "np.zeros((64, 64, 3))", "uint8 RGB, got (64, 64, 3) float64"),
        ('"mine/Dot-v0"', '"mine/Dots-v0"', "there is no task 'mine6/Dot-v0'; there are: mine6/Dots-v0"),
    )
    for number, (part, other, message) in enumerate(faults):
        assert part in whole
        text = whole.replace(part, other).replace('"mine/', f'"mine{number}/')
        (tmp_path / f"my_env_{number}.py").write_text(text)
        task = f"my_env_{number}.py:mine{number}/Dot-v0"
        assert_refused(run(tmp_path, "evaluate", "--task", task, "--checkpoint", "toy", *QUICK), message)
